"""Clusters of embeddings: images that look alike without being duplicates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from fastdup_ray.common.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from fastdup_ray.neighbors.partitioned.kmeans import fit_centers
from fastdup_ray.system.threads import single_threaded_libraries

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
        label: (n,) int32, the number of the label of each image, -1 for none; None without labels.
        labels: The different labels.
    """

    cluster: IntArray
    similarity: DoubleArray
    label: IntArray | None = None
    labels: Sequence[str] = ()

    @property
    def sizes(self) -> IntArray:
        """(c,) int64, the number of images of each cluster."""
        return np.bincount(self.cluster)

    def get_label(self, row: int) -> str | None:
        """Return the label of an image; None if it has none."""
        number = -1 if self.label is None else int(self.label[row])
        return None if number < 0 else self.labels[number]

    def find_labels(self) -> IntArray:
        """Return (c,) the number of the most frequent label of each cluster, -1 for a cluster without labels.

        Of equally frequent labels it is the first in the order of texts.
        """
        most = np.full(len(self.sizes), -1)
        if self.label is None:
            return most
        codes = self.cluster * len(self.labels) + self.label
        codes, count = np.unique(codes[self.label >= 0], return_counts=True)
        cluster, label = np.divmod(codes, max(1, len(self.labels)))
        place = np.empty(len(self.labels), np.int64)
        place[sorted(range(len(self.labels)), key=self.labels.__getitem__)] = np.arange(len(self.labels))
        order = np.lexsort((-place[label], count))  # of one cluster, the last one stays
        most[cluster[order]] = label[order]
        return most

    def find_minority(self) -> BoolArray:
        """Return (n,) bool: whether an image has another label than most of its cluster."""
        if self.label is None:
            return np.zeros(len(self.cluster), bool)
        differs: BoolArray = (self.label >= 0) & (self.label != self.find_labels()[self.cluster])
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
    with single_threaded_libraries():
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
