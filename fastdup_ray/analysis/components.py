"""The graph of similar images: connected components, pagerank, degree.

Most images have no edge: five bytes are held of each of those, a few numbers of the others. Edges are looked at block
by block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastdup_ray.analysis.edges import Edges
from fastdup_ray.common.arrays import IntArray

NETWORKX_UP_TO = 100_000
"""Edges up to which networkx is used; a thousand take it 7 ms and 0.6 MB; past them scipy goes on."""

DAMPING = 0.85
TOLERANCE = 1e-12
MAX_ROUNDS = 1_000


class ComponentBlock(NamedTuple):
    """Some images, (b,) each.

    component; pagerank (mean 1 over all) and degree, None where they were not asked for; count of images in the
    component; the least similarity of its edges, NaN where it has none.
    """

    component: np.ndarray
    pagerank: np.ndarray | None
    degree: np.ndarray | None
    count: np.ndarray  # type: ignore[assignment]  # hides tuple.count, which nothing calls
    low: np.ndarray


@dataclass(frozen=True)
class Components:
    """n images, of which l have an edge; these are in g components of two or more.

    images, group: (l,) int64, those with an edge, rising, and of each the place of its component among the g. pagerank,
    degree: (l,), None where they were not asked for. pagerank_alone: of each image without an edge. later: (l - g,) the
    images that are not the first of their component, rising.

    number, count, mean, low, high: (g,) by first image: the component's number, its images, and the similarities of its
    edges. Components have the numbers 0, 1, 2 … by their first images, those of one image among them.
    """

    n: int
    images: np.ndarray
    group: np.ndarray
    pagerank: np.ndarray | None
    degree: np.ndarray | None
    pagerank_alone: float
    later: np.ndarray
    number: np.ndarray
    count: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        """All components, those of one image among them."""
        return self.n - len(self.images) + len(self.count)

    def block(self, start: int, stop: int) -> ComponentBlock:
        """What is known of the images from `start` to `stop - 1`."""
        part = slice(*np.searchsorted(self.images, [start, stop]))
        linked, group = self.images[part] - start, self.group[part]

        def spread(values: np.ndarray, otherwise: float) -> np.ndarray:
            column = np.full(stop - start, otherwise, values.dtype)
            column[linked] = values
            return column

        return ComponentBlock(
            self.component_of(np.arange(start, stop)),
            None if self.pagerank is None else spread(self.pagerank[part], self.pagerank_alone),
            None if self.degree is None else spread(self.degree[part], 0),
            spread(self.count[group], 1),
            spread(self.low[group], np.nan),
        )

    def component_of(self, rows: np.ndarray) -> np.ndarray:
        """(m,) the components of some images."""
        component = rows - np.searchsorted(self.later, rows)  # right for first images, and so for those alone
        place = np.searchsorted(self.images, rows)
        linked = place < np.searchsorted(self.images, rows, "right")
        component[linked] = self.number[self.group[place[linked]]]
        return component


class _Graph:
    """The l images with edges, and the edges between their places. images: (l,) int64 rows, rising."""

    def __init__(self, edges: Edges, n: int) -> None:
        has_edge = np.zeros(n, bool)
        for low, high, _ in edges.blocks():
            has_edge[low] = has_edge[high] = True
        self.images, self._edges = np.flatnonzero(has_edge), edges
        self._place = np.cumsum(has_edge, dtype=np.int32 if n < 1 << 31 else np.int64) - 1

    def __len__(self) -> int:
        return len(self.images)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for low, high, similarity in self._edges.blocks():
            yield self._place[low], self._place[high], similarity

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Of all edges at once."""
        low, high = np.empty((2, len(self._edges)), self._place.dtype)
        start = 0
        for one, other, _ in self.blocks():
            low[start : start + len(one)], high[start : start + len(one)] = one, other
            start += len(one)
        return low, high


