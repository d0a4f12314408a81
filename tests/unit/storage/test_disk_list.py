"""A list on disk is as a list in memory, but for its size."""

import pickle
import tempfile
from dataclasses import asdict, replace

import pytest

from fastdup_ray.curation.apply import ApplyResult
from fastdup_ray.curation.file_ops import FileIdentity
from fastdup_ray.curation.journal import Move
from fastdup_ray.storage import disk_list
from fastdup_ray.storage.disk_list import DiskList

ITEMS = [("a\udcff\n", n, None if n % 3 else "x" * n) for n in range(3000)]


@pytest.fixture(params=["in memory", "on disk", "one by one"])
def items(request, monkeypatch) -> DiskList:
    if request.param == "on disk":
        monkeypatch.setattr(disk_list, "ITEMS_AT_ONCE", 700)
    else:
        monkeypatch.setattr(disk_list, "ITEMS_AT_ONCE", 1 if request.param == "one by one" else 10_000)
    return DiskList(items=ITEMS)


def test_it_has_the_items_in_their_order(items):
    assert len(items) == 3000
    assert list(items) == ITEMS
    assert list(reversed(items)) == ITEMS[::-1]
    assert items[0] == ITEMS[0]
    assert items[-1] == ITEMS[-1]
    assert items[10:2000:7] == ITEMS[10:2000:7]
    with pytest.raises(IndexError):
        items[3000]


def test_it_grows_while_it_is_read(items):
    seen = []
    for item in items:
        seen.append(item)
        if len(seen) < 1500:
            items.append(item)
    assert seen == ITEMS + ITEMS[:1499]


def test_it_equals_a_list_with_the_same_items_and_no_other(items):
    assert items == ITEMS
    assert items == ITEMS
    assert items != ITEMS[:-1]
    assert items != [*ITEMS[:-1], None]
    assert DiskList() == []
    assert not DiskList()
    assert repr(DiskList(items=[1, "a"])) == "[1, 'a']"
    assert "2,900 more" in repr(items)


def test_it_has_no_file_before_it_needs_one(monkeypatch):
    opened = []

    def scratch():
        opened.append(True)
        return tempfile.TemporaryFile()

    few = DiskList(scratch, ITEMS[:10])
    assert few == ITEMS[:10]
    assert not opened
    monkeypatch.setattr(disk_list, "ITEMS_AT_ONCE", 100)
    few.extend(ITEMS)
    assert few == ITEMS[:10] + ITEMS
    assert len(opened) == 1


def test_another_process_gets_a_list_and_so_does_a_copy():
    move = Move("/a", "/q/files/a", FileIdentity(3, "ab"), "/b")
    result = ApplyResult("/q", True)
    result.moved.append(move)
    assert pickle.loads(pickle.dumps(result)).moved == [move]
    assert replace(result).moved == [move]
    assert asdict(result)["moved"] == [move]
