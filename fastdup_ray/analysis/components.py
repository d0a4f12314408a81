"""Connected components, PageRank and degrees of the graph of similar images.

Most images have no edge. Those take five bytes of memory each, and only the others take more. Edges are processed block
by block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastdup_ray.analysis.edges import Edges
from fastdup_ray.analysis.union_find import find_roots, join_trees
from fastdup_ray.common.arrays import AnyArray, DoubleArray, IntArray, get_index_type, shrink

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
    """The components of n images, of which l have an edge. These are in g components of two or more images.

    Components, also those of one image, are numbered from 0 in the order of their first images.

    Attributes:
        n: Number of images.
        images: (l,) int64 ascending indices of the images with an edge.
        group: (l,) int32 or less, for each of `images`, the index of its component among the g.
        pagerank: (l,) float64, with mean 1 over all n images; None if it was not requested.
        degree: (l,) int32; None if it was not requested.
        pagerank_alone: PageRank of each image without an edge.
        later: (l - g,) int64 ascending indices of the images that are not the first of their component.
        number: (g,) int64 number of each component, ascending.
        count: (g,) int64 number of its images.
        mean: (g,) float64 mean similarity of its edges.
        low: (g,) float64 lowest similarity of its edges.
        high: (g,) float64 highest similarity of its edges.
    """

    n: int
    images: IntArray
    group: IntArray
    pagerank: DoubleArray | None
    degree: IntArray | None
    pagerank_alone: float
    later: IntArray
    number: IntArray
    count: IntArray
    mean: DoubleArray
    low: DoubleArray
    high: DoubleArray

    def __len__(self) -> int:
        """Return the number of components, including those of one image."""
        return self.n - len(self.images) + len(self.count)

    def block(self, start: int, stop: int) -> ComponentBlock:
        """Return the columns of the images from `start` to `stop - 1`."""
        part = slice(*np.searchsorted(self.images, [start, stop]))
        linked, group = self.images[part] - start, self.group[part]

        def spread(values: AnyArray, default: float) -> AnyArray:
            column = np.full(stop - start, default, values.dtype)
            column[linked] = values
            return column

        return ComponentBlock(
            self.component_of(np.arange(start, stop)),
            None if self.pagerank is None else spread(self.pagerank[part], self.pagerank_alone),
            None if self.degree is None else spread(self.degree[part], 0),
            spread(self.count[group], 1),
            spread(self.low[group], np.nan),
        )

    def component_of(self, rows: AnyArray) -> AnyArray:
        """Return the numbers of the components of some images.

        Args:
            rows: (m,) int64 indices of images.

        Returns:
            (m,) int64.
        """
        # Correct for the first image of each component, and so for all images without an edge.
        component = rows - np.searchsorted(self.later, rows)
        position = np.searchsorted(self.images, rows)
        linked = position < np.searchsorted(self.images, rows, "right")
        component[linked] = self.number[self.group[position[linked]]]
        return component


class _Graph:
    """The images with an edge, and the edges in terms of their positions.

    Attributes:
        images: (l,) int64 ascending indices of the images.
    """

    def __init__(self, edges: Edges, n: int) -> None:
        has_edge = np.zeros(n, bool)
        for low, high, _ in edges.blocks():
            has_edge[low] = has_edge[high] = True
        self.images, self._edges = np.flatnonzero(has_edge), edges
        self._positions = np.cumsum(has_edge, dtype=get_index_type(n)) - 1

    def __len__(self) -> int:
        return len(self.images)

    def blocks(self) -> Iterator[tuple[AnyArray, AnyArray, DoubleArray]]:
        """Yield (low, high, similarity) of a block of edges, with positions in `images`."""
        for low, high, similarity in self._edges.blocks():
            yield self._positions[low], self._positions[high], similarity

    def ends(self) -> tuple[AnyArray, AnyArray]:
        """Return the positions (low, high) of all edges at once."""
        low, high = np.empty((2, len(self._edges)), self._positions.dtype)
        start = 0
        for one, other, _ in self.blocks():
            low[start : start + len(one)], high[start : start + len(one)] = one, other
            start += len(one)
        return low, high


def find_components(edges: Edges, n: int, *, pagerank: bool, degree: bool) -> Components:
    """Find the components of a graph.

    Args:
        edges: The edges.
        n: Number of images.
        pagerank: Whether to compute the PageRank too.
        degree: Whether to count the edges of each image too.

    Returns:
        The components.
    """
    graph = _Graph(edges, n)
    solve = _search_by_networkx if pagerank and len(edges) <= NETWORKX_UP_TO else _search_by_scipy
    labels, ranks = solve(graph, pagerank=pagerank)
    group, first = _number_by_first_image(labels)
    later = np.delete(graph.images, first)
    # As in networkx, images without an edge spread their rank evenly over all images, which scales every rank up.
    larger = n / (n - DAMPING * (n - len(graph)))
    return Components(
        n,
        graph.images,
        group,
        None if ranks is None else ranks * larger,
        _count_degrees(graph) if degree else None,
        (1 - DAMPING) * larger,
        later,
        graph.images[first] - np.searchsorted(later, graph.images[first]),
        np.bincount(group, minlength=len(first)),
        *_summarize_similarities(graph, group, len(first)),
    )


def _summarize_similarities(graph: _Graph, group: AnyArray, groups: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return the mean, lowest and highest similarity of the edges of each component, (g,) each."""
    number, total = np.zeros(groups, np.int64), np.zeros(groups)
    low, high = np.full(groups, np.inf), np.full(groups, -np.inf)
    for one, _, similarity in graph.blocks():
        inside = group[one]
        np.add.at(number, inside, 1)
        np.add.at(total, inside, similarity)
        np.minimum.at(low, inside, similarity)
        np.maximum.at(high, inside, similarity)
    return total / number, low, high


