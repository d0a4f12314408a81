"""Rules that say which picture of a group is kept, and groups in which every member is close to its keeper."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray.analysis.keeper_assignment import COMPONENTS, DIRECT, Likeness, assign_keepers
from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, parse_rules
from fastdup_ray.errors import ConfigError

NAMES = [b"/photos/b.jpg", b"/photos/originals/c.png", b"/photos/a.jpg", b"s3://bucket/d.jpg"]
IMAGES = pa.table(
    {
        "size": [900, 100, 900, 500],
        "mtime_or_etag": ["2000000000000000000", "1000000000000000000", "2000000000000000000", "5"],
        "width": pa.array([640, 320, 640, 640], pa.int32()),
        "height": pa.array([480, 240, 480, 480], pa.int32()),
        "reference": [False, False, False, True],
    }
)


def ranking(rules: str, images: pa.Table = IMAGES) -> Ranking:
    return Ranking(parse_rules(rules), images, pa.array(NAMES, pa.large_binary()))


@pytest.mark.parametrize(
    ("rules", "order"),
    [
        ("resolution", [2, 0, 3, 1]),
        ("bytes", [2, 0, 3, 1]),
        ("oldest", [1, 2, 0, 3]),
        ("reference,bytes", [3, 2, 0, 1]),
        ("path:originals/*,resolution", [1, 2, 0, 3]),
        ("path:*.jpg,oldest", [2, 0, 3, 1]),
        ("path:/photos/?.jpg,oldest", [2, 0, 1, 3]),
        ("path:s3://bucket/*,oldest", [3, 1, 2, 0]),
        (DEFAULT_RULES, [3, 2, 0, 1]),
    ],
)
def test_rules_are_asked_in_their_order_and_names_decide_where_all_are_equal(rules, order):
    assert ranking(rules).order(np.arange(4)).tolist() == order


def test_a_run_without_reference_inputs_knows_none():
    without = IMAGES.drop_columns("reference")
    assert ranking("reference,bytes", without).order(np.arange(4)).tolist() == [2, 0, 3, 1]


def test_an_image_that_lost_something_comes_after_those_that_lost_nothing():
    lossy = IMAGES.append_column("lost", pa.array([None, None, "noise", "colors"], pa.large_string()))
    found = ranking("quality,resolution", lossy)
    assert found.order(np.arange(4)).tolist() == [0, 1, 2, 3]
    assert found.explain_kept(np.array([0, 2])) == ("quality", "least edited: nothing lost")
    assert found.explain_order(0, 2) == ("quality", "is less edited: nothing lost against noise added")
    assert ranking("quality,resolution").order(np.arange(4)).tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize(
    ("rules", "members", "kept", "dropped"),
    [
        ("resolution", [2, 1], "most pixels: 640 × 480", "has more pixels: 640 × 480 against 320 × 240"),
        ("bytes", [2, 3], "most bytes: 900", "has more bytes: 900 against 500"),
        ("oldest", [1, 2], "oldest: 2001-09-09 01:46:40", "is older: 2001-09-09 01:46:40 against 2033"),
        ("oldest", [1, 3], "oldest: 2001-09-09", "is older: 2001-09-09 01:46:40 against unknown"),
        ("reference", [3, 0], "a reference image", "is a reference image"),
        ("path:originals/*", [1, 0], "path matches originals/*", "has a path that matches originals/*"),
        ("resolution,bytes", [2, 0], "first by name", "is first by name"),
    ],
)
def test_the_first_rule_that_tells_two_apart_is_the_reason(rules, members, kept, dropped):
    found = ranking(rules)
    assert found.order(np.array(members)).tolist() == members
    assert found.explain_kept(np.array(members)).text.startswith(kept)
    assert found.explain_order(*members).text.startswith(dropped)
    asked = rules.split(",")[0] if kept != "first by name" else "name"
    assert found.explain_kept(np.array(members)).rule == found.explain_order(*members).rule == asked


DAY = 86_400_000_000_000
"""Nanoseconds."""


def dated(*dates: tuple[int | str, str | None]) -> Ranking:
    """Images of the names a, b, c …, each with an mtime in nanoseconds (or another token) and the date in EXIF."""
    table = pa.table(
        {
            "mtime_or_etag": [str(token) for token, _ in dates],
            "taken": pa.array([taken for _, taken in dates], pa.large_string()),
        }
    )
    names = [f"/{chr(ord('a') + index)}".encode() for index in range(len(dates))]
    return Ranking(parse_rules("oldest"), table, pa.array(names, pa.large_binary()))


def test_the_date_in_exif_comes_before_that_of_the_file():
    found = dated((DAY, None), (9 * DAY, "1969-12-31 23:00:00"), ("etag", "1970-01-01 06:00:00"), ("etag", None))
    assert found.order(np.arange(4)).tolist() == [1, 2, 0, 3]
    assert found.explain_order(1, 0).text == "is older: 1969-12-31 23:00:00 against 1970-01-02 00:00:00"


@pytest.mark.parametrize(
    ("seconds", "order", "rule"),
    [
        ([1.999, 0], [0, 1], "name"),
        ([2.0, 0], [1, 0], "oldest"),
        ([3.0, 1.5, 0], [1, 2, 0], "name"),  # b and c are a tie; a is younger than c
        ([5.0, 1.5, 3.0, 0], [1, 3, 2, 0], "name"),
    ],
)
def test_dates_less_than_two_seconds_apart_are_equal(seconds, order, rule):
    found = dated(*((round(value * 1e9), None) for value in seconds))
    assert found.order(np.arange(len(seconds))).tolist() == order
    assert found.explain_kept(np.array(order)).rule == rule


def test_an_image_that_a_third_one_parts_from_another_is_still_explained():
    found = dated((3_000_000_000, None), (1_500_000_000, None), (0, None))
    assert found.explain_order(1, 0).rule == "oldest"


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.lists(st.integers(0, 4), min_size=40, max_size=40))
def test_groups_are_ordered_one_by_one(tenths, groups):
    found, group = dated(*((100_000_000 * value, None) for value in tenths)), np.array(groups[: len(tenths)])
    expected = [found.order(np.flatnonzero(group == number)) for number in np.unique(group)]
    assert found.order_groups(np.arange(len(group)), group).tolist() == np.concatenate(expected).tolist()
    for members in expected:
        times = np.array(tenths)[members]
        assert times[0] < times.min() + 20
        assert all(found.explain_order(members[0], other).rule in ("oldest", "name") for other in members[1:])


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("", "is empty"),
        (" , ", "is empty"),
        ("sharpest", "unknown rule 'sharpest'; known are reference, quality, resolution, bytes, oldest, path:GLOB"),
        ("path:", "unknown rule"),
        ("bytes,oldest,bytes", "'bytes' twice"),
        ("path:a/[z-a]", "is not a valid glob"),
    ],
)
def test_what_is_no_rule_is_named_with_what_there_is(rules, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        parse_rules(rules)


# Groups

CHAIN = np.array([[1.0, 0.99, 0.5], [0.99, 1.0, 0.99], [0.5, 0.99, 1.0]])


def grouped(
    similarity: np.ndarray, fixed: list[int], threshold: float, grouping: str, known_others: tuple[int, ...] = ()
) -> dict[int, int]:
    """Row -> keeper, of images of which row 0 goes before row 1 and so on."""
    n = len(similarity)
    images = IMAGES.take([0] * n)
    names = pa.array([f"{row:03d}".encode() for row in range(n)], pa.large_binary())

    def compare(first: np.ndarray, second: np.ndarray) -> Likeness:
        return Likeness(similarity[first, second] > threshold, np.isin(second, known_others))

    found = assign_keepers(
        np.arange(n)[::-1],
        np.zeros(n, np.int64),
        Ranking(parse_rules("bytes"), images, names),
        np.isin(np.arange(n), fixed),
        compare,
        grouping,
    )
    assert sorted(found.row.tolist()) == list(range(n))
    last = -1
    for row, keeper in zip(found.row.tolist(), found.keeper.tolist(), strict=True):
        last = row if row == keeper else last
        assert keeper == last
    return dict(zip(found.row.tolist(), found.keeper.tolist(), strict=True))


def test_the_ends_of_a_chain_are_strangers_and_no_end_is_dropped_for_the_other():
    assert grouped(CHAIN, [], 0.98, DIRECT) == {0: 0, 1: 0, 2: 2}
    assert grouped(CHAIN, [], 0.98, COMPONENTS) == {0: 0, 1: 0, 2: 0}


def test_an_image_that_is_known_to_be_another_is_no_duplicate_at_the_end_of_a_chain_either():
    assert grouped(CHAIN, [], 0.98, COMPONENTS, known_others=(2,)) == {0: 0, 1: 0, 2: 2}


def test_a_reference_is_kept_whatever_goes_before_it():
    assert grouped(CHAIN, [1], 0.98, DIRECT) == {0: 0, 1: 1, 2: 1}
    assert grouped(CHAIN, [1], 0.98, COMPONENTS) == {0: 0, 1: 1, 2: 0}


@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0.1, 0.9), st.sampled_from([DIRECT, COMPONENTS]))
def test_what_is_dropped_has_a_kept_keeper_and_in_direct_groups_one_close_to_it(n, seed, threshold, grouping):
    rng = np.random.default_rng(seed)
    half = np.round(rng.random((n, n)), 6)
    similarity = np.maximum(np.triu(half, 1), np.triu(half, 1).T) + np.eye(n)
    fixed = np.flatnonzero(rng.random(n) < 0.2).tolist()
    keeper_of = grouped(similarity, fixed, threshold, grouping)
    for row, keeper in keeper_of.items():
        assert keeper_of[keeper] == keeper <= row
        assert row not in fixed or keeper == row
        assert grouping == COMPONENTS or similarity[row, keeper] > threshold
    kept = [row for row, keeper in keeper_of.items() if row == keeper]
    free = [row for row in kept if row not in fixed]
    if grouping == COMPONENTS:
        assert len(free) <= 1
    else:
        assert not [(a, b) for a in kept for b in free if a < b and similarity[a, b] > threshold]
