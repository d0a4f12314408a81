"""Precision and recall over the threshold."""

from dataclasses import dataclass, field

import numpy as np

from fastdup_ray.evaluation.pairs import STEPS, find_bin


@dataclass(frozen=True)
class Curve:
    """Of pairs counted by their cosine, as `PairCounts` has them. A pair is found when it is strictly above.

    found: (p,) copies above the cosine of each place; precision: (p,), 1 where nothing is found; recall: (p,).
    """

    same: np.ndarray
    other: np.ndarray
    found: np.ndarray = field(init=False)
    precision: np.ndarray = field(init=False)
    recall: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        found, wrong = count_above(self.same), count_above(self.other)
        precision = np.divide(found, found + wrong, out=np.ones(len(found)), where=found + wrong > 0)
        for name, value in (("found", found), ("precision", precision), ("recall", found / self.same.sum())):
            object.__setattr__(self, name, value)

    @property
    def average_precision(self) -> float:
        """Micro average precision: each copy counts with the precision at its own cosine; ties count as one step.

        As in https://scikit-learn.org/stable/modules/generated/sklearn.metrics.average_precision_score.html
        """
        at_least = self.found + self.same
        everything = at_least + count_above(self.other) + self.other
        there = self.same > 0
        return float((self.same[there] * at_least[there] / everything[there]).sum() / self.same.sum())

    def at(self, threshold: float) -> tuple[float, float]:
        """(precision, recall) of the pairs above the threshold."""
        here = find_bin(threshold)
        return float(self.precision[here]), float(self.recall[here])

    def threshold_for(self, precision: float) -> float | None:
        """The lowest threshold with this precision, which is the one with the highest recall; None where none has."""
        good = np.flatnonzero((self.precision >= precision) & (self.found > 0))
        return None if len(good) == 0 else int(good[0] - STEPS) / STEPS


def count_above(counts: np.ndarray) -> np.ndarray:
    """For each place, how many are above it."""
    return counts.sum() - np.cumsum(counts)