def _count_degrees(graph: _Graph) -> AnyArray:
    degrees = np.zeros(len(graph), np.int32)
    for low, high, _ in graph.blocks():
        np.add.at(degrees, low, 1)
        np.add.at(degrees, high, 1)
    return degrees


def _search_by_networkx(graph: _Graph, *, pagerank: bool) -> tuple[AnyArray, AnyArray | None]:
    import networkx as nx

    nx_graph = nx.Graph()
    nx_graph.add_nodes_from(range(len(graph)))
    nx_graph.add_edges_from(zip(*(ends.tolist() for ends in graph.ends()), strict=True))
    labels = np.empty(len(graph), np.int64)
    for label, members in enumerate(nx.connected_components(nx_graph)):
        labels[list(members)] = label
    if not pagerank:
        return labels, None
    ranks = nx.pagerank(nx_graph, DAMPING, max_iter=MAX_ROUNDS, tol=TOLERANCE / max(1, len(graph)))
    return labels, len(graph) * np.fromiter(ranks.values(), float, len(graph))


def _search_by_scipy(graph: _Graph, *, pagerank: bool) -> tuple[AnyArray, AnyArray | None]:
    """Run union-find over blocks of edges, with the components of each block from scipy."""
    parent = np.arange(len(graph), dtype=get_index_type(len(graph)))
    for low, high, _ in graph.blocks():
        join_trees(parent, low, high)
    return find_roots(parent, parent), _compute_pagerank(graph) if pagerank else None


def _compute_pagerank(graph: _Graph) -> AnyArray:
    """Return (l,) PageRank with mean 1, by power iteration. Each image has an edge."""
    import scipy.sparse as sp

    low, high = graph.ends()
    upper = sp.csr_array((np.ones(len(low), np.int8), (low, high)), shape=(len(graph), len(graph)))
    del low, high
    both = upper + upper.T
    del upper  # the values, which take twice as much as the rest, are needed only now
    both = both.astype(float)
    share = 1 / np.asarray(both.sum(axis=1)).ravel()
    rank = np.ones(len(graph))
    for _ in range(MAX_ROUNDS):
        before = rank
        rank = DAMPING * (both @ (rank * share)) + (1 - DAMPING)
        if np.abs(rank - before).sum() < TOLERANCE * len(graph):
            break
    return rank


def _number_by_first_image(labels: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Renumber labels in the order of their first images; return (l,) labels and (g,) positions of the first images."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number: IntArray = np.empty(len(first), np.int64)
    number[order] = np.arange(len(first))
    return shrink(number)[inverse], first[order]
