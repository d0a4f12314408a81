"""Which image of a component is the keeper of which others."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import numpy as np

from fastdup_ray.analysis.keepers import Ranking
from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray

Grouping = Literal["direct", "components"]
DIRECT: Final = "direct"
COMPONENTS: Final = "components"
GROUPINGS: tuple[Grouping, ...] = (DIRECT, COMPONENTS)

SimilarityFunction = Callable[[int, IntArray], DoubleArray]
"""Returns the similarities, (m,) float64, of one image with each of m others; infinite if the bytes are the same."""


class KeeperAssignment(NamedTuple):
    """An image of a component, and its keeper.

    Attributes:
        row: Index of the image in features.dat.
        keeper: Index of its keeper, which may be itself.
        similarity: Cosine of the two; infinite for the same bytes, and for a keeper itself.
    """

    row: int
    keeper: int
    similarity: float


def assign_keepers(
    members: IntArray,
    ranking: Ranking,
    fixed: BoolArray,
    similarity: SimilarityFunction,
    threshold: float,
    grouping: Grouping = DIRECT,
) -> list[KeeperAssignment]:
    """Give each image of one component a keeper.

    With `components`, the first image of the ranking is the keeper of all. With `direct`, it is the keeper of the
    images that are more similar to it than `threshold`; the rest get keepers of their own in the same way. So a chain
    of near duplicates, whose ends may have nothing in common, falls apart into groups of real duplicates.

    Args:
        members: (m,) int64, the indices of the images in features.dat.
        ranking: The order in which images are preferred.
        fixed: (n,) bool, images that are kept whatever the rules say.
        similarity: Compares one image with others.
        threshold: A cosine.
        grouping: How far a keeper reaches.

    Returns:
        One item for each member; each keeper is followed by the images that it is the keeper of.
    """
    remaining = ranking.order(members)
    assigned = []
    while len(remaining):
        keeper, others = int(remaining[0]), remaining[1:]
        similarities = similarity(keeper, others)
        duplicates = ~fixed[others]
        if grouping == DIRECT:
            duplicates &= similarities > threshold
        assigned.append(KeeperAssignment(keeper, keeper, np.inf))
        assigned += [
            KeeperAssignment(row, keeper, value)
            for row, value in zip(others[duplicates].tolist(), similarities[duplicates].tolist(), strict=True)
        ]
        remaining = others[~duplicates]
    return assigned
