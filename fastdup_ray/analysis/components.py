"""Connected components, PageRank and degrees of the graph of similar images.

Numbers of all images and components are in arrays that may be mapped from files. Edges are processed in batches of
whole components, so that in memory is one batch, or the largest component.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastdup_ray.analysis.edges import Edges
from fastdup_ray.analysis.sorting import sort_blocks, split_by_group
from fastdup_ray.analysis.union_find import NODES_PER_BLOCK, label_components
from fastdup_ray.common.arrays import AnyArray, DoubleArray, IntArray
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.scratch import Scratch

NETWORKX_UP_TO = 100_000
"""Largest number of edges for networkx, which takes 7 ms and 0.6 MB per thousand; more are processed with scipy."""

DAMPING = 0.85
"""Damping factor of PageRank."""

TOLERANCE = 1e-12
"""Mean change of a rank per image below which the power iteration stops."""

MAX_ROUNDS = 1_000
"""Largest number of rounds of the power iteration."""


class ComponentBlock(NamedTuple):
    """Columns of a block of images.

    Attributes:
        component: (b,) int64 number of the component.
        pagerank: (b,) float64, with mean 1 over all images; None if it was not requested.
        degree: (b,) int64 number of edges; None if it was not requested.
        count: (b,) int64 number of images in the component.
        low: (b,) float64 lowest similarity of the edges of the component; NaN where it has none.
    """

    component: IntArray
    pagerank: DoubleArray | None
    degree: IntArray | None
    count: IntArray  # type: ignore[assignment]  # hides tuple.count, which nothing calls
    low: DoubleArray


@dataclass(frozen=True)
class Components:
    """The c components of n images, also those of one image, numbered from 0 in the order of their first images.

    Attributes:
        number: (n,) int32, or int64 from 2^31 images on: the number of the component of each image.
        pagerank: (n,) float64, with mean 1; None if it was not requested.
        degree: (n,) int32, the number of edges of each image; None if it was not requested.
        count: (c,) int64, the number of images of each component.
        mean: (c,) float64 mean similarity of its edges; NaN where it has none, and so below.
        low: (c,) float64 lowest similarity of its edges.
        high: (c,) float64 highest similarity of its edges.
    """

    number: AnyArray
    pagerank: DoubleArray | None
    degree: IntArray | None
    count: IntArray
    mean: DoubleArray
    low: DoubleArray
    high: DoubleArray

    def __len__(self) -> int:
        """Return the number of components, including those of one image."""
        return len(self.count)

    def block(self, start: int, stop: int) -> ComponentBlock:
        """Return the columns of the images from `start` to `stop - 1`."""
        part = slice(start, stop)
        number = self.number[part]
        return ComponentBlock(
            number.astype(np.int64),
            None if self.pagerank is None else self.pagerank[part],
            None if self.degree is None else self.degree[part].astype(np.int64),
            self.count[number],
            self.low[number],
        )

    def numbers_by_size(self, scratch: Scratch) -> Iterator[IntArray]:
        """Yield the numbers of the components, the largest first, then in ascending order, block by block."""
        most = int(self.count.max(initial=0))

        def encode(start: int) -> IntArray:
            number = start + np.flatnonzero(self.count[start : start + NODES_PER_BLOCK] > 1)
            return (most - self.count[number]) * len(self) + number

        starts = range(0, len(self), NODES_PER_BLOCK)
        for keys in sort_blocks(map(encode, starts), scratch):
            yield keys % len(self)
        for start in starts:
            yield start + np.flatnonzero(self.count[start : start + NODES_PER_BLOCK] == 1)

    def count_single(self) -> int:
        """Return the number of components of one image."""
        return int(np.count_nonzero(self.count == 1))


def find_components(edges: Edges, n: int, scratch: Scratch, *, pagerank: bool, degree: bool) -> Components:
    """Find the components of a graph.

    Args:
        edges: The edges.
        n: Number of images.
        scratch: Opens a temporary file.
        pagerank: Whether to compute the PageRank too.
        degree: Whether to count the edges of each image too.

    Returns:
        The components.
    """
    number, count = _number_components(edges, n, scratch)
    mean, low, high = (make_array(len(count), np.float64, scratch, np.nan) for _ in range(3))
    found = Components(
        number,
        make_array(n, np.float64, scratch) if pagerank else None,
        make_array(n, np.int32, scratch) if degree else None,
        count,
        mean,
        low,
        high,
    )
    # As in networkx, images without an edge spread their rank evenly over all images, which scales every rank up.
    larger = n / (n - DAMPING * found.count_single())
    if found.pagerank is not None:
        found.pagerank[:] = (1 - DAMPING) * larger
    rank = _rank_by_networkx if len(edges) <= NETWORKX_UP_TO else _rank_by_scipy
    for one, other, similarity in _iter_whole_components(edges, number, scratch):
        _summarize_similarities(found, number[one], similarity)
        images, position = np.unique(np.concatenate([one, other]), return_inverse=True)
        if found.degree is not None:
            found.degree[images] = np.bincount(position)
        if found.pagerank is not None:
            found.pagerank[images] = larger * rank(position[: len(one)], position[len(one) :], len(images))
    return found


def _number_components(edges: Edges, n: int, scratch: Scratch) -> tuple[AnyArray, IntArray]:
    """Return `Components.number` and `Components.count`."""
    number, c = label_components(((low, high) for low, high, _ in edges.blocks()), n, scratch), 0
    for start in range(0, n, NODES_PER_BLOCK):  # a label is the index of a first image, which has its number by then
        labels = number[start : start + NODES_PER_BLOCK].copy()
        first = np.flatnonzero(labels == np.arange(start, start + len(labels)))
        number[start + first] = np.arange(c, c + len(first))
        number[start : start + NODES_PER_BLOCK] = number[labels]
        c += len(first)
    count = make_array(c, np.int64, scratch)
    for start in range(0, n, NODES_PER_BLOCK):
        np.add.at(count, number[start : start + NODES_PER_BLOCK], 1)
    return number, count


def _iter_whole_components(
    edges: Edges, number: AnyArray, scratch: Scratch
) -> Iterator[tuple[IntArray, IntArray, DoubleArray]]:
    """Yield (low, high, similarity) of the edges of some whole components at a time."""
    m, start = len(edges), 0

    def encode() -> Iterator[IntArray]:
        nonlocal start
        for low, _, _ in edges.blocks():
            yield number[low] * np.int64(m) + np.arange(start, start + len(low))
            start += len(low)

    for keys in split_by_group(sort_blocks(encode(), scratch), m):
        rows = np.sort(keys % m)
        yield edges.low[rows], edges.high[rows], edges.similarity[rows]


def _summarize_similarities(found: Components, number: AnyArray, similarity: DoubleArray) -> None:
    """Set the similarities of some components from all of their edges, of which `number` are the components."""
    some, position = np.unique(number, return_inverse=True)
    found.mean[some] = np.bincount(position, similarity) / np.bincount(position)
    low, high = np.full(len(some), np.inf), np.full(len(some), -np.inf)
    np.minimum.at(low, position, similarity)
    np.maximum.at(high, position, similarity)
    found.low[some], found.high[some] = low, high


def _rank_by_networkx(low: IntArray, high: IntArray, n: int) -> DoubleArray:
    """Return (n,) PageRank with mean 1 of images that all have an edge."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(zip(low.tolist(), high.tolist(), strict=True))
    ranks = nx.pagerank(graph, DAMPING, max_iter=MAX_ROUNDS, tol=TOLERANCE / n)
    return n * np.fromiter(ranks.values(), float, n)


def _rank_by_scipy(low: IntArray, high: IntArray, n: int) -> DoubleArray:
    """Return the same by power iteration."""
    import scipy.sparse as sp

    upper = sp.csr_array((np.ones(len(low)), (low, high)), shape=(n, n))
    both = upper + upper.T
    share = 1 / np.asarray(both.sum(axis=1)).ravel()
    rank = np.ones(n)
    for _ in range(MAX_ROUNDS):
        before = rank
        rank = DAMPING * (both @ (rank * share)) + (1 - DAMPING)
        if np.abs(rank - before).sum() < TOLERANCE * n:
            break
    return rank
