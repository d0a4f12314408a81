"""Which images duplicate each other, and which of them is the keeper of which others."""

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

import numpy as np

from fastdup_ray.analysis.components import find_components
from fastdup_ray.analysis.edges import build_edges
from fastdup_ray.analysis.keepers import Ranking
from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray
from fastdup_ray.common.records import Pairs

Grouping = Literal["direct", "components"]
DIRECT: Final = "direct"
COMPONENTS: Final = "components"
GROUPINGS: tuple[Grouping, ...] = (DIRECT, COMPONENTS)


class Likeness(NamedTuple):
    """How one image compares with m others.

    Attributes:
        similarity: (m,) float64 cosines; infinite where the bytes are the same.
        is_duplicate: (m,) bool, whether one is a duplicate of the other.
        is_other: (m,) bool, whether they were compared, and one is not.
    """

    similarity: DoubleArray
    is_duplicate: BoolArray
    is_other: BoolArray


CompareFunction = Callable[[int, IntArray], Likeness]
"""Compares the image with an index with m others."""


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


def find_duplicate_groups(pairs: Pairs, digests: IntArray, eligible: BoolArray) -> Iterator[IntArray]:
    """Yield the components of two or more images that duplicates form, in the order of their first images.

    Args:
        pairs: Duplicates, besides files with the same bytes.
        digests: (n,) int64, below 2n; equal for files with the same bytes.
        eligible: (n,) bool; the others are in no component.

    Yields:
        (m,) int64 indices of the images of a component.
    """
    n = len(digests)
    if n == 0:
        return iter(())
    pairs = pairs.select(eligible[pairs.source] & eligible[pairs.target])
    codes = np.where(eligible, digests, 2 * n + np.arange(n))  # a code of its own links an image to no other
    component = find_components(build_edges(pairs, codes), n, pagerank=False, degree=False).block(0, n).component
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return (members for members in parts if len(members) > 1)


def assign_keepers(
    members: IntArray,
    ranking: Ranking,
    fixed: BoolArray,
    compare: CompareFunction,
    grouping: Grouping = DIRECT,
) -> list[KeeperAssignment]:
    """Give each image of one component a keeper.

    With `components`, the first image of the ranking is the keeper of all but those that are known to be no duplicates
    of it. With `direct`, it is the keeper of its own duplicates. The rest get keepers of their own in the same way. So,
    with `direct`, a chain of near duplicates, whose ends may have nothing in common, falls apart into groups of real
    duplicates.

    Args:
        members: (m,) int64, the indices of the images in features.dat.
        ranking: The order in which images are preferred.
        fixed: (n,) bool, images that are kept whatever the rules say.
        compare: Compares one image with others.
        grouping: How far a keeper reaches.

    Returns:
        One item for each member; each keeper is followed by the images that it is the keeper of.
    """
    remaining = ranking.order(members)
    assigned = []
    while len(remaining):
        keeper, others = int(remaining[0]), remaining[1:]
        likeness = compare(keeper, others)
        duplicates = ~fixed[others] & (likeness.is_duplicate if grouping == DIRECT else ~likeness.is_other)
        assigned.append(KeeperAssignment(keeper, keeper, np.inf))
        assigned += [
            KeeperAssignment(row, keeper, value)
            for row, value in zip(others[duplicates].tolist(), likeness.similarity[duplicates].tolist(), strict=True)
        ]
        remaining = others[~duplicates]
    return assigned
