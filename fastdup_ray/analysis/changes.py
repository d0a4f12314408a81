"""What is new since an earlier run: pictures, pairs, and groups that came, grew, shrank or went."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import IntArray

ALONE = -1


@dataclass(frozen=True)
class RunSnapshot:
    """What a run found, of n images.

    names: (n,) raw bytes. contents: (n,) text that is another one where a picture's content is. pairs: (m, 2) int64
    images. values: (m,) float64 of the pairs. component: (n,) int64, `ALONE` for an image in no group of two or more.
    """

    names: pa.Array
    contents: pa.Array
    pairs: np.ndarray
    values: np.ndarray
    component: np.ndarray

    @classmethod
    def empty(cls) -> "RunSnapshot":
        none = np.empty(0, np.int64)
        return cls(
            pa.array([], pa.large_binary()), pa.array([], pa.large_string()), none.reshape(0, 2), none * 1.0, none
        )


@dataclass(frozen=True)
class Group:
    """component: in the run that it stands in. members: (k,) images of that run."""

    component: int
    members: np.ndarray


@dataclass(frozen=True)
class Changes:
    """From the run before to the run after.

    added, changed: (a,), (c,) images of the run after; removed: (r,) of the run before. pairs: (p,) places in
    `after.pairs`, each pair once, of those that were not there or of which a picture has changed. new: all members.
    grew: of groups that were there, those who joined; shrank: those who left (images of the run before, component of
    the run after). gone: all former members.
    """

    added: np.ndarray
    changed: np.ndarray
    removed: np.ndarray
    pairs: np.ndarray
    new: list[Group]
    grew: list[Group]
    shrank: list[Group]
    gone: list[Group]


def find_changes(before: RunSnapshot, after: RunSnapshot) -> Changes:
    """What became of the images, pairs and groups of the run before; images are told by their names.

    A group goes on in the later group that has most of its members, and that has more of them than of any other's.
    """
    was = _find_positions(after.names, before.names)  # of each image after, that before
    becomes = _find_positions(before.names, after.names)
    same = np.flatnonzero(was >= 0)
    other = after.contents.take(pa.array(same)), before.contents.take(pa.array(was[same]))
    differs = pc.fill_null(pc.not_equal(*other), fill_value=True).to_numpy(zero_copy_only=False)
    changed = same[differs]
    return Changes(
        np.flatnonzero(was < 0),
        changed,
        np.flatnonzero(becomes < 0),
        _find_new_pairs(before, after, becomes, changed),
        *_compare_groups(before, after, was, becomes),
    )


def _find_positions(names: pa.Array, known: pa.Array) -> np.ndarray:
    """(n,) where each of `names` stands in `known`, -1 where it does not."""
    positions: IntArray = pc.index_in(names, known).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return positions


def _find_new_pairs(before: RunSnapshot, after: RunSnapshot, becomes: np.ndarray, changed: np.ndarray) -> np.ndarray:
    n = len(after.names)
    ends = becomes[before.pairs]
    known = _encode_pairs(ends[(ends >= 0).all(axis=1)], n)
    codes = _encode_pairs(after.pairs, n)
    is_new = ~np.isin(codes, known) | np.isin(after.pairs, changed).any(axis=1)
    _, first = np.unique(codes, return_index=True)
    return np.sort(first[is_new[first]])


def _encode_pairs(pairs: np.ndarray, n: int) -> np.ndarray:
    """A number for each pair, whichever of the two comes first."""
    codes: IntArray = pairs.min(axis=1, initial=n) * n + pairs.max(axis=1, initial=0)
    return codes


def _compare_groups(
    before: RunSnapshot, after: RunSnapshot, was: np.ndarray, becomes: np.ndarray
) -> tuple[list[Group], list[Group], list[Group], list[Group]]:
    older, newer = _list_members(before.component), _list_members(after.component)
    goes_on = _find_continuations(before, after, was)
    new, grew, shrank = [], [], []
    for component, members in newer.items():
        if component not in goes_on:
            new.append(Group(component, members))
            continue
        former = older[goes_on[component]]
        joined = members[~np.isin(was[members], former)]
        left = former[~np.isin(becomes[former], members)]
        grew += [Group(component, joined)] if len(joined) else []
        shrank += [Group(component, left)] if len(left) else []
    going_on = set(goes_on.values())
    gone = [Group(component, members) for component, members in older.items() if component not in going_on]
    return new, grew, shrank, gone


def _list_members(component: np.ndarray) -> dict[int, np.ndarray]:
    grouped = np.flatnonzero(component != ALONE)
    order = grouped[np.argsort(component[grouped], kind="stable")]
    ids, starts = np.unique(component[order], return_index=True)
    return dict(zip(ids.tolist(), np.split(order, starts[1:]), strict=True)) if len(ids) else {}


def _find_continuations(before: RunSnapshot, after: RunSnapshot, was: np.ndarray) -> dict[int, int]:
    """Component after -> the component before that goes on in it."""
    both = np.flatnonzero((was >= 0) & (after.component != ALONE))
    both = both[before.component[was[both]] != ALONE]
    shared = np.stack([after.component[both], before.component[was[both]]], axis=1)
    shared, count = np.unique(shared.reshape(-1, 2), axis=0, return_counts=True)
    goes_on: dict[int, int] = {}
    taken: set[int] = set()
    for row in np.argsort(-count, kind="stable"):
        newer, older = shared[row].tolist()
        if newer not in goes_on and older not in taken:
            goes_on[newer] = older
            taken.add(older)
    return goes_on
