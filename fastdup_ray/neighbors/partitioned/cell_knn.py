"""Find the k nearest neighbors of each embedding in a cell, by comparing small groups in rounds until few are new.

A round splits the cell into groups by k-means with its own seed, and compares all embeddings of a group with each
other, in 8-bit integers. Two near embeddings may be in different groups in one round, but hardly in all. The best
candidates of all rounds are ranked by the embeddings.

Sources: J. Wang et al., Scalable k-NN graph construction for visual descriptors, CVPR 2012, which splits at random;
W. Dong et al., Efficient k-nearest neighbor graph construction, WWW 2011, which ends when a round changes little.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastdup_ray.common.arrays import AnyArray, DoubleArray, FloatArray, IntArray
from fastdup_ray.neighbors.all_pairs import compare_all, compare_group, compare_with_all
from fastdup_ray.neighbors.candidate_lists import CandidateLists
from fastdup_ray.neighbors.int8_products import Quantized, QuantizedView, Quantizer, multiply
from fastdup_ray.neighbors.partitioned.kmeans import EMBEDDINGS_PER_CENTER, fit_centers, group_by_label
from fastdup_ray.neighbors.search import SPARE, select_closest
from fastdup_ray.system.threads import map_threads

ALL_PAIRS_UP_TO = 16_384
"""Size of a cell up to which all embeddings are compared with each other: rounds would cost as much."""

GROUP_FACTOR = 1.15
"""Size of a group divided by the square root of the cell's size. With this, comparing with centers costs about as much
as comparing within groups. Of 200,000 clustered embeddings, a part of 0.27 shares a group with a neighbor at groups of
500, and 0.24 at 1,000, which take longer."""

LEAST_GROUP = 256

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
"""Embeddings that are compared with the centers, or ranked, at a time."""


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
    embeddings: FloatArray,
    k: int,
    metric: str,
    threads: int,
    least: float = UNRELATED_BELOW,
    *,
    hold_quantized: bool = True,
) -> CellNeighbors:
    """Find the k nearest others of each embedding of a cell.

    Memory besides the embeddings: see `PartitionLayout.estimate_memory`.

    Args:
        embeddings: (m, d) float32 of unit length.
        k: Neighbors of each, at most m - 1.
        metric: A metric that ranks as the cosine does.
        threads: Threads to use; the result does not depend on them.
        least: Similarity from which on the neighbors count when the rounds are judged. Less similar ones may be missed.
        hold_quantized: Whether to hold the embeddings in 8 bits, too, instead of quantizing them in each round again.
            It takes a quarter more memory, and the result is the same.
    """
    m = len(embeddings)
    lists = CandidateLists(m, min(k + SPARE, m - 1))
    quantizer = Quantizer(embeddings)
    rounds = 0
    quantized = quantizer.quantize(embeddings) if hold_quantized else QuantizedView(embeddings, quantizer)
    if k and m <= ALL_PAIRS_UP_TO:
        compare_all(quantized, lists, threads)
    elif k:
        new, least_product = 1.0, quantizer.to_product(least)
        while rounds < LEAST_ROUNDS or (new > CONVERGED_BELOW and rounds < MOST_ROUNDS):
            before = lists.get_products(k)
            groups = _divide(embeddings, quantized, np.arange(m), choose_group_size(m, k), rounds, threads)
            map_threads(threads, lambda group: compare_group(quantized, group, lists), list(groups))
            rounds += 1
            after = lists.get_products(k)
            near = after >= least_product
            new = (near & (after > before)).sum() / max(1, near.sum())
    index, distance = _rank(embeddings, lists, np.arange(m), k, metric, threads)
    return CellNeighbors(index, distance, rounds)


def search_chosen(
    embeddings: FloatArray,
    chosen: IntArray,
    least: FloatArray,
    k: int,
    metric: str,
    threads: int,
    *,
    hold_quantized: bool = True,
) -> tuple[IntArray, CellNeighbors]:
    """Compare some embeddings of a cell with all of it: their nearest neighbors, and whose neighbors they are.

    Memory besides the embeddings: as of `search_within`.

    Args:
        embeddings: (m, d) float32 of unit length.
        chosen: (c,) int64, indices of the embeddings to compare, ascending.
        least: (m,) float32, least similarity that neighbors of the others are of interest from. Somewhat less similar
            ones may be found, too.
        k: Neighbors of each, at least 1 and at most m - 1.
        metric: A metric that ranks as the cosine does.
        threads: Threads to use; the result does not depend on them.
        hold_quantized: See `search_within`.

    Returns:
        The indices of the embeddings with neighbors, (r,) ascending, and the neighbors of these.
    """
    m = len(embeddings)
    lists = CandidateLists(m, min(k + SPARE, m - 1))
    quantizer = Quantizer(embeddings)
    others = np.setdiff1d(np.arange(m), chosen, assume_unique=True)
    lists.require(others, quantizer.to_least_products(least[others]))
    quantized = quantizer.quantize(embeddings) if hold_quantized else QuantizedView(embeddings, quantizer)
    compare_with_all(quantized, chosen, lists, threads)
    rows = np.flatnonzero(lists.has_any())
    index, distance = _rank(embeddings, lists, rows, k, metric, threads)
    return rows, CellNeighbors(index, distance, rounds=0)


def _rank(
    embeddings: FloatArray, lists: CandidateLists, rows: IntArray, k: int, metric: str, threads: int
) -> tuple[AnyArray, DoubleArray]:
    """Return the k closest candidates of some embeddings, and their distances."""
    parts = [rows[start : start + PART] for start in range(0, len(rows), PART)]
    ranked = map_threads(
        threads, lambda own: select_closest(embeddings[own], embeddings, lists.get_indices(own), metric, k), parts
    )
    distances, indices = zip((np.empty((0, k)), np.empty((0, k), np.int32)), *ranked, strict=True)
    return np.concatenate(indices), np.concatenate(distances)


def choose_group_size(m: int, k: int) -> int:
    """Return the size that the groups of a cell of m embeddings should have."""
    return max(LEAST_GROUP, int(GROUP_FACTOR * m**0.5), 2 * (k + SPARE))


def _divide(
    embeddings: FloatArray, quantized: Quantized, own: IntArray, size: int, seed: int, threads: int
) -> Iterator[IntArray]:
    """Yield the embeddings `own` in groups of about `size`, at most twice that.

    Embeddings that k-means cannot tell apart are split by their index.
    """
    count = -(-len(own) // size)
    random = np.random.default_rng([seed, len(own)])
    sample = np.sort(random.choice(own, min(len(own), EMBEDDINGS_PER_CENTER * count), replace=False))
    centers = fit_centers(embeddings[sample], count, seed)
    quantized_centers = Quantizer(centers).quantize(centers)
    parts = [own[start : start + PART] for start in range(0, len(own), PART)]
    labels = map_threads(threads, lambda part: multiply(quantized[part], quantized_centers).argmax(axis=1), parts)
    order, starts = group_by_label(np.concatenate(labels), count)
    for start, stop in pairwise(starts):
        group = own[order[start:stop]]
        if len(group) <= 2 * size:
            yield group
        elif len(group) > 0.9 * len(own):
            yield from np.array_split(group, -(-len(group) // size))
        else:
            yield from _divide(embeddings, quantized, group, size, seed, threads)
