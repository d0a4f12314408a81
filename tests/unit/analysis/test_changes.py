"""What is new from one run to the next."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis import changes as changes_module
from fastdup_ray.analysis.changes import CONTENTS, Changes, GroupMembers, RunSnapshot


def found(
    groups: str = "", pairs: tuple[tuple[str, str], ...] = (), alone: str = "", contents: dict | None = None
) -> RunSnapshot:
    """groups: letters that stand for pictures, a word a group. contents: of pictures that are not what they were."""
    words = groups.split()
    names = sorted("".join(words) + alone)
    component = [next((i for i, word in enumerate(words) if name in word), -1) for name in names]
    ends = np.array([[names.index(name) for name in pair] for pair in pairs], np.int64).reshape(-1, 2)
    return RunSnapshot(
        pa.array([name.encode() for name in names], pa.large_binary()),
        pa.table([[(contents or {}).get(name, name) for name in names]], CONTENTS),
        ends,
        np.ones(len(ends)),
        np.array(component, np.int64),
    )


def find_changes(before: RunSnapshot, after: RunSnapshot) -> Changes:
    earlier = pc.index_in(after.names, before.names).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return changes_module.find_changes(before, after, earlier)


def letters(of: RunSnapshot, images: np.ndarray) -> str:
    return "".join(of.names[int(image)].as_py().decode() for image in images)


def told(groups: GroupMembers, of: RunSnapshot) -> list[tuple[int, str]]:
    ids = sorted(set(groups.component.tolist()))
    assert len(groups) == len(ids)
    return [(id_, letters(of, groups.image[groups.component == id_])) for id_ in ids]


def test_pictures_come_change_and_go():
    before, after = found(alone="abc"), found(alone="bcd", contents={"c": "another"})
    changes = find_changes(before, after)
    assert letters(after, changes.added) == "d"
    assert letters(after, changes.changed) == "c"
    assert letters(before, changes.removed) == "a"


def test_a_pair_is_new_once_whichever_way_round_it_stood():
    before = found(alone="abc", pairs=(("a", "b"),))
    after = found(alone="abc", pairs=(("b", "a"), ("b", "c"), ("c", "b")))
    assert find_changes(before, after).pairs.tolist() == [1]


def test_a_pair_of_a_changed_picture_is_new():
    before = found(alone="ab", pairs=(("a", "b"),))
    after = found(alone="ab", pairs=(("a", "b"),), contents={"b": "another"})
    assert find_changes(before, after).pairs.tolist() == [0]


def test_nothing_changes_from_a_run_to_the_same():
    run = found("ab cde", pairs=(("a", "b"), ("c", "d")), alone="f")
    changes = find_changes(run, run)
    assert not any(map(len, vars(changes).values()))


def test_after_no_run_all_is_new():
    after = found("ab", pairs=(("a", "b"),), alone="c")
    changes = find_changes(RunSnapshot.empty(), after)
    assert letters(after, changes.added) == "abc"
    assert (changes.pairs.tolist(), told(changes.new, after)) == ([0], [(0, "ab")])


def test_with_no_picture_left_all_is_gone():
    before = found("ab", alone="c")
    changes = find_changes(before, RunSnapshot.empty())
    assert (letters(before, changes.removed), told(changes.gone, before)) == ("abc", [(0, "ab")])


def test_a_group_grows_and_shrinks():
    before, after = found("abc", alone="d"), found("abd", alone="c")
    changes = find_changes(before, after)
    assert told(changes.grew, after) == [(0, "d")]
    assert told(changes.shrank, before) == [(0, "c")]
    assert len(changes.new) == len(changes.gone) == 0


def test_of_two_groups_that_become_one_the_larger_goes_on():
    before, after = found("ab cde"), found("abcde")
    changes = find_changes(before, after)
    assert told(changes.grew, after) == [(0, "ab")]
    assert told(changes.gone, before) == [(0, "ab")]


def test_of_a_group_that_falls_apart_the_larger_part_goes_on():
    before, after = found("abcde"), found("ab cde")
    changes = find_changes(before, after)
    assert told(changes.new, after) == [(0, "ab")]
    assert told(changes.shrank, before) == [(1, "ab")]
