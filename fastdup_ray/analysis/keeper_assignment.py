"""Which images of a group are the keepers of which others."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import numpy as np

from fastdup_ray.analysis.keepers import Ranking
from fastdup_ray.common.arrays import BoolArray, IntArray

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
    """The m images of some groups, group by group; each keeper is followed by the images that it is kept for.

    Attributes:
        row: (m,) int64 indices of the images.
        keeper: (m,) int64, the index of the keeper of each, which may be itself.
    """

    row: IntArray
    keeper: IntArray


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
    return KeeperAssignments(members[order], keeper[order])
