"""Edges of the graph of similar images, sorted and without repeats. They may be more than fit in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastdup_ray.analysis.pairs import find_cosines, select_similar
from fastdup_ray.analysis.sorting import drop_repeats, sort_blocks
from fastdup_ray.common.arrays import DoubleArray, IntArray
from fastdup_ray.common.mapped_arrays import write_and_map_columns
from fastdup_ray.common.records import NEIGHBORS_PER_BLOCK, Neighbors
from fastdup_ray.common.scratch import Scratch

EDGES_PER_BLOCK = NEIGHBORS_PER_BLOCK
"""Edges that are processed at a time."""


@dataclass(frozen=True)
class Edges:
    """Undirected edges, each once, sorted by `low`, then by `high`. The arrays may be mapped from files.

    Attributes:
        low: (m,) int64, the image of each edge with the lower index.
        high: (m,) int64, the image with the higher index.
        similarity: (m,) float64.
    """

    low: IntArray
    high: IntArray
    similarity: DoubleArray

    def __len__(self) -> int:
        return len(self.low)

    def blocks(self) -> Iterator[tuple[IntArray, IntArray, DoubleArray]]:
        """Yield (low, high, similarity) of at most `EDGES_PER_BLOCK` edges at a time."""
        for start in range(0, len(self), EDGES_PER_BLOCK):
            part = slice(start, start + EDGES_PER_BLOCK)
            yield np.asarray(self.low[part]), np.asarray(self.high[part]), np.asarray(self.similarity[part])


def build_edges(neighbors: Neighbors, threshold: float, first_of_bytes: IntArray, scratch: Scratch) -> Edges:
    """Build the edges of similar neighbors and of byte-identical files, in limited memory.

    Args:
        neighbors: The neighbors of n images.
        threshold: Neighbors with a similarity strictly above it have an edge.
        first_of_bytes: (n,) int64, the first image with the same bytes; itself or -1 where there is no earlier one.
        scratch: Opens a temporary file.

    Returns:
        The edges, mapped from temporary files.
    """

    def list_edges() -> Iterator[tuple[IntArray, IntArray, DoubleArray]]:
        for block in drop_repeats(sort_blocks(_encode_edges(neighbors, threshold, first_of_bytes), scratch)):
            low, high = np.divmod(block, len(neighbors))
            value = np.maximum(find_cosines(neighbors, low, high), find_cosines(neighbors, high, low))
            value[first_of_bytes[high] == low] = 1.0
            yield low, high, value

    return Edges(*write_and_map_columns(list_edges(), (np.int64, np.int64, np.float64), scratch))


def _encode_edges(neighbors: Neighbors, threshold: float, first_of_bytes: IntArray) -> Iterator[IntArray]:
    """Yield one number per edge, `low * n + high`; an edge may occur several times."""
    n = len(neighbors)
    for pairs in select_similar(neighbors, threshold):
        yield np.minimum(pairs.source, pairs.target) * n + np.maximum(pairs.source, pairs.target)
    for start in range(0, n, EDGES_PER_BLOCK):
        first = first_of_bytes[start : start + EDGES_PER_BLOCK]
        copies = np.flatnonzero((first >= 0) & (first != np.arange(start, start + len(first))))
        yield first[copies] * n + start + copies
