"""Which neighbours are pairs, which images are outliers, and in which order they are told."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.records import Neighbors, Pairs


def pairs_above(neighbors: Neighbors, threshold: float) -> Pairs:
    """Each image with each of its neighbours whose cosine is strictly above `threshold`, in the order of the images."""
    source, place = np.nonzero(neighbors.similarity > threshold)
    return Pairs(source, neighbors.indices[source, place], neighbors.similarity[source, place])


def outliers_below(neighbors: Neighbors, lower_threshold: float) -> Pairs:
    """Each image whose closest neighbour has a cosine below `lower_threshold`, with that neighbour."""
    if neighbors.similarity.shape[1] == 0:
        empty = np.empty(0, np.int64)
        return Pairs(empty, empty, np.empty(0))
    source = np.flatnonzero(neighbors.similarity[:, 0] < lower_threshold)
    return Pairs(source, neighbors.indices[source, 0], neighbors.similarity[source, 0])


def name_ranks(names: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(n,) int64: the place of each name when sorted by its bytes."""
    order = pc.sort_indices(names).to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def ordered(pairs: Pairs, ranks: np.ndarray, target_ranks: np.ndarray | None = None, *, closest_first: bool) -> Pairs:
    """By similarity, then by the bytes of the names; ranks: as `name_ranks` gives them.

    target_ranks: where the targets are other images than the sources.
    """
    target_ranks = ranks if target_ranks is None else target_ranks
    value = -pairs.value if closest_first else pairs.value
    order = np.lexsort((target_ranks[pairs.target], ranks[pairs.source], value))
    return Pairs(pairs.source[order], pairs.target[order], pairs.value[order])
