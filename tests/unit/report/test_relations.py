"""What a page says of pairs that the run has looked at, without a browser."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray import make_plan
from fastdup_ray.analysis.verified_pairs import BOX, MATRIX
from fastdup_ray.common import layout
from fastdup_ray.common.relations import Relation
from fastdup_ray.curation.duplicate_rules import STRICT
from fastdup_ray.report import page_data
from fastdup_ray.report.page import write_report
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import read_json
from tests.helpers.pages import Made, Rows, write_finished, write_verified

COMPONENT = [0, 0, 0, 0, 1, 1, 2, 3, 4]
SIZES = [900, 800, 700, 600, 500, 400, 300, 200, 100]
"""The lower the index, the sooner an image is kept."""


def make_store(folder: Path, pairs: Rows = (), component: list[int] = COMPONENT, **columns: list[Any]) -> Store:
    paths = [str(folder / f"{index}.jpg") for index in range(len(component))]
    columns = {"size": SIZES[: len(component)]} | columns
    return write_finished(folder / "out", paths, pairs=pairs, component=component, **columns)


def make_page(store: Store) -> Made:
    write_report(store, read_json(store, layout.SUMMARY), thumbnails=False)
    return Made(store.fetch(layout.REPORT))


def seen(first: int, second: int, relation: str, **evidence: float | None) -> dict[str, Any]:
    return {"from": first, "to": second, "relation": relation} | evidence


def verdicts(made: Made) -> dict[tuple[int, int], list[Any]]:
    """By the indices of the images; the relation in words."""
    rows, relations = made.data["pictures"]["row"], made.data["verified"]["relations"]
    return {
        (rows[first], rows[second]): [relations[relation], *rest]
        for first, second, relation, *rest in made.data["verified"]["pairs"]
    }


def suggestions(made: Made, group: dict[str, Any]) -> dict[int, int]:
    """The images of a group that are suggested to be dropped, each with its keeper."""
    rows = made.data["pictures"]["row"]
    pairs = [(image, made.of(image, "suggestion")) for image in made.rows(group)]
    return {image: rows[suggestion[0]] for image, suggestion in pairs if suggestion and suggestion[0] >= 0}


def test_a_run_that_has_not_looked_says_nothing_of_relations(tmp_path: Path):
    made = make_page(make_store(tmp_path))
    assert made.data["verified"] is None
    assert made.data["dropped_above"] == STRICT
    assert all("confirmed" not in content for content in made.lists.values() if isinstance(content, dict))


def test_the_page_has_the_verdicts_on_what_it_shows_and_no_others(tmp_path: Path):
    store = make_store(tmp_path, pairs=[(4, 6, 0.9)])
    box, matrix = dict(zip(BOX, (0.1, 0.2, 0.3, 0.4), strict=True)), (0.5, 0.0, 0.25, 0.0, 0.5, 0.125)
    write_verified(
        store,
        [
            seen(0, 1, "same", difference=0.0021),
            seen(2, 0, "altered", difference=0.01, **box),
            seen(6, 4, "cropped", cover_to=0.25, **dict(zip(MATRIX, matrix, strict=True))),
            seen(5, 4, "different", **dict.fromkeys(MATRIX)),
            seen(7, 8, "different"),
        ],
    )
    assert verdicts(make_page(store)) == {
        (0, 1): ["same", 1, 1, 0.0021, []],
        (2, 0): ["altered", 1, 1, 0.01, [], [0.1, 0.2, 0.3, 0.4]],
        (6, 4): ["cropped", 1, 0.25, 0, list(matrix)],
        (5, 4): ["different", 1, 1, 0, None],
    }


def test_images_with_the_same_bytes_share_a_verdict(tmp_path: Path):
    store = make_store(tmp_path, component=[0, 0, 0], sha256=["a" * 64, "b" * 64, "b" * 64])
    write_verified(store, [seen(1, 0, "altered")])
    relations = {pair: verdict[0] for pair, verdict in verdicts(make_page(store)).items()}
    assert relations == {(1, 0): "altered", (2, 0): "altered"}


def test_only_the_same_image_is_suggested_to_be_dropped(tmp_path: Path):
    store = make_store(tmp_path)
    write_verified(
        store, [seen(0, 1, "altered"), seen(1, 2, "same"), seen(0, 3, "unsure"), seen(4, 5, "same"), seen(5, 6, "same")]
    )
    made = make_page(store)
    first, second = made.lists["groups"]["items"]
    assert suggestions(made, first) == {2: 1}
    assert suggestions(made, second) == {5: 4}
    assert [first["reclaim"], second["reclaim"]] == [SIZES[2], SIZES[5]]


def test_an_image_may_repeat_one_that_is_not_in_its_group(tmp_path: Path):
    store = make_store(tmp_path, component=[0, 1, 1])
    write_verified(store, [seen(0, 1, "same", similarity=0.7)])
    made = make_page(store)
    (group,) = made.lists["groups"]["items"]
    assert suggestions(made, group) == {1: 0}  # which would be the keeper of its group
    assert group["reclaim"] == SIZES[1]


RELATIONS = st.sampled_from([Relation.SAME, Relation.SAME, Relation.ALTERED, Relation.CROPPED, Relation.UNSURE])
N = 7


@given(
    pairs=st.dictionaries(st.sets(st.integers(0, N - 1), min_size=2, max_size=2).map(frozenset), RELATIONS),
    component=st.lists(st.integers(0, 2), min_size=N, max_size=N),
    contents=st.lists(st.integers(0, 5), min_size=N, max_size=N),
    references=st.lists(st.booleans(), min_size=N, max_size=N),
)
@pytest.mark.slow
def test_the_page_suggests_what_plan_says(tmp_path_factory, pairs, component, contents, references):
    numbers = {old: new for new, old in enumerate(dict.fromkeys(component))}
    first = [contents.index(content) for content in contents]
    store = make_store(
        tmp_path_factory.mktemp("run"),
        component=[numbers[old] for old in component],
        copies=[(index, first[index], "bytes") for index in range(N) if first[index] != index],
        sha256=[f"{content:064}" for content in contents],
        reference=references,
        size=[100 + content for content in contents],
    )
    distinct = {tuple(sorted({first[index] for index in pair})): relation for pair, relation in pairs.items()}
    write_verified(store, [seen(*pair, relation) for pair, relation in distinct.items() if len(pair) == 2])
    made, plan = make_page(store), make_plan(store.location)
    index = {str(Path(store.location).parent / f"{number}.jpg"): number for number in range(N)}
    rows, numbers = {index[row.filename]: row for row in plan.rows}, made.data["pictures"]["row"]
    for image in numbers:
        suggestion, row = made.of(image, "suggestion"), rows.get(image)
        if row is None:
            assert suggestion is None
        else:
            keeper = numbers.index(index[row.keeper]) if row.is_dropped else -1
            assert suggestion == [keeper, row.similarity, row.rule, row.reason, row.group]
    for name in ("groups", "exact"):
        for group in made.lists[name]["items"]:
            members = [rows.get(image) for image in made.rows(group)]
            is_dropped = [row is not None and row.is_dropped for row in members]
            assert all(is_dropped) or not is_dropped[0]  # one that stays comes first
            assert group["reclaim"] == sum(row.size or 0 for row in members if row is not None and row.is_dropped)


def test_confirmed_pairs_join_groups_when_asked(tmp_path: Path):
    store = make_store(tmp_path)
    write_verified(
        store,
        [
            seen(3, 4, "cropped", similarity=0.7),
            seen(6, 7, "turned", similarity=0.65),
            seen(6, 8, "different", similarity=0.8),
        ],
    )
    made = make_page(store)
    groups = made.lists["groups"]
    assert [sorted(made.rows(group)) for group in groups["items"]] == [[0, 1, 2, 3], [4, 5]]
    added = groups["confirmed"]
    assert [sorted(made.rows(group)) for group in added["items"]] == [[0, 1, 2, 3, 4, 5], [6, 7]]
    assert (added["total"], added["replaced"]) == (2, [0, 1])
    pairs, rows = made.lists["pairs"]["confirmed"], made.data["pictures"]["row"]
    shown = [(rows[first], rows[second], value) for first, second, value, _ in pairs["items"]]
    assert shown == [(3, 4, 0.7), (6, 7, 0.65)]
    assert pairs["file"] == layout.VERIFIED_CSV


def test_groups_that_no_confirmed_pair_changes_are_not_repeated(tmp_path: Path):
    store = make_store(tmp_path)
    write_verified(store, [seen(0, 1, "same"), seen(4, 5, "altered", similarity=0.6)])
    added = make_page(store).lists["groups"]["confirmed"]
    assert (added["total"], added["items"], added["replaced"]) == (0, [], [])


def test_groups_of_confirmed_pairs_have_their_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_data, "MAX_CONFIRMED_GROUPS", 1)
    store = make_store(tmp_path)
    write_verified(store, [seen(3, 4, "same", similarity=0.7), seen(6, 7, "same", similarity=0.7)])
    added = make_page(store).lists["groups"]["confirmed"]
    assert (added["total"], len(added["items"])) == (2, 1)


def test_a_run_without_duplicates_has_a_page(tmp_path: Path):
    store = make_store(tmp_path, component=[0])
    write_verified(store, [])
    made = make_page(store)
    assert made.lists["groups"]["items"] == made.lists["groups"]["confirmed"]["items"] == []
