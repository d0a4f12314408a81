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
ROWS_PER_CENTRE = 20
"""Of the sample. With 40 and 5 iterations 0.265 of the neighbours share a centre, with these 0.259, at a third of the
time (200,000 clustered rows of 576, 400 centres)."""

BLOCK = 4_096
"""Rows at a time."""


def in_threads(threads: int, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`work` of each item, in their order; what it multiplies it multiplies by itself."""
    with _one_thread_each(), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def _one_thread_each() -> AbstractContextManager:
    """Whoever multiplies matrices meanwhile does it by itself."""
    return _libraries().limit(limits=1)


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # takes a while to find them


def centres_of(sample: np.ndarray, count: int, seed: int) -> np.ndarray:
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
    with _one_thread_each():
        means.train(np.ascontiguousarray(sample))
    return means.centroids


def nearest_centres(rows: np.ndarray, centres: np.ndarray, count: int, threads: int) -> np.ndarray:
    """(m, count) int64: the centres with the largest products, in no order."""

    def nearest(start: int) -> np.ndarray:
        products = rows[start : start + BLOCK] @ centres.T
        if count == 1:
            return products.argmax(axis=1)[:, None]
        return np.argpartition(-products, count - 1, axis=1)[:, :count].copy()  # a view would keep all of them

    blocks = in_threads(threads, nearest, range(0, len(rows), BLOCK))
    return np.concatenate([np.empty((0, count), np.int64), *blocks])


def grouped(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For labels (m,) from 0 to count - 1: the places sorted by label, and where each label starts, (count + 1,)."""
    order = np.argsort(labels, kind="stable")
    return order, np.searchsorted(labels[order], np.arange(count + 1))
