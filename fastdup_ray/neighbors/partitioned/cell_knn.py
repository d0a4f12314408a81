"""The k nearest of each row among rows in memory: rounds of small groups, until one finds little.

A round divides the rows into groups by k-means of its own seed, and compares all rows of a group with each other. Two
near rows are in one group of most rounds or of few, but hardly in none of many. Sources of the idea: J. Wang et al.,
Scalable k-NN graph construction for visual descriptors, CVPR 2012, which divides at random; that it ends when a round
changes little, W. Dong et al., Efficient k-nearest neighbor graph construction, WWW 2011.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastdup_ray.neighbors.partitioned.kmeans import (
    EMBEDDINGS_PER_CENTER,
    find_nearest_centers,
    fit_centers,
    group_by_label,
    map_threads,
)
from fastdup_ray.neighbors.search import SPARE, select_closest

EXACT_UP_TO = 4_096
"""Rows that are all compared with each other: a round or two would cost as much."""

GROUP = 0.6
"""Rows of a group are this times the root of all: so the comparison with centres, and that within groups, cost about
the same. Of 200,000 clustered rows 0.27 share a group with a neighbour at 500 rows, 0.36 at 250, in the same time."""

LEAST_GROUP = 128

STRANGERS = 0.3
"""Whoever is no nearer than this is nobody's neighbour (the default `lower_threshold`): no rounds are for them."""

LOOK_ALIKES = 0.6
"""The same for a cell among many: a third of the neighbours that are less alike are in other cells anyway. Pairs worth
telling are above 0.8."""

LAST = 0.002
"""Part of the neighbours that the last round finds. Of 26,443 photographs 0.99 of the neighbours nearer than 0.3 are
found by then, in 33 rounds, and of those nearer than 0.6 all, in 12; where each has two copies, 0.997 in 11 rounds."""

LEAST_ROUNDS, MOST_ROUNDS = 8, 60
"""Where there are few neighbours, that a round finds none tells little."""

PART = 1_024
"""Queries at a time that are compared with a group, or ranked."""


@dataclass(frozen=True)
class CandidateHeap:
    """The best candidates of m rows so far, in no order.

    value: (m, c) float32 products, minus infinity for none; index: (m, c) int32, -1 for none.
    """

    value: np.ndarray
    index: np.ndarray

    @classmethod
    def empty(cls, m: int, c: int) -> "CandidateHeap":
        return cls(np.full((m, c), -np.inf, np.float32), np.full((m, c), -1, np.int32))

    def update(self, own: np.ndarray, value: np.ndarray, index: np.ndarray) -> None:
        """Better ones among the new for the rows `own`, each of them once."""
        known, best = self.index[own], self.value[own]
        again = (index[:, :, None] == known[:, None, :]).any(axis=2)
        value, index = np.where(again, -np.inf, value), np.where(again, -1, index)
        values, indices = np.concatenate([best, value], axis=1), np.concatenate([known, index], axis=1)
        kept = np.argpartition(-values, best.shape[1] - 1, axis=1)[:, : best.shape[1]]
        self.value[own] = np.take_along_axis(values, kept, 1)
        self.index[own] = np.take_along_axis(indices, kept, 1)

    def best(self, k: int) -> np.ndarray:
        """(m, k) float32: the k largest products, rising."""
        return np.sort(self.value, axis=1)[:, -k:].copy()  # a view would keep all of them


@dataclass(frozen=True)
class CellNeighbors:
    """index, distance: (m, k), as `search.closest` has them. rounds: 0 where all were compared with all."""

    index: np.ndarray
    distance: np.ndarray
    rounds: int


def search_within(rows: np.ndarray, k: int, metric: str, threads: int, least: float = STRANGERS) -> CellNeighbors:
    """rows: (m, d) float32 of length 1; metric: one that ranks as the cosine does. k is at most m - 1.

    The rounds are for neighbours with a cosine of `least` and more; of others, some are found.

    Takes `row_bytes` for each row beside the rows themselves, and `fixed_bytes` (both of `plan`).
    """
    m = len(rows)
    found = CandidateHeap.empty(m, min(k + SPARE, m - 1))
    rounds = 0
    if m <= EXACT_UP_TO:
        _compare_all(rows, [np.arange(m)], found, threads)
    elif k:
        new = 1.0
        while rounds < LEAST_ROUNDS or (new > LAST and rounds < MOST_ROUNDS):
            before = found.best(k)
            _compare_all(rows, _divide_into_groups(rows, rounds, k, threads), found, threads)
            rounds += 1
            after = found.best(k)
            near = after >= least
            new = (near & (after > before)).sum() / max(1, near.sum())
    parts = [slice(start, start + PART) for start in range(0, m, PART)]
    ranked = map_threads(threads, lambda part: select_closest(rows[part], rows, found.index[part], metric, k), parts)
    distance, index = (np.concatenate(some) for some in zip(*ranked, strict=True))
    return CellNeighbors(index, distance, rounds)


def choose_group_size(m: int, k: int) -> int:
    """Rows that a group should have."""
    return max(LEAST_GROUP, int(GROUP * m**0.5), 2 * (k + SPARE))


def _divide_into_groups(rows: np.ndarray, seed: int, k: int, threads: int) -> list[np.ndarray]:
    return list(_divide(rows, np.arange(len(rows)), choose_group_size(len(rows), k), seed, threads))


def _divide(rows: np.ndarray, own: np.ndarray, size: int, seed: int, threads: int) -> Iterator[np.ndarray]:
    """The rows `own` in groups of about `size`, at most twice of it; what cannot be told apart is cut by number."""
    count = -(-len(own) // size)
    random = np.random.default_rng([seed, len(own)])
    sample = np.sort(random.choice(own, min(len(own), EMBEDDINGS_PER_CENTER * count), replace=False))
    centres = fit_centers(rows[sample], count, seed)
    whole = len(own) == len(rows)
    labels = find_nearest_centers(rows if whole else rows[own], centres, 1, threads)[:, 0]
    order, starts = group_by_label(labels, count)
    for start, stop in pairwise(starts):
        group = own[order[start:stop]]
        if len(group) <= 2 * size:
            yield group
        elif len(group) > 0.9 * len(own):
            yield from np.array_split(group, -(-len(group) // size))
        else:
            yield from _divide(rows, group, size, seed, threads)


def _compare_all(rows: np.ndarray, groups: list[np.ndarray], found: CandidateHeap, threads: int) -> None:
    """All rows of a group with each other; no row is in two of the groups."""

    def compare(work: tuple[np.ndarray, slice]) -> None:
        group, part = work
        some, own = rows[group], group[part]
        products = some[part] @ some.T
        products[np.arange(len(own)), np.arange(len(group))[part]] = -np.inf
        best = min(found.index.shape[1], len(group) - 1)
        if best:
            place = np.argpartition(-products, best - 1, axis=1)[:, :best]
            found.update(own, np.take_along_axis(products, place, 1), group[place])

    works = ((group, slice(start, start + PART)) for group in groups for start in range(0, len(group), PART))
    map_threads(threads, compare, works)
