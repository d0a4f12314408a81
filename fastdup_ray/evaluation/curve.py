"""Precision and recall over the threshold."""

from dataclasses import dataclass, field

import numpy as np

from fastdup_ray.common.arrays import DoubleArray, IntArray
from fastdup_ray.evaluation.pairs import STEPS, find_bin


@dataclass(frozen=True)
class Curve:
    """Precision and recall at each threshold, from histograms of the similarities of pairs.

    A pair counts as reported if its similarity is strictly above the threshold. All arrays have p = 2 · `STEPS` + 1
    bins; `find_bin` gives the bin of a similarity.

    Attributes:
        same: (p,) duplicates in each bin, see `PairCounts`.
        other: (p,) all other pairs in each bin.
        hits: (p,) duplicates above each bin.
        precision: (p,) share of duplicates among the pairs above each bin; 1 where there are no pairs.
        recall: (p,) share of all duplicates that is above each bin.
    """

    same: IntArray
    other: IntArray
    hits: IntArray = field(init=False)
    precision: DoubleArray = field(init=False)
    recall: DoubleArray = field(init=False)

    def __post_init__(self) -> None:
        hits, wrong = count_above(self.same), count_above(self.other)
        precision = np.divide(hits, hits + wrong, out=np.ones(len(hits)), where=hits + wrong > 0)
        for name, value in (("hits", hits), ("precision", precision), ("recall", hits / self.same.sum())):
            object.__setattr__(self, name, value)

    @property
    def average_precision(self) -> float:
        """Micro average precision: the mean precision at the similarity of each duplicate; ties are one step.

        As in https://scikit-learn.org/stable/modules/generated/sklearn.metrics.average_precision_score.html
        """
        at_least = self.hits + self.same
        reported = at_least + count_above(self.other) + self.other
        bins = self.same > 0
        return float((self.same[bins] * at_least[bins] / reported[bins]).sum() / self.same.sum())

    def at(self, threshold: float) -> tuple[float, float]:
        """Return precision and recall of the pairs above a threshold."""
        index = find_bin(threshold)
        return float(self.precision[index]), float(self.recall[index])

    def threshold_for(self, precision: float) -> float | None:
        """Return the lowest threshold with at least this precision, and so the most recall; None if there is none."""
        good = np.flatnonzero((self.precision >= precision) & (self.hits > 0))
        return None if len(good) == 0 else int(good[0] - STEPS) / STEPS


def count_above(counts: IntArray) -> IntArray:
    """Return (p,) for each bin the sum of all bins above it."""
    above: IntArray = counts.sum() - np.cumsum(counts)
    return above
