"""Find the k nearest neighbors of each query, with their exact distances, and measure the recall."""

from collections.abc import Callable

import numpy as np

from fastdup_ray.common.arrays import AnyArray, BoolArray, DoubleArray, EmbeddingArray, FloatArray, IntArray
from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.common.records import Neighbors
from fastdup_ray.errors import DamagedError
from fastdup_ray.neighbors.checkpoint import SearchCheckpoint
from fastdup_ray.neighbors.metrics import COSINE, DECIMALS, compute_values, is_distance, to_score
from fastdup_ray.neighbors.protocol import NeighborIndex

BLOCK = 8_192
"""Queries that are searched at a time."""

SAMPLE = 1_000
"""Queries that are also searched exactly, to measure the recall of an approximate index."""

SPARE = 8
"""Candidates beyond k that are ranked by their exact distance: single precision can swap the last ones."""

UNIT_TOLERANCE = 1e-4
"""How far from 1 the length of an embedding may be without it being scaled; the model's are within 1e-6."""


def check_unit_length(embeddings: FloatArray) -> FloatArray:
    """Scale embeddings to unit length, unless all of them are.

    Whether an embedding is scaled depends on itself alone.

    Args:
        embeddings: (n, d) float32.

    Returns:
        The same array if all have unit length, else a scaled copy. An embedding of zeros stays as it is.

    Raises:
        DamagedError: If a number is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.concatenate(
            [np.linalg.norm(embeddings[start : start + BLOCK], axis=1) for start in range(0, len(embeddings), BLOCK)]
        )
    if not np.isfinite(lengths).all():
        raise DamagedError(
            f"Row {np.flatnonzero(~np.isfinite(lengths))[0]} of the features has numbers that are not finite."
        )
    has_unit_length: BoolArray = np.abs(lengths - 1) <= UNIT_TOLERANCE
    if has_unit_length.all():
        return embeddings
    scaled: FloatArray = embeddings / np.where(has_unit_length | (lengths == 0), 1, lengths).astype(np.float32)[:, None]
    return scaled


def find_neighbors_within(
    index: NeighborIndex, embeddings: FloatArray, k: int, checkpoint: SearchCheckpoint | None = None
) -> Neighbors:
    """Find the k nearest other images of each image.

    Args:
        index: An index of `embeddings`.
        embeddings: (n, d) float32 of unit length.
        k: Neighbors of each; at most n - 1 are found.
        checkpoint: Blocks that are stored there are loaded instead of searched; those that are searched are stored.

    Raises:
        DamagedError: If the index is not of these embeddings.
    """
    return _find_neighbors(index, embeddings, embeddings, min(k, len(embeddings) - 1), checkpoint, within=True)


def find_neighbors_of(index: NeighborIndex, embeddings: FloatArray, queries: FloatArray, k: int) -> Neighbors:
    """Find the k nearest images of each query. An embedding that is equal to the query is a neighbor like any other.

    Args:
        index: An index of `embeddings`.
        embeddings: (n, d) float32 of unit length.
        queries: (m, d) float32 of unit length.
        k: Neighbors of each query; at most n are found.

    Raises:
        DamagedError: If the index is not of these embeddings.
    """
    return _find_neighbors(index, embeddings, queries, min(k, len(embeddings)), None, within=False)


def _find_neighbors(
    index: NeighborIndex,
    embeddings: FloatArray,
    queries: FloatArray,
    k: int,
    checkpoint: SearchCheckpoint | None,
    *,
    within: bool,
) -> Neighbors:
    """Find neighbors; `within`: the queries are the embeddings themselves, and none is its own neighbor."""
    if (index.n, index.d) != embeddings.shape:
        raise DamagedError(
            f"The index has {index.n:,} embeddings of {index.d} numbers, but the features file has "
            f"{len(embeddings):,} of {embeddings.shape[1]}."
        )
    m, metric = len(queries), index.metric
    indices = np.empty((m, k), np.int64)
    distance = np.empty((m, k), np.float64)
    step = checkpoint.block if checkpoint else max(1, m)
    count = min(max(index.candidates(k + within), k + within + SPARE), len(embeddings))
    found = index.search_within(count - 1) if within and k and checkpoint is None else None

    def find(own: IntArray) -> IntArray:
        if found is not None:
            return found[own]
        candidates = index.search(queries[own], count)[1]
        return _mask_self(candidates, own) if within else candidates

    for start in range(0, m if k else 0, step):
        block = slice(start, min(start + step, m))
        stored = checkpoint.load_block(start) if checkpoint else None
        distance[block], indices[block] = stored or _search_block(find, embeddings, queries, metric, k, block)
        if checkpoint and stored is None:
            checkpoint.save_block(start, distance[block], indices[block])
    similarity = compute_values(queries, embeddings, indices, COSINE) if is_distance(metric) else distance
    measured = not index.exact and k and m
    recall = _measure_recall(embeddings, queries, distance, metric, within=within) if measured else 1.0
    summary: SearchSummary = {"index": index.name, "why": index.why, "metric": metric, "k": k, "recall": recall}
    if index.unused:
        summary["unused_parameters"] = list(index.unused)
    return Neighbors(similarity, indices, summary, distance, metric)


def _search_block(
    find: Callable[[IntArray], IntArray],
    embeddings: FloatArray,
    queries: FloatArray,
    metric: str,
    k: int,
    block: slice,
) -> tuple[DoubleArray, IntArray]:
    """Return the distances and indices, both (m, k), of the k nearest of a block of queries.

    `find` returns candidates for some queries.
    """
    distances, indices = [], []
    for start in range(block.start, block.stop, BLOCK):
        own = np.arange(start, min(start + BLOCK, block.stop))
        closest = select_closest(queries[own], embeddings, find(own), metric, k)
        distances.append(closest[0])
        indices.append(closest[1])
    return np.concatenate(distances), np.concatenate(indices)


def _mask_self(candidates: IntArray, own: IntArray) -> IntArray:
    """Put -1 in place of each query's own index."""
    masked: IntArray = np.where(candidates == own[:, None], -1, candidates)
    return masked


