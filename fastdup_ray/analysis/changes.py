"""Changes between two runs: images, pairs, and groups that are new, grew, shrank or are gone."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray, split_array
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, take_rows

CONTENTS = pa.schema([("content", pa.large_string())])

ALONE = -1
"""Component of an image that is in no group."""


@dataclass(frozen=True)
class RunSnapshot:
    """The result of a run over n images.

    Attributes:
        names: (n,) large_binary, names as raw bytes, which may be mapped from a file.
        contents: n rows with one column of text, which may be mapped, too: it differs where the contents of images do.
        pairs: (m, 2) int64 indices of images.
        values: (m,) float64 similarities or distances of the pairs.
        component: (n,) int64, `ALONE` for an image in no group of two or more.
    """

    names: pa.Array
    contents: pa.Table
    pairs: IntArray
    values: DoubleArray
    component: IntArray

    @classmethod
    def empty(cls) -> "RunSnapshot":
        """Return the snapshot of a run without images."""
        none = np.empty(0, np.int64)
        return cls(pa.array([], pa.large_binary()), CONTENTS.empty_table(), none.reshape(0, 2), np.empty(0), none)


@dataclass(frozen=True)
class GroupMembers:
    """Images of groups, by the numbers of the groups.

    Attributes:
        component: (k,) int64, ascending: the component of the group of each image.
        image: (k,) int64 indices of the images, ascending in each group.
    """

    component: IntArray
    image: IntArray

    @classmethod
    def of(cls, component: IntArray, image: IntArray) -> "GroupMembers":
        """Return ascending images by their groups."""
        order = np.argsort(component, kind="stable")
        return cls(component[order], image[order])

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(np.unique(self.component))


@dataclass(frozen=True)
class Changes:
    """The differences between an earlier run, *before*, and a later one, *after*.

    Attributes:
        added: (a,) int64 indices in the run after, of images that the run before does not have.
        changed: (c,) int64 indices in the run after, of images whose content changed.
        removed: (r,) int64 indices in the run before, of images that the run after does not have.
        pairs: (p,) int64 ascending indices into `after.pairs`, of pairs that are new or have a changed image. Each
            pair is there once, whatever its direction.
        new: Groups that continue no earlier one, with all members.
        grew: Groups that continue an earlier one, with the images that joined.
        shrank: Groups that continue an earlier one, with the images that left: indices in the run before, but the
            component of the run after.
        gone: Groups of the run before that none continues, with all members.
    """

    added: IntArray
    changed: IntArray
    removed: IntArray
    pairs: IntArray
    new: GroupMembers
    grew: GroupMembers
    shrank: GroupMembers
    gone: GroupMembers


def find_changes(before: RunSnapshot, after: RunSnapshot, earlier: IntArray) -> Changes:
    """Compare two runs.

    Groups are matched greedily, one to one, by the number of images that they share.

    Args:
        before: The earlier run.
        after: The later run, with n images.
        earlier: (n,) int64 index in the earlier run of the image with the same name; -1 where there is none.

    Returns:
        What is new, changed or gone.
    """
    same = np.flatnonzero(earlier >= 0)
    later = np.full(len(before.names), -1)  # the opposite: indices in the run after
    later[earlier[same]] = same
    parts = (part[_differ(after, part, before, earlier[part])] for part in split_array(same, ROWS_PER_BLOCK))
    changed = np.concatenate([same[:0], *parts])
    return Changes(
        np.flatnonzero(earlier < 0),
        changed,
        np.flatnonzero(later < 0),
        _find_new_pairs(before, after, later, changed),
        *_compare_groups(before, after, earlier, later),
    )


def _differ(after: RunSnapshot, rows: IntArray, before: RunSnapshot, others: IntArray) -> BoolArray:
    """Return (m,) bool: whether images of a run have another content than others of the run before."""
    contents = (take_rows(run.contents, some)[0] for run, some in ((after, rows), (before, others)))
    differ: BoolArray = pc.fill_null(pc.not_equal(*contents), fill_value=True).to_numpy()
    return differ


def _find_new_pairs(before: RunSnapshot, after: RunSnapshot, later: IntArray, changed: IntArray) -> IntArray:
    n = len(after.names)
    ends = later[before.pairs]
    earlier_codes = _encode_pairs(ends[(ends >= 0).all(axis=1)], n)
    codes = _encode_pairs(after.pairs, n)
    is_new = ~np.isin(codes, earlier_codes) | np.isin(after.pairs, changed).any(axis=1)
    _, first = np.unique(codes, return_index=True)
    return np.sort(first[is_new[first]])


def _encode_pairs(pairs: IntArray, n: int) -> IntArray:
    """Return (m,) int64, one number per pair, the same for both directions."""
    codes: IntArray = pairs.min(axis=1, initial=n) * n + pairs.max(axis=1, initial=0)
    return codes


def _compare_groups(
    before: RunSnapshot, after: RunSnapshot, earlier: IntArray, later: IntArray
) -> tuple[GroupMembers, GroupMembers, GroupMembers, GroupMembers]:
    """Return the groups that are new, grew, shrank and are gone, with the images that make the difference."""
    older = _find_continuations(before, after, earlier)
    newer = np.full(before.component.max(initial=ALONE) + 1, -1)  # the opposite: what continues an earlier group
    newer[older[older >= 0]] = np.flatnonzero(older >= 0)
    own, former = np.flatnonzero(after.component != ALONE), np.flatnonzero(before.component != ALONE)
    component, continued = after.component[own], older[after.component[own]]
    was_in = _take_or(before.component, earlier[own])
    number, continuing = before.component[former], newer[before.component[former]]
    is_in = _take_or(after.component, later[former])
    is_new, is_gone = continued < 0, continuing < 0
    joined, left = ~is_new & (was_in != continued), ~is_gone & (is_in != continuing)
    return (
        GroupMembers.of(component[is_new], own[is_new]),
        GroupMembers.of(component[joined], own[joined]),
        GroupMembers.of(continuing[left], former[left]),
        GroupMembers.of(number[is_gone], former[is_gone]),
    )


def _take_or(component: IntArray, images: IntArray) -> IntArray:
    """Return (m,) the components of images of a run, `ALONE` for those that it does not have."""
    return np.append(component, ALONE)[images]


def _find_continuations(before: RunSnapshot, after: RunSnapshot, earlier: IntArray) -> IntArray:
    """Return (c,) the component of the run before that each component of the run after continues; -1 for none."""
    both = np.flatnonzero((earlier >= 0) & (after.component != ALONE))
    both = both[before.component[earlier[both]] != ALONE]
    width = int(before.component.max(initial=0)) + 1
    codes, count = np.unique(after.component[both] * width + before.component[earlier[both]], return_counts=True)
    newer, older = np.divmod(codes, width)
    continued = np.full(after.component.max(initial=ALONE) + 1, -1)
    is_only = (np.bincount(newer)[newer] == 1) & (np.bincount(older)[older] == 1)
    continued[newer[is_only]] = older[is_only]
    matched: set[int] = set()
    for row in np.argsort(-count, kind="stable"):
        if not is_only[row] and continued[newer[row]] < 0 and older[row] not in matched:
            continued[newer[row]] = older[row]
            matched.add(older[row])
    return continued
