"""Rows of length 1 divided among centres: k-means on a seeded sample, and the nearest centres of each row.

What comes out is the same whatever the number of threads: one thread learns, and blocks of one size are compared with
the centres, each by one thread.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import TypeVar

import faiss
import numpy as np
from threadpoolctl import ThreadpoolController

Item, Result = TypeVar("Item"), TypeVar("Result")

ITERATIONS = 3
EMBEDDINGS_PER_CENTER = 20
"""Of the sample. With 40 and 5 iterations 0.265 of the neighbours share a centre, with these 0.259, at a third of the
time (200,000 clustered rows of 576, 400 centres)."""

BLOCK = 4_096
"""Rows at a time."""


def map_threads(threads: int, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`work` of each item, in their order; what it multiplies it multiplies by itself."""
    with _limit_blas_threads(), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def _limit_blas_threads() -> AbstractContextManager:
    """Whoever multiplies matrices meanwhile does it by itself."""
    return _find_libraries().limit(limits=1)


@cache
def _find_libraries() -> ThreadpoolController:
    return ThreadpoolController()  # takes a while to find them


def fit_centers(sample: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(count, d) float32 of length 1, for a sample (s, d) of at least as many rows."""
    faiss.omp_set_num_threads(1)
    means = faiss.Kmeans(
        sample.shape[1],
        count,
        niter=ITERATIONS,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(sample),
    )
    with _limit_blas_threads():
        means.train(np.ascontiguousarray(sample))
    return means.centroids


def find_nearest_centers(rows: np.ndarray, centres: np.ndarray, count: int, threads: int) -> np.ndarray:
    """(m, count) int64: the centres with the largest products, in no order."""

    def nearest(start: int) -> np.ndarray:
        products = rows[start : start + BLOCK] @ centres.T
        if count == 1:
            return products.argmax(axis=1)[:, None]
        return np.argpartition(-products, count - 1, axis=1)[:, :count].copy()  # a view would keep all of them

    blocks = map_threads(threads, nearest, range(0, len(rows), BLOCK))
    return np.concatenate([np.empty((0, count), np.int64), *blocks])


def fit_margin(sample: np.ndarray, centres: np.ndarray, mean: float, most: int) -> float:
    """How far a centre's product may be below the nearest one's, so that rows (s, d) have `mean` centres on average,
    the nearest among them, and at most `most`.
    """
    behind = _rank_centers(sample @ centres.T, min(most, len(centres)))[1][:, 1:].ravel()
    wanted = round((mean - 1) * len(sample))
    return float(np.sort(behind)[min(wanted, len(behind)) - 1]) if wanted > 0 and len(behind) else -1.0


def find_centers_within(
    rows: np.ndarray, centres: np.ndarray, margin: float, most: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have which centres, two arrays of one length: the nearest, and those within `margin` of it."""

    def near(start: int) -> tuple[np.ndarray, np.ndarray]:
        nearest, behind = _rank_centers(rows[start : start + BLOCK] @ centres.T, min(most, len(centres)))
        row, place = np.nonzero((behind <= margin) | (np.arange(behind.shape[1]) == 0))
        return start + row, nearest[row, place]

    blocks = map_threads(threads, near, range(0, len(rows), BLOCK))
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)
    return tuple(np.concatenate(some) for some in zip(nothing, *blocks, strict=True))


def _rank_centers(products: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The `most` centres with the largest products, the largest first, and how far each is below the first."""
    nearest = np.argpartition(-products, most - 1, axis=1)[:, :most]
    values = np.take_along_axis(products, nearest, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    nearest, values = np.take_along_axis(nearest, order, 1), np.take_along_axis(values, order, 1)
    return nearest, values[:, :1] - values


def group_by_label(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For labels (m,) from 0 to count - 1: the places sorted by label, and where each label starts, (count + 1,)."""
    order = np.argsort(labels, kind="stable")
    return order, np.searchsorted(labels[order], np.arange(count + 1))
