"""Which images are outliers, and their order."""

from collections.abc import Iterator
from dataclasses import replace

from fastdup_ray.analysis.pairs import NameOrder, iter_sorted
from fastdup_ray.common.records import Neighbors, Pairs
from fastdup_ray.common.scratch import Scratch


def iter_sorted_outliers(
    neighbors: Neighbors, lower_threshold: float, sources: NameOrder, targets: NameOrder, scratch: Scratch
) -> Iterator[Pairs]:
    """Sort outliers in limited memory, the least similar first, then by the bytes of the names.

    Args:
        neighbors: The neighbors of the images.
        lower_threshold: Similarity to the nearest neighbor below which an image is an outlier.
        sources: The images.
        targets: The images that the neighbors are from.
        scratch: Opens a temporary file.

    Returns:
        Each outlier with its nearest neighbor, a block at a time, with the values of the metric.
    """
    first = replace(
        neighbors,
        similarity=neighbors.similarity[:, :1],
        indices=neighbors.indices[:, :1],
        distance=neighbors.distance[:, :1],
    )
    return iter_sorted(first, lambda cosine: cosine < lower_threshold, sources, targets, scratch, closest_first=False)