def find_components(edges: Edges, n: int, *, pagerank: bool, degree: bool) -> Components:
    """The components of n images."""
    graph = _Graph(edges, n)
    solve = _search_by_networkx if len(edges) <= NETWORKX_UP_TO else _search_by_scipy
    labels, ranks = solve(graph, pagerank=pagerank)
    group, first = _number_by_first_image(labels)
    later = np.delete(graph.images, first)
    # What images without an edge give to all alike, as in networkx, makes the ranks of the others larger.
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


def _summarize_similarities(graph: _Graph, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean, the least and the largest of each component's edges."""
    number, total = np.zeros(groups, np.int64), np.zeros(groups)
    low, high = np.full(groups, np.inf), np.full(groups, -np.inf)
    for one, _, similarity in graph.blocks():
        inside = group[one]
        np.add.at(number, inside, 1)
        np.add.at(total, inside, similarity)
        np.minimum.at(low, inside, similarity)
        np.maximum.at(high, inside, similarity)
    return total / number, low, high


def _count_degrees(graph: _Graph) -> np.ndarray:
    degrees = np.zeros(len(graph), np.int64)
    for low, high, _ in graph.blocks():
        np.add.at(degrees, low, 1)
        np.add.at(degrees, high, 1)
    return degrees


def _search_by_networkx(graph: _Graph, *, pagerank: bool) -> tuple[np.ndarray, np.ndarray | None]:
    import networkx as nx

    known = nx.Graph()
    known.add_nodes_from(range(len(graph)))
    known.add_edges_from(zip(*(ends.tolist() for ends in graph.ends()), strict=True))
    labels = np.empty(len(graph), np.int64)
    for label, members in enumerate(nx.connected_components(known)):
        labels[list(members)] = label
    if not pagerank:
        return labels, None
    ranks = nx.pagerank(known, DAMPING, max_iter=MAX_ROUNDS, tol=TOLERANCE / max(1, len(graph)))
    return labels, len(graph) * np.fromiter(ranks.values(), float, len(graph))


def _search_by_scipy(graph: _Graph, *, pagerank: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Union-find over blocks of edges; within a block scipy finds what hangs together."""
    parent = np.arange(len(graph))
    for low, high, _ in graph.blocks():
        _join_trees(parent, low, high)
    return _find_roots(parent, parent), _compute_pagerank(graph) if pagerank else None


def _join_trees(parent: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Puts the trees between which the edges lie under the least of their roots."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([low, high])
    roots, place = np.unique(_find_roots(parent, ends), return_inverse=True)
    between = sp.coo_array((np.ones(len(low), np.int8), np.split(place, 2)), shape=(len(roots), len(roots)))
    _, label = connected_components(between, directed=False)
    least = roots[np.unique(label, return_index=True)[1]]
    parent[roots] = least[label]
    parent[ends] = parent[roots[place]]


def _find_roots(parent: np.ndarray, images: np.ndarray) -> np.ndarray:
    while True:
        above: IntArray = parent[images]
        if np.array_equal(above, images):
            return above
        images = above


def _compute_pagerank(graph: _Graph) -> np.ndarray:
    """Power iteration, scaled to mean 1; each image has an edge."""
    import scipy.sparse as sp

    low, high = graph.ends()
    upper = sp.csr_array((np.ones(len(low)), (low, high)), shape=(len(graph), len(graph)))
    both = upper + upper.T
    share = 1 / np.asarray(both.sum(axis=1)).ravel()
    rank = np.ones(len(graph))
    for _ in range(MAX_ROUNDS):
        before = rank
        rank = DAMPING * (both @ (rank * share)) + (1 - DAMPING)
        if np.abs(rank - before).sum() < TOLERANCE * len(graph):
            break
    return rank


def _number_by_first_image(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same partition, numbered by the first image of each part; and these first images."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number: IntArray = np.empty(len(first), np.int64)
    number[order] = np.arange(len(first))
    return number[inverse], first[order]
