"""Find the k nearest neighbors of each embedding in a cell, by comparing small groups in rounds until few are new.

A round splits the cell into groups by k-means with its own seed, and compares all embeddings of a group with each
other. Two near embeddings may be in different groups in one round, but hardly in all.

Sources: J. Wang et al., Scalable k-NN graph construction for visual descriptors, CVPR 2012, which splits at random;
W. Dong et al., Efficient k-nearest neighbor graph construction, WWW 2011, which ends when a round changes little.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fastdup_ray.common.arrays import AnyArray, DoubleArray, FloatArray, IntArray
from fastdup_ray.neighbors.partitioned.kmeans import (
    EMBEDDINGS_PER_CENTER,
    find_nearest_centers,
    fit_centers,
    group_by_label,
    map_threads,
)
from fastdup_ray.neighbors.search import SPARE, select_closest

EXACT_UP_TO = 4_096
"""Size of a cell up to which all embeddings are compared with each other: a round or two would cost as much."""

GROUP_FACTOR = 0.6
"""Size of a group divided by the square root of the cell's size. With this, comparing with centers costs about as much
as comparing within groups. Of 200,000 clustered embeddings, a part of 0.27 shares a group with a neighbor at groups of
500, and 0.36 at 250, in the same time."""

LEAST_GROUP = 128

UNRELATED_BELOW = 0.3
"""Similarity below which no rounds are spent on a neighbor, if there is one cell (the default `lower_threshold`)."""

LOOK_ALIKE_FROM = 0.6
"""The same for a cell among many: a third of the less similar neighbors are in other cells anyway. Pairs worth
reporting are above 0.8."""

CONVERGED_BELOW = 0.002
"""Part of the neighbors that are new in the last round. In 26,443 photos, 0.99 of the neighbors above 0.3 are found by
then, in 33 rounds, and all of those above 0.6, in 12; if each photo has two copies, 0.997 in 11 rounds."""

LEAST_ROUNDS, MOST_ROUNDS = 8, 60
"""If there are few neighbors, a round without new ones means little."""

PART = 1_024
"""Queries that are compared with a group, or ranked, at a time."""

_Indices32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class CandidateHeap:
    """The c best candidates so far of each of m embeddings, in no order.

    Attributes:
        value: (m, c) float32 products, minus infinity for none.
        index: (m, c) int32 indices in the cell, -1 for none.
    """

    value: FloatArray
    index: _Indices32

    @classmethod
    def empty(cls, m: int, c: int) -> "CandidateHeap":
        """Return a heap without candidates."""
        return cls(np.full((m, c), -np.inf, np.float32), np.full((m, c), -1, np.int32))

    def update(self, own: IntArray, value: FloatArray, index: IntArray) -> None:
        """Add candidates where they are better than those before.

        Args:
            own: (b,) int64, the embeddings that they are of; none twice.
            value: (b, e) float32 products.
            index: (b, e) int64 indices in the cell.
        """
        old_index, old_value = self.index[own], self.value[own]
        repeated = (index[:, :, None] == old_index[:, None, :]).any(axis=2)
        new_value, new_index = np.where(repeated, -np.inf, value), np.where(repeated, -1, index)
        values = np.concatenate([old_value, new_value], axis=1)
        indices = np.concatenate([old_index, new_index], axis=1)
        best = np.argpartition(-values, old_value.shape[1] - 1, axis=1)[:, : old_value.shape[1]]
        self.value[own] = np.take_along_axis(values, best, 1)
        self.index[own] = np.take_along_axis(indices, best, 1)

    def best(self, k: int) -> FloatArray:
        """Return the k largest products of each embedding, (m, k) float32, ascending."""
        return np.sort(self.value, axis=1)[:, -k:].copy()  # a view would keep the whole array in memory


@dataclass(frozen=True)
class CellNeighbors:
    """The neighbors of the m embeddings of a cell, the closest first.

    Attributes:
        index: (m, k) int32 indices in the cell, -1 for none.
        distance: (m, k) float64 values of the metric, NaN for none.
        rounds: Number of rounds; 0 if all embeddings were compared with each other.
    """

    index: AnyArray
    distance: DoubleArray
    rounds: int


def search_within(
    embeddings: FloatArray, k: int, metric: str, threads: int, least: float = UNRELATED_BELOW
) -> CellNeighbors:
    """Find the k nearest others of each embedding of a cell.

    Memory besides the embeddings: `partition_layout.get_fixed_bytes`, and `get_bytes_per_embedding` for each.

    Args:
        embeddings: (m, d) float32 of unit length.
        k: Neighbors of each, at most m - 1.
        metric: A metric that ranks as the cosine does.
        threads: Threads to use; the result does not depend on them.
        least: Similarity from which on the neighbors count when the rounds are judged. Less similar ones may be missed.
    """
    m = len(embeddings)
    heap = CandidateHeap.empty(m, min(k + SPARE, m - 1))
    rounds = 0
    if m <= EXACT_UP_TO:
        _compare_within_groups(embeddings, [np.arange(m)], heap, threads)
    elif k:
        new = 1.0
        while rounds < LEAST_ROUNDS or (new > CONVERGED_BELOW and rounds < MOST_ROUNDS):
            before = heap.best(k)
            _compare_within_groups(embeddings, _divide_into_groups(embeddings, rounds, k, threads), heap, threads)
            rounds += 1
            after = heap.best(k)
            near = after >= least
            new = (near & (after > before)).sum() / max(1, near.sum())
    parts = [slice(start, start + PART) for start in range(0, m, PART)]
    ranked = map_threads(
        threads, lambda part: select_closest(embeddings[part], embeddings, heap.index[part], metric, k), parts
    )
    distances, indices = zip(*ranked, strict=True)
    return CellNeighbors(np.concatenate(indices), np.concatenate(distances), rounds)


def choose_group_size(m: int, k: int) -> int:
    """Return the size that the groups of a cell of m embeddings should have."""
    return max(LEAST_GROUP, int(GROUP_FACTOR * m**0.5), 2 * (k + SPARE))


def _divide_into_groups(embeddings: FloatArray, seed: int, k: int, threads: int) -> list[IntArray]:
    m = len(embeddings)
    return list(_divide(embeddings, np.arange(m), choose_group_size(m, k), seed, threads))


def _divide(embeddings: FloatArray, own: IntArray, size: int, seed: int, threads: int) -> Iterator[IntArray]:
    """Yield the embeddings `own` in groups of about `size`, at most twice that.

    Embeddings that k-means cannot tell apart are split by their index.
    """
    count = -(-len(own) // size)
    random = np.random.default_rng([seed, len(own)])
    sample = np.sort(random.choice(own, min(len(own), EMBEDDINGS_PER_CENTER * count), replace=False))
    centers = fit_centers(embeddings[sample], count, seed)
    is_whole = len(own) == len(embeddings)
    labels = find_nearest_centers(embeddings if is_whole else embeddings[own], centers, 1, threads)[:, 0]
    order, starts = group_by_label(labels, count)
    for start, stop in pairwise(starts):
        group = own[order[start:stop]]
        if len(group) <= 2 * size:
            yield group
        elif len(group) > 0.9 * len(own):
            yield from np.array_split(group, -(-len(group) // size))
        else:
            yield from _divide(embeddings, group, size, seed, threads)


def _compare_within_groups(embeddings: FloatArray, groups: list[IntArray], heap: CandidateHeap, threads: int) -> None:
    """Compare all embeddings of each group with each other; no embedding is in two groups."""

    def compare(work: tuple[IntArray, slice]) -> None:
        group, part = work
        members, own = embeddings[group], group[part]
        products = members[part] @ members.T
        products[np.arange(len(own)), np.arange(len(group))[part]] = -np.inf
        count = min(heap.index.shape[1], len(group) - 1)
        if count:
            best = np.argpartition(-products, count - 1, axis=1)[:, :count]
            heap.update(own, np.take_along_axis(products, best, 1), group[best])

    works = ((group, slice(start, start + PART)) for group in groups for start in range(0, len(group), PART))
    map_threads(threads, compare, works)
