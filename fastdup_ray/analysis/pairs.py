"""Which neighbours are pairs, which images are outliers, and in which order they are told."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.neighbors.metrics import is_distance
from fastdup_ray.records import Neighbors, Pairs


def pairs_above(neighbors: Neighbors, threshold: float) -> Pairs:
    """Each image with each of its neighbours whose cosine is strictly above `threshold`, in the order of the images.

    The values are those of the metric.
    """
    return _at(neighbors, *np.nonzero(neighbors.similarity > threshold))


def similar_above(neighbors: Neighbors, threshold: float) -> Pairs:
    """The same pairs, with their cosines whatever the metric is."""
    source, place = np.nonzero(neighbors.similarity > threshold)
    return Pairs(source, neighbors.indices[source, place], neighbors.similarity[source, place])


def outliers_below(neighbors: Neighbors, lower_threshold: float) -> Pairs:
    """Each image whose closest neighbour has a cosine below `lower_threshold`, with that neighbour."""
    source, place = np.nonzero(neighbors.similarity[:, :1] < lower_threshold)
    return _at(neighbors, source, place)


def _at(neighbors: Neighbors, source: np.ndarray, place: np.ndarray) -> Pairs:
    """place: which of the neighbours of `source`."""
    values = neighbors.distance[source, place]
    return Pairs(source, neighbors.indices[source, place], values, less_is_closer=is_distance(neighbors.metric))


def name_ranks(names: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(n,) int64: the place of each name when sorted by its bytes."""
    order = pc.sort_indices(names).to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def ordered(pairs: Pairs, ranks: np.ndarray, target_ranks: np.ndarray | None = None, *, closest_first: bool) -> Pairs:
    """By closeness, then by the bytes of the names; ranks: as `name_ranks` gives them.

    target_ranks: where the targets are other images than the sources.
    """
    target_ranks = ranks if target_ranks is None else target_ranks
    value = pairs.value if closest_first == pairs.less_is_closer else -pairs.value
    order = np.lexsort((target_ranks[pairs.target], ranks[pairs.source], value))
    return replace(pairs, source=pairs.source[order], target=pairs.target[order], value=pairs.value[order])
