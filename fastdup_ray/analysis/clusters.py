"""Clusters of embeddings: images that look alike without being duplicates."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from fastdup_ray.common.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from fastdup_ray.neighbors.partitioned.kmeans import fit_centers

ITERATIONS = 20
"""Rounds of k-means. More change nothing that one would see."""

MOST_BY_DEFAULT = 1_000
"""Clusters if nothing is said, at most."""


@dataclass(frozen=True)
class Clusters:
    """The clusters of n images, numbered from 0, the largest first.

    Attributes:
        cluster: (n,) int64, the cluster of each image.
        similarity: (n,) float64, the cosine of each image and the center of its cluster, 6 decimals.
        labels: (n,) the label of each image, null for none; None without labels.
    """

    cluster: IntArray
    similarity: DoubleArray
    labels: pa.Array | None = None

    @property
    def sizes(self) -> IntArray:
        """(c,) int64, the number of images of each cluster."""
        return np.bincount(self.cluster)

    def find_labels(self) -> list[str | None]:
        """Return the most frequent label of each cluster; of equally frequent ones the first in order."""
        found: list[str | None] = [None] * len(self.sizes)
        if self.labels is None:
            return found
        codes = self.labels.dictionary_encode()
        names, has_label = codes.dictionary.to_pylist(), codes.indices.is_valid().to_numpy(zero_copy_only=False)
        pairs = np.stack([self.cluster[has_label], codes.indices.drop_null().to_numpy()])
        kinds, count = np.unique(pairs, axis=1, return_counts=True)
        ranked = sorted(zip(*kinds.tolist(), count.tolist(), strict=True), key=lambda row: (-row[2], names[row[1]]))
        for cluster, code, _ in reversed(ranked):
            found[cluster] = names[code]
        return found

    def find_minority(self) -> BoolArray:
        """Return (n,) bool: whether an image has another label than most of its cluster."""
        if self.labels is None:
            return np.zeros(len(self.cluster), bool)
        most = np.array(self.find_labels(), object)[self.cluster]
        own = np.array(self.labels.to_pylist(), object)
        differs: BoolArray = (own != None) & (own != most)  # noqa: E711 (elementwise)
        return differs


def choose_count(n: int) -> int:
    """Return the number of clusters of n images if nothing is said: the root of half of n, an old rule of thumb."""
    return min(max(round(sqrt(n / 2)), 1), MOST_BY_DEFAULT)


def find_clusters(sample: FloatArray, blocks: Iterable[FloatArray], count: int) -> Clusters:
    """Cluster embeddings by spherical k-means. The result does not depend on the number of threads.

    Args:
        sample: (s, d) float32 of unit length, at least one, by which the centers are placed.
        blocks: All n embeddings, as (b, d) float32 of unit length.
        count: Number of clusters. If there are fewer different embeddings, there are fewer clusters.
    """
    from sklearn.cluster import kmeans_plusplus  # takes a second, which only this needs

    count = min(count, len(sample))
    with threadpool_limits(1):
        first, _ = kmeans_plusplus(sample, count, random_state=0)
    centers = fit_centers(sample, count, 0, ITERATIONS, first)
    nearest, similarity = [np.empty(0, np.int64)], [np.empty(0)]
    for block in blocks:
        products = block @ centers.T
        nearest.append(products.argmax(axis=1))
        similarity.append(products.max(axis=1))
    cluster = np.concatenate(nearest)
    sizes = np.bincount(cluster, minlength=len(centers))
    number = np.empty(len(centers), np.int64)
    number[np.argsort(-sizes, kind="stable")] = np.arange(len(centers))
    cosines = np.concatenate(similarity).astype(np.float64)
    return Clusters(number[cluster], np.round(cosines, 6))