def select_closest(
    queries: FloatArray, embeddings: EmbeddingArray, candidates: AnyArray, metric: str, k: int
) -> tuple[DoubleArray, AnyArray]:
    """Select the k closest of the candidates by their exact distances; ties by index.

    Args:
        queries: (m, d) float32.
        embeddings: (n, d) float32.
        candidates: (m, c) integers, indices of embeddings; -1 for none.
        metric: Name of the metric.
        k: Number to select.

    Returns:
        Distances, float64, and indices, of the dtype of the candidates, both (m, k), the closest first.
    """
    values = compute_values(queries, embeddings, candidates, metric)
    order = np.lexsort((candidates, -to_score(values, metric)), axis=-1)[:, :k]
    return np.take_along_axis(values, order, 1), np.take_along_axis(candidates, order, 1)


def _measure_recall(
    embeddings: FloatArray, queries: FloatArray, distance: DoubleArray, metric: str, *, within: bool
) -> float:
    """Measure, on a sample, which part of the true k nearest was found; among equally close ones any counts."""
    import faiss

    from fastdup_ray.neighbors.faiss_factory import FAISS_METRIC

    m, k = distance.shape
    sample = np.sort(np.random.default_rng(0).choice(m, min(m, SAMPLE), replace=False))
    sampled = np.ascontiguousarray(queries[sample])
    _, candidates = faiss.knn(
        sampled, embeddings, min(k + within + SPARE, len(embeddings)), metric=FAISS_METRIC[metric]
    )
    candidates = _mask_self(candidates, sample) if within else candidates
    exact, _ = select_closest(sampled, embeddings, candidates, metric, k)
    farthest = to_score(exact, metric).min(axis=1)
    hits = to_score(distance[sample], metric) >= farthest[:, None] - 10.0**-DECIMALS
    return round(float(hits.mean()), 6)
