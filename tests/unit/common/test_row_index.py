"""Rows by their keys: also where hashes are equal, and keys occur more than once."""

import pytest

from fastdup_ray.common.row_index import RowIndex


class Collider(str):
    """A text whose hash is that of many others."""

    __slots__ = ()

    def __hash__(self) -> int:
        return len(self)


def index_of(keys: list) -> RowIndex:
    return RowIndex(keys, len(keys), keys.__getitem__)


@pytest.mark.parametrize("kind", [str, Collider])
def test_each_key_is_found_and_no_other(kind):
    keys = [kind(f"key {number:03d}") for number in range(200)]
    index = index_of(keys)
    assert [index.find(key) for key in keys] == list(range(200))
    assert index.find(kind("key 200")) == index.find(kind("")) == -1


@pytest.mark.parametrize("kind", [str, Collider])
def test_of_keys_that_occur_more_than_once_the_last_row_is_found_and_all_are_listed(kind):
    keys = [kind(text) for text in ("a", "b", "a", "c", "b", "a", "dd")]
    index = index_of(keys)
    assert [index.find(kind(text)) for text in "abc"] == [5, 4, 3]
    assert sorted(index.iter_repeated()) == [[0, 2, 5], [1, 4]]


def test_nothing_is_found_in_an_empty_one():
    assert index_of([]).find("a") == -1
    assert list(index_of([]).iter_repeated()) == []
