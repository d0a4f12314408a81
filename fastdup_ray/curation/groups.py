"""Which pictures stand or fall with which: components, and groups in which every member is close to its keeper."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from fastdup_ray.analysis.keepers import Ranking

Grouping = Literal["direct", "components"]
DIRECT, COMPONENTS = "direct", "components"
GROUPINGS = (DIRECT, COMPONENTS)

SimilarityFunction = Callable[[int, np.ndarray], np.ndarray]
"""The cosines, (m,) float64, of one row with each of m others; infinite for the same bytes."""


class KeeperAssignment(NamedTuple):
    """One member of a component: its row, the row of its keeper, which may be itself, and their likeness."""

    row: int
    keeper: int
    similarity: float


def assign_keepers(
    members: np.ndarray,
    ranking: Ranking,
    fixed: np.ndarray,
    likeness: SimilarityFunction,
    threshold: float,
    grouping: Grouping = DIRECT,
) -> list[KeeperAssignment]:
    """Gives each member of one component a keeper.

    members: (m,) int64 rows. fixed: (n,) bool, rows that are kept whatever the rules say. threshold: cosine.

    `components`: the first of the ranking is the keeper of all. `direct`: it is the keeper of those whose cosine with
    it is above `threshold`; what is left has a keeper of its own in the same way. So a chain of near copies, whose ends
    may be strangers, falls apart into groups of copies.
    """
    left = ranking.order(members)
    assigned = []
    while len(left):
        keeper, others = int(left[0]), left[1:]
        alike = likeness(keeper, others)
        taken = ~fixed[others]
        if grouping == DIRECT:
            taken &= alike > threshold
        assigned.append(KeeperAssignment(keeper, keeper, np.inf))
        assigned += [
            KeeperAssignment(row, keeper, value)
            for row, value in zip(others[taken].tolist(), alike[taken].tolist(), strict=True)
        ]
        left = others[~taken]
    return assigned
