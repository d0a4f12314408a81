"""Split embeddings of unit length among centers: k-means on a seeded sample, and the nearest centers of each embedding.

The results do not depend on the number of threads: one thread trains, and blocks of a fixed size are compared with the
centers, each by one thread.
"""

import faiss
import numpy as np

from fastdup_ray.common.arrays import FloatArray, IntArray
from fastdup_ray.system.threads import map_threads, single_threaded_libraries

ITERATIONS = 3
EMBEDDINGS_PER_CENTER = 20
"""Size of the sample for each center. With 40 and 5 iterations a part of 0.265 of the neighbors share a center, with
these 0.259, in a third of the time (200,000 clustered embeddings of 576 numbers, 400 centers)."""

BLOCK = 4_096
"""Most embeddings that are compared with the centers at a time."""

PRODUCTS = 1 << 20
"""Products of embeddings and centers that a thread ranks at a time."""


def fit_centers(
    sample: FloatArray, count: int, seed: int, iterations: int = ITERATIONS, first: FloatArray | None = None
) -> FloatArray:
    """Train centers by spherical k-means.

    Args:
        sample: (s, d) float32 of unit length, with s at least `count`.
        count: Number of centers.
        seed: Seed of the first centers.
        iterations: Rounds of training.
        first: (count, d) float32 first centers; None: embeddings of the sample at random.

    Returns:
        (count, d) float32 of unit length.
    """
    faiss.omp_set_num_threads(1)
    means = faiss.Kmeans(
        sample.shape[1],
        count,
        niter=iterations,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(sample),
    )
    with single_threaded_libraries():
        means.train(np.ascontiguousarray(sample), init_centroids=first)
    return np.asarray(means.centroids)


def find_nearest_centers(embeddings: FloatArray, centers: FloatArray, count: int, threads: int) -> IntArray:
    """Find the centers with the largest products.

    Args:
        embeddings: (m, d) float32.
        centers: (c, d) float32.
        count: Number of centers to find for each embedding.
        threads: Threads to use.

    Returns:
        (m, count) int64 indices of centers, in no order.
    """

    def find_block(start: int) -> IntArray:
        products = embeddings[start : start + BLOCK] @ centers.T
        if count == 1:
            nearest: IntArray = products.argmax(axis=1)[:, None]
            return nearest
        # A view would keep the whole array in memory.
        return np.argpartition(-products, count - 1, axis=1)[:, :count].copy()

    blocks = map_threads(threads, find_block, range(0, len(embeddings), BLOCK))
    return np.concatenate([np.empty((0, count), np.int64), *blocks])


def fit_margin(sample: FloatArray, centers: FloatArray, mean: float, most: int) -> float:
    """Find the margin for `find_centers_within` that gives each embedding a number of centers, on average.

    Args:
        sample: (s, d) float32.
        centers: (c, d) float32.
        mean: Centers of an embedding on average, the nearest one among them.
        most: Centers of an embedding at most.

    Returns:
        How far a center's product may be below that of the nearest one; -1.0 if it is the nearest only.
    """
    most, size = min(most, len(centers)), max(1, PRODUCTS // len(centers))
    blocks = (sample[start : start + size] @ centers.T for start in range(0, len(sample), size))
    behind = np.concatenate([_rank_centers(products, most)[1][:, 1:].ravel() for products in blocks])
    wanted = round((mean - 1) * len(sample))
    return float(np.sort(behind)[min(wanted, len(behind)) - 1]) if wanted > 0 and len(behind) else -1.0


def find_centers_within(
    embeddings: FloatArray, centers: FloatArray, margin: float, most: int, threads: int
) -> tuple[IntArray, IntArray]:
    """Find the nearest center of each embedding, and those within a margin of it.

    Args:
        embeddings: (m, d) float32.
        centers: (c, d) float32.
        margin: How far a center's product may be below that of the nearest one.
        most: Centers of an embedding at most.
        threads: Threads to use.

    Returns:
        Indices of embeddings and indices of their centers, two arrays of one length.
    """
    size = max(1, min(BLOCK, PRODUCTS // len(centers)))

    def find_block(start: int) -> tuple[IntArray, IntArray]:
        nearest, behind = _rank_centers(embeddings[start : start + size] @ centers.T, min(most, len(centers)))
        index, rank = np.nonzero((behind <= margin) | (np.arange(behind.shape[1]) == 0))
        return start + index, nearest[index, rank]

    blocks = map_threads(threads, find_block, range(0, len(embeddings), size))
    indices, labels = zip((np.empty(0, np.int64), np.empty(0, np.int64)), *blocks, strict=True)
    return np.concatenate(indices), np.concatenate(labels)


def _rank_centers(products: FloatArray, most: int) -> tuple[IntArray, FloatArray]:
    """Return the `most` centers with the largest products, the largest first, and how far each is below the first."""
    nearest = np.argpartition(-products, most - 1, axis=1)[:, :most]
    values = np.take_along_axis(products, nearest, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    nearest, values = np.take_along_axis(nearest, order, 1), np.take_along_axis(values, order, 1)
    return nearest, values[:, :1] - values


def group_by_label(labels: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """Group positions by their label.

    Args:
        labels: (m,) int64 from 0 to `count` - 1.
        count: Number of labels.

    Returns:
        The positions sorted by label, (m,), and where each label starts in them, (count + 1,).
    """
    order = np.argsort(labels, kind="stable")
    return order, np.searchsorted(labels[order], np.arange(count + 1))
