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
class Group:
    """Images of one group.

    Attributes:
        component: Number of the component.
        members: (k,) int64 indices of images.
    """

    component: int
    members: IntArray


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
    new: list[Group]
    grew: list[Group]
    shrank: list[Group]
    gone: list[Group]


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
) -> tuple[list[Group], list[Group], list[Group], list[Group]]:
    older, newer = _list_members(before.component), _list_members(after.component)
    continued = _find_continuations(before, after, earlier)
    new, grew, shrank = [], [], []
    for component, members in newer.items():
        if component not in continued:
            new.append(Group(component, members))
            continue
        former = older[continued[component]]
        joined = members[~np.isin(earlier[members], former)]
        left = former[~np.isin(later[former], members)]
        grew += [Group(component, joined)] if len(joined) else []
        shrank += [Group(component, left)] if len(left) else []
    continued_groups = set(continued.values())
    gone = [Group(component, members) for component, members in older.items() if component not in continued_groups]
    return new, grew, shrank, gone


def _list_members(component: IntArray) -> dict[int, IntArray]:
    """Return the images of each group by its component."""
    grouped = np.flatnonzero(component != ALONE)
    order = grouped[np.argsort(component[grouped], kind="stable")]
    ids, starts = np.unique(component[order], return_index=True)
    return dict(zip(ids.tolist(), np.split(order, starts[1:]), strict=True)) if len(ids) else {}


def _find_continuations(before: RunSnapshot, after: RunSnapshot, earlier: IntArray) -> dict[int, int]:
    """Return the component of the run before that each component of the run after continues."""
    both = np.flatnonzero((earlier >= 0) & (after.component != ALONE))
    both = both[before.component[earlier[both]] != ALONE]
    shared = np.stack([after.component[both], before.component[earlier[both]]], axis=1)
    shared, count = np.unique(shared.reshape(-1, 2), axis=0, return_counts=True)
    continued: dict[int, int] = {}
    matched: set[int] = set()
    for row in np.argsort(-count, kind="stable"):
        newer, older = shared[row].tolist()
        if newer not in continued and older not in matched:
            continued[newer] = older
            matched.add(older)
    return continued
