"""The k nearest rows of each query, their exact cosines, and how many of the true ones were found."""

import numpy as np

from fastdup_ray.common.records import Neighbors
from fastdup_ray.errors import DamagedError
from fastdup_ray.neighbors.checkpoint import SearchCheckpoint
from fastdup_ray.neighbors.metrics import COSINE, DECIMALS, compute_values, is_distance, to_score
from fastdup_ray.neighbors.protocol import NeighborIndex

BLOCK = 8_192
"""Queries at a time."""

SAMPLE = 1_000
"""Queries searched exactly to measure the recall of an approximate index."""

SPARE = 8
"""Rows more than asked for that are ranked anew: single precision can mistake the order of the last ones."""

UNIT_TOLERANCE = 1e-4
"""How far from 1 the length of a row may be that is taken as it is; the model's rows are within 1e-6."""


def check_unit_length(rows: np.ndarray) -> np.ndarray:
    """`rows`, (n, d) float32, if all have length 1; else a copy in which they have. A row of zeros stays one.

    Whether a row is scaled depends on itself alone. Raises `DamagedError` for numbers that are not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.concatenate(
            [np.linalg.norm(rows[start : start + BLOCK], axis=1) for start in range(0, len(rows), BLOCK)]
        )
    if not np.isfinite(lengths).all():
        raise DamagedError(f"Row {np.flatnonzero(~np.isfinite(lengths))[0]} of the features is not of finite numbers.")
    as_it_is = np.abs(lengths - 1) <= UNIT_TOLERANCE
    if as_it_is.all():
        return rows
    return rows / np.where(as_it_is | (lengths == 0), 1, lengths).astype(np.float32)[:, None]


def find_neighbors_within(
    index: NeighborIndex, rows: np.ndarray, k: int, kept: SearchCheckpoint | None = None
) -> Neighbors:
    """The k nearest others of each of `rows`, (n, d) float32 of length 1, which `index` holds.

    kept: what an interrupted search has found is taken from there, and what is found is put there.
    """
    return _find_neighbors(index, rows, rows, min(k, len(rows) - 1), kept, within=True)


def find_neighbors_of(index: NeighborIndex, rows: np.ndarray, queries: np.ndarray, k: int) -> Neighbors:
    """The k nearest of `rows`, (n, d) float32 of length 1, which `index` holds, for each of `queries`, (m, d).

    A row that is equal to a query is its neighbour like any other. Raises `DamagedError` where `index` is of others.
    """
    return _find_neighbors(index, rows, queries, min(k, len(rows)), None, within=False)


def _find_neighbors(
    index: NeighborIndex, rows: np.ndarray, queries: np.ndarray, k: int, kept: SearchCheckpoint | None, *, within: bool
) -> Neighbors:
    """within: the queries are the rows themselves, and none is its own neighbour."""
    if (index.n, index.d) != rows.shape:
        raise DamagedError(
            f"The index is of {index.n:,} rows of {index.d}, the features are {len(rows):,} rows of {rows.shape[1]}."
        )
    m, metric = len(queries), index.metric
    indices = np.empty((m, k), np.int64)
    distance = np.empty((m, k), np.float64)
    step = kept.block if kept else max(1, m)
    for start in range(0, m if k else 0, step):
        part = slice(start, min(start + step, m))
        known = kept.load_block(start) if kept else None
        distance[part], indices[part] = known or _search_block(index, rows, queries, k, part, within=within)
        if kept and known is None:
            kept.save_block(start, distance[part], indices[part])
    similarity = compute_values(queries, rows, indices, COSINE) if is_distance(metric) else distance
    recall = 1.0 if index.exact or not k or not m else _measure_recall(rows, queries, distance, metric, within=within)
    summary = {"index": index.name, "why": index.why, "metric": metric, "k": k, "recall": recall}
    if index.unused:
        summary["unused_parameters"] = list(index.unused)
    return Neighbors(similarity, indices, summary, distance, metric)


def _search_block(
    index: NeighborIndex, rows: np.ndarray, queries: np.ndarray, k: int, part: slice, *, within: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Values and indices, both (m, k), of the k nearest of a part of the queries."""
    candidates = min(max(index.candidates(k + within), k + within + SPARE), len(rows))
    blocks = []
    for start in range(part.start, part.stop, BLOCK):
        own = np.arange(start, min(start + BLOCK, part.stop))
        found = index.search(queries[own], candidates)[1]
        found = _mask_self(found, own) if within else found
        blocks.append(select_closest(queries[own], rows, found, index.metric, k))
    values, indices = zip(*blocks, strict=True)
    return np.concatenate(values), np.concatenate(indices)


def _mask_self(found: np.ndarray, own: np.ndarray) -> np.ndarray:
    """-1 in place of itself."""
    return np.where(found == own[:, None], -1, found)


def select_closest(
    queries: np.ndarray, rows: np.ndarray, found: np.ndarray, metric: str, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k closest of those that were found, their exact values and their indices, both (m, k); ties by index."""
    values = compute_values(queries, rows, found, metric)
    order = np.lexsort((found, -to_score(values, metric)), axis=-1)[:, :k]
    return np.take_along_axis(values, order, 1), np.take_along_axis(found, order, 1)


def _measure_recall(rows: np.ndarray, queries: np.ndarray, distance: np.ndarray, metric: str, *, within: bool) -> float:
    """The part of the true k nearest that was found, on a sample; of equally close ones any counts."""
    import faiss

    from fastdup_ray.neighbors.faiss_factory import FAISS_METRIC

    m, k = distance.shape
    sample = np.sort(np.random.default_rng(0).choice(m, min(m, SAMPLE), replace=False))
    asked = np.ascontiguousarray(queries[sample])
    _, true = faiss.knn(asked, rows, min(k + within + SPARE, len(rows)), metric=FAISS_METRIC[metric])
    true = _mask_self(true, sample) if within else true
    exact, _ = select_closest(asked, rows, true, metric, k)
    farthest = to_score(exact, metric).min(axis=1)
    found = to_score(distance[sample], metric) >= farthest[:, None] - 10.0**-DECIMALS
    return round(float(found.mean()), 6)
