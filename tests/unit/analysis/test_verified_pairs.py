"""Verdicts are found by either order of a pair, and by any image with the same bytes."""

from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray.analysis import verified_pairs
from fastdup_ray.analysis.same_bytes import find_first_of_bytes
from fastdup_ray.analysis.verified_pairs import BOX, MATRIX, VERIFIED, VerifiedPairs
from fastdup_ray.common.relations import Relation

SAME_BYTES = pa.chunked_array([["a", "b", "a", None, "c"]])


@pytest.fixture
def verified() -> VerifiedPairs:
    usual = {"similarity": 0.9, "difference": 0.0, "contents": ""} | dict.fromkeys((*BOX, *MATRIX), 0.0)
    rows = [
        {"from": 1, "to": 0, "relation": "cropped", "cover_from": 1.0, "cover_to": 0.5},
        {"from": 1, "to": 4, "relation": "different", "cover_from": 0.0, "cover_to": 0.0},
    ]
    table = pa.Table.from_pylist([usual | row for row in rows], VERIFIED.schema)
    return VerifiedPairs(table, find_first_of_bytes(SAME_BYTES, TemporaryFile), np.array([0, 1, 0, 3, 4]))


def test_the_first_of_bytes_stands_for_all():
    assert find_first_of_bytes(SAME_BYTES, TemporaryFile).tolist() == [0, 1, 0, -1, 4]


@pytest.mark.parametrize(
    ("first", "second", "relation"),
    [
        (1, 0, Relation.CROPPED),
        (0, 1, Relation.CROPPED),
        (2, 1, Relation.CROPPED),
        (0, 2, Relation.SAME),
        (4, 1, Relation.DIFFERENT),
        (0, 4, None),
        (3, 1, None),
        (3, 3, Relation.SAME),
    ],
)
def test_relations_of_two_images(verified: VerifiedPairs, first: int, second: int, relation: Relation | None):
    ends = np.array([first]), np.array([second])
    assert verified.look_up(*ends)["relation"].to_pylist() == [relation]
    for wanted in Relation:
        assert verified.have_relation(*ends, [wanted]).tolist() == [wanted is relation]


def test_rows_say_whether_they_are_the_other_way_round(verified: VerifiedPairs):
    rows, backwards = verified.find_rows(np.array([1, 2, 0]), np.array([0, 1, 4]))
    assert rows.tolist() == [0, 0, -1]
    assert backwards.tolist()[:2] == [False, True]


@pytest.mark.parametrize("rows", [1, 2, 1 << 17])
def test_links_are_the_same_in_blocks(rows: int, verified: VerifiedPairs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verified_pairs, "ROWS_PER_BLOCK", rows)
    assert list_links(verified, Relation.CROPPED, Relation.SAME) == [(1, 0, 0.9), (2, 0, 1.0)]
    assert [target for _, target, _ in list_links(verified, Relation.DIFFERENT)] == [4]


def list_links(verified: VerifiedPairs, *relations: Relation) -> list[tuple[int, int, float]]:
    blocks = ((some.source, some.target, some.value) for some in verified.iter_links(relations))
    return [link for block in blocks for link in zip(*(column.tolist() for column in block), strict=True)]
