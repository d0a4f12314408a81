"""The graph of similar images: connected components, pagerank, degree."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.records import Pairs

if TYPE_CHECKING:
    import scipy.sparse as sp

NETWORKX_UP_TO = 100_000
"""Edges up to which networkx is used; a thousand take it 7 ms and 0.6 MB; past them scipy goes on."""

DAMPING = 0.85
TOLERANCE = 1e-12
ROUNDS = 1_000


@dataclass(frozen=True)
class Edges:
    """Undirected, each once: low < high, (m,) int64 images; similarity: (m,) float64."""

    low: np.ndarray
    high: np.ndarray
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.low)


@dataclass(frozen=True)
class Components:
    """Per image, (n,): component (0, 1, 2 … by first image), pagerank (mean 1), degree.

    Per component, (c,): count of images; mean, low and high similarity of its edges, NaN where it has none.
    """

    component: np.ndarray
    pagerank: np.ndarray | None
    degree: np.ndarray | None
    count: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def digest_codes(sha256: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(n,) int64: equal numbers for byte-identical files; a number of its own where the digest is not known."""
    codes = pc.dictionary_encode(pa.chunked_array(sha256).combine_chunks()).indices
    own = np.arange(len(codes)) + len(codes)
    return np.where(pc.is_null(codes).to_numpy(zero_copy_only=False), own, codes.fill_null(0).to_numpy())


def edges_of(pairs: Pairs, digests: np.ndarray) -> Edges:
    """Edges of similar pairs, and of byte-identical files whether they found each other as neighbours or not.

    digests: (n,) integers, equal for images with the same bytes. Each file is joined to the first of its like.
    """
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[group] != np.arange(len(digests)))
    ends = np.stack(
        [np.concatenate([pairs.source, first[group[copies]]]), np.concatenate([pairs.target, copies])]
    ).astype(np.int64)
    similarity = np.concatenate([pairs.value, np.ones(len(copies))])
    low, high = ends.min(axis=0), ends.max(axis=0)
    order = np.lexsort((-similarity, high, low))
    low, high, similarity = low[order], high[order], similarity[order]
    keep = np.ones(len(low), bool)
    keep[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    return Edges(low[keep], high[keep], similarity[keep])


def components_of(edges: Edges, n: int, *, pagerank: bool, degree: bool) -> Components:
    """The components of n images."""
    solve = _by_networkx if len(edges) <= NETWORKX_UP_TO else _by_scipy
    labels, ranks = solve(edges, n, pagerank)
    component = _by_first_image(labels)
    count = np.bincount(component)
    of_edge = component[edges.low]
    number = np.bincount(of_edge, minlength=len(count))
    low = np.full(len(count), np.inf)
    high = np.full(len(count), -np.inf)
    np.minimum.at(low, of_edge, edges.similarity)
    np.maximum.at(high, of_edge, edges.similarity)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(of_edge, edges.similarity, len(count)) / number
    none = number == 0
    low[none] = high[none] = np.nan
    degrees = np.bincount(np.concatenate([edges.low, edges.high]), minlength=n) if degree else None
    return Components(component, ranks, degrees, count, mean, low, high)


def _by_networkx(edges: Edges, n: int, pagerank: bool) -> tuple[np.ndarray, np.ndarray | None]:
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(zip(edges.low.tolist(), edges.high.tolist(), strict=True))
    labels = np.empty(n, np.int64)
    for label, members in enumerate(nx.connected_components(graph)):
        labels[list(members)] = label
    if not pagerank:
        return labels, None
    ranks = nx.pagerank(graph, DAMPING, max_iter=ROUNDS, tol=TOLERANCE / n)
    return labels, n * np.fromiter(ranks.values(), float, n)


def _by_scipy(edges: Edges, n: int, pagerank: bool) -> tuple[np.ndarray, np.ndarray | None]:
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(edges))
    upper = sp.csr_array((ones, (edges.low, edges.high)), shape=(n, n))
    graph = upper + upper.T
    labels = connected_components(graph, directed=False)[1]
    return labels, _pagerank(graph) if pagerank else None


def _pagerank(graph: "sp.csr_array") -> np.ndarray:
    """Power iteration, scaled to mean 1; images without an edge give their rank to all alike, as in networkx."""
    n = graph.shape[0]
    degree = np.asarray(graph.sum(axis=1)).ravel()
    alone = degree == 0
    share = np.divide(1.0, degree, out=np.zeros(n), where=~alone)
    rank = np.ones(n)
    for _ in range(ROUNDS):
        before = rank
        rank = DAMPING * (graph @ (rank * share) + rank[alone].sum() / n) + (1 - DAMPING)
        if np.abs(rank - before).sum() < TOLERANCE * n:
            break
    return rank


def _by_first_image(labels: np.ndarray) -> np.ndarray:
    """The same partition, numbered by the first image of each part."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[inverse]
