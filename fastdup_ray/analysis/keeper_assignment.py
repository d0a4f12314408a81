"""Which images duplicate each other, and which of them is the keeper of which others."""

from collections.abc import Callable
from tempfile import TemporaryFile
from typing import Final, Literal, NamedTuple

import numpy as np

from fastdup_ray.analysis.edges import build_edges
from fastdup_ray.analysis.keepers import Ranking
from fastdup_ray.analysis.union_find import label_components
from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.common.records import Pairs

Grouping = Literal["direct", "components"]
DIRECT: Final = "direct"
COMPONENTS: Final = "components"
GROUPINGS: tuple[Grouping, ...] = (DIRECT, COMPONENTS)


class Likeness(NamedTuple):
    """How m pairs of images compare.

    Attributes:
        is_duplicate: (m,) bool, whether one is a duplicate of the other.
        is_other: (m,) bool, whether they were compared, and one is not.
    """

    is_duplicate: BoolArray
    is_other: BoolArray


CompareFunction = Callable[[IntArray, IntArray], Likeness]
"""Compares m images with m others."""


class KeeperAssignments(NamedTuple):
    """The m images that have a duplicate, group by group; each keeper is followed by the images that it is kept for.

    Attributes:
        row: (m,) int64 indices of the images.
        keeper: (m,) int64, the index of the keeper of each, which may be itself.
        group: (m,) int64, ascending: equal for images that duplicates connect over any number of steps.
    """

    row: IntArray
    keeper: IntArray
    group: IntArray

    @property
    def is_dropped(self) -> BoolArray:
        """(m,) bool, whether an image has another one as its keeper."""
        dropped: BoolArray = self.row != self.keeper
        return dropped


def find_duplicate_groups(pairs: Pairs, digests: IntArray, eligible: BoolArray) -> tuple[IntArray, IntArray]:
    """Find the groups of two or more images that duplicates form.

    Args:
        pairs: Duplicates, besides files with the same bytes.
        digests: (n,) int64, below 2n; equal for files with the same bytes.
        eligible: (n,) bool; the others are in no group.

    Returns:
        (m,) int64 ascending indices of the images in a group, and (m,) int64 numbers of their groups, which are in the
        order of their first images.
    """
    n = len(digests)
    if n == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    pairs = pairs.select(eligible[pairs.source] & eligible[pairs.target])
    codes = np.where(eligible, digests, 2 * n + np.arange(n))  # a code of its own links an image to no other
    edges = build_edges(pairs, codes)
    labels = label_components([(edges.low, edges.high)], n, TemporaryFile)
    members = np.unique(np.concatenate([edges.low, edges.high]))
    return members, np.unique(labels[members], return_inverse=True)[1]


def assign_keepers(
    members: IntArray,
    group: IntArray,
    ranking: Ranking,
    fixed: BoolArray,
    compare: CompareFunction,
    grouping: Grouping = DIRECT,
) -> KeeperAssignments:
    """Give each image of some groups a keeper.

    With `components`, the first image of the ranking is the keeper of all of its group but those that are known to be
    no duplicates of it. With `direct`, it is the keeper of its own duplicates. The rest get keepers of their own in the
    same way. So, with `direct`, a chain of near duplicates, whose ends may have nothing in common, falls apart into
    groups of real duplicates.

    Args:
        members: (m,) int64, the indices of the images.
        group: (m,) int64, the number of the group of each, ascending in the order in which they are returned.
        ranking: The order in which images are preferred.
        fixed: (n,) bool, images that are kept whatever the rules say.
        compare: Compares images.
        grouping: How far a keeper reaches.
    """
    order = ranking.order_groups(members, group)
    members, group = members[order], group[order]
    keeper, turn = members.copy(), np.zeros(len(members), np.int64)
    remaining, number = np.arange(len(members)), 0
    while len(remaining):
        is_first = np.diff(group[remaining], prepend=-1) != 0
        keepers = members[remaining[is_first]][np.cumsum(is_first) - 1]
        others, keepers = remaining[~is_first], keepers[~is_first]
        likeness = compare(keepers, members[others])
        duplicates = likeness.is_duplicate if grouping == DIRECT else ~likeness.is_other
        duplicates = duplicates & ~fixed[members[others]]
        turn[remaining] = number
        keeper[others[duplicates]] = keepers[duplicates]
        remaining, number = others[~duplicates], number + 1
    order = np.lexsort((turn, group))
    return KeeperAssignments(members[order], keeper[order], group[order])
