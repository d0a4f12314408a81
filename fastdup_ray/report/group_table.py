"""Which groups a page shows: of all groups, the largest and those that tell most, in limited memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from fastdup_ray.analysis.sorting import NUMBERS_PER_BLOCK, sort_blocks, split_by_group
from fastdup_ray.common.arrays import AnyArray, IntArray, split_array
from fastdup_ray.common.mapped_arrays import write_and_map
from fastdup_ray.common.scratch import Scratch

SUMMARY = np.dtype(
    [("id", np.int64), ("start", np.int64), ("count", np.int64), ("reclaim", np.int64), ("lowest", float)]
)
"""A group: its number, the position of its first member, its images, the bytes that can be reclaimed, and the lowest
similarity of its edges."""

Order = Callable[[AnyArray], AnyArray]
"""Returns a sort key of each of some summaries, the lowest first; of equal ones, the one with the lower id is first."""


def by_size(groups: AnyArray) -> AnyArray:
    """Return sort keys with which the largest groups come first."""
    return -groups["count"]


def by_size_ascending(groups: AnyArray) -> AnyArray:
    """Return sort keys with which the smallest groups come first."""
    size: AnyArray = groups["count"]
    return size


def by_reclaim(groups: AnyArray) -> AnyArray:
    """Return sort keys with which the groups with the most bytes to reclaim come first."""
    return -groups["reclaim"]


def by_lowest(groups: AnyArray) -> AnyArray:
    """Return sort keys with which the groups with the lowest similarity come first."""
    lowest: AnyArray = groups["lowest"]
    return lowest


class GroupTable:
    """The groups of two or more images that n images form.

    Args:
        members: Blocks of groups and images, (b,) int64 each, in any order. An image may be repeated in its group.
        n: Number of images.
        scratch: Opens a temporary file.
    """

    def __init__(self, members: Iterable[tuple[IntArray, IntArray]], n: int, scratch: Scratch) -> None:
        self._n = n
        keys = sort_blocks((group * n + image for group, image in members), scratch)
        blocks = map(self._select_groups, split_by_group(keys, n))
        self._keys = write_and_map(blocks, np.int64, scratch())

    def _select_groups(self, keys: IntArray) -> IntArray:
        """Return the keys of groups of two or more images, each once."""
        keys = np.unique(keys)
        _, count = np.unique(keys // self._n, return_counts=True)
        return keys[np.repeat(count, count) > 1]

    def summarize(self, describe: Callable[[IntArray, IntArray], tuple[AnyArray, AnyArray]]) -> Iterator[AnyArray]:
        """Yield the `SUMMARY` of all groups in the order of their ids, some at a time.

        Args:
            describe: Returns the (g,) bytes that can be reclaimed and the (g,) lowest similarity of some groups, from
                the images of all of them and the (g,) positions of their first ones.
        """
        start = 0
        for keys in split_by_group(split_array(self._keys, NUMBERS_PER_BLOCK), self._n):
            group, images = np.divmod(keys, self._n)
            first = np.flatnonzero(np.diff(group, prepend=-1))
            groups = np.empty(len(first), SUMMARY)
            groups["id"], groups["start"] = group[first], start + first
            groups["count"] = np.diff(first, append=len(keys))
            groups["reclaim"], groups["lowest"] = describe(images, first)
            start += len(keys)
            yield groups

    def list_members(self, groups: AnyArray) -> IntArray:
        """Return (m,) the images of one or more groups, from their summaries: those of each in ascending order."""
        ends = np.cumsum(groups["count"])
        shift = groups["start"] - np.concatenate([[0], ends[:-1]])
        members: IntArray = self._keys[np.arange(ends[-1]) + np.repeat(shift, groups["count"])] % self._n
        return members


def choose_groups(blocks: Iterable[AnyArray], limit: int, orders: Sequence[Order]) -> tuple[int, AnyArray]:
    """Choose the groups that a page has room for.

    Where there are more than `limit`, the first ones of each order get an equal share.

    Args:
        blocks: The `SUMMARY` of all groups in the order of their ids, in blocks.
        limit: Groups that the page can have.
        orders: The first of them is also that in which the chosen groups are returned.

    Returns:
        The number of all groups, and the summaries of the chosen ones.
    """
    total, best = 0, [np.empty(0, SUMMARY)] * len(orders)
    for groups in blocks:
        total += len(groups)
        best = [_sort(np.concatenate([few, groups]), order)[:limit] for few, order in zip(best, orders, strict=True)]
    if total <= limit:
        return total, best[0]
    first = zip(*(few["id"].tolist() for few in best), strict=True)
    chosen = list(dict.fromkeys(id_ for ids in first for id_ in ids))[:limit]
    found = np.concatenate(best)
    _, rows = np.unique(found["id"], return_index=True)
    found = found[rows]
    return total, _sort(found[np.isin(found["id"], chosen)], orders[0])


def _sort(groups: AnyArray, order: Order) -> AnyArray:
    ranked: AnyArray = groups[np.argsort(order(groups), kind="stable")]
    return ranked
