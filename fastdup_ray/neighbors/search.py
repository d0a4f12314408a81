"""The k nearest rows of each query, their exact cosines, and how many of the true ones were found."""

import numpy as np

from fastdup_ray.errors import DamagedError
from fastdup_ray.neighbors import NeighborIndex
from fastdup_ray.records import Neighbors

BLOCK = 8_192
"""Queries at a time."""

SAMPLE = 1_000
"""Rows searched exactly to measure the recall of an approximate index."""

DECIMALS = 6


UNIT = 1e-4
"""How far from 1 the length of a row may be that is taken as it is; the model's rows are within 1e-6."""


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """`rows`, (n, d) float32, if all have length 1; else a copy in which they have. A row of zeros stays one.

    Raises `DamagedError` for numbers that are not finite.
    """
    lengths = np.concatenate(
        [np.linalg.norm(rows[start : start + BLOCK], axis=1) for start in range(0, len(rows), BLOCK)]
    )
    if not np.isfinite(lengths).all():
        raise DamagedError(f"Row {np.flatnonzero(~np.isfinite(lengths))[0]} of the features is not of finite numbers.")
    if (np.abs(lengths - 1) <= UNIT).all():
        return rows
    return rows / np.where(lengths == 0, 1, lengths).astype(np.float32)[:, None]


def neighbors_within(index: NeighborIndex, rows: np.ndarray, k: int) -> Neighbors:
    """The k nearest others of each of `rows`, (n, d) float32 of length 1, which `index` holds."""
    return _neighbors(index, rows, rows, min(k, len(rows) - 1), within=True)


def neighbors_of(index: NeighborIndex, rows: np.ndarray, queries: np.ndarray, k: int) -> Neighbors:
    """The k nearest of `rows`, (n, d) float32 of length 1, which `index` holds, for each of `queries`, (m, d).

    A row that is equal to a query is its neighbour like any other. Raises `DamagedError` where `index` is of others.
    """
    return _neighbors(index, rows, queries, min(k, len(rows)), within=False)


def _neighbors(index: NeighborIndex, rows: np.ndarray, queries: np.ndarray, k: int, *, within: bool) -> Neighbors:
    """within: the queries are the rows themselves, and none is its own neighbour."""
    if (index.n, index.d) != rows.shape:
        raise DamagedError(
            f"The index is of {index.n:,} rows of {index.d}, the features are {len(rows):,} rows of {rows.shape[1]}."
        )
    m = len(queries)
    indices = np.empty((m, k), np.int64)
    similarity = np.empty((m, k), np.float64)
    for start in range(0, m if k else 0, BLOCK):
        own = np.arange(start, min(start + BLOCK, m))
        found = index.search(queries[own], k + within)[1]
        found = _without_own(found, own) if within else found
        similarity[own], indices[own] = _closest_first(cosines(queries[own], rows, found), found)
    recall = 1.0 if index.exact or not k or not m else _recall(rows, queries, similarity, within=within)
    return Neighbors(similarity, indices, {"index": index.name, "k": k, "recall": recall})


def cosines(queries: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine of queries[i] and rows[others[i, j]], (m, k) float64 with 6 decimals; NaN where others is -1.

    Computed anew from the rows: what an index returns depends on its blocking, this does not.
    """
    dots = np.einsum("md,mkd->mk", queries, rows[others], dtype=np.float64)
    return np.where(others < 0, np.nan, np.round(np.clip(dots, -1, 1), DECIMALS) + 0.0)


def _without_own(found: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(m, k + 1) -> (m, k): itself taken out, or the last one where more than k others are as close as itself."""
    drop = found == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    return found[~drop].reshape(len(found), -1)


def _closest_first(similarity: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((indices, -similarity), axis=-1)
    return np.take_along_axis(similarity, order, 1), np.take_along_axis(indices, order, 1)


def _recall(rows: np.ndarray, queries: np.ndarray, similarity: np.ndarray, *, within: bool) -> float:
    """The part of the true k nearest that was found, on a sample; of equally close ones any counts."""
    import faiss

    m, k = similarity.shape
    sample = np.sort(np.random.default_rng(0).choice(m, min(m, SAMPLE), replace=False))
    asked = np.ascontiguousarray(queries[sample])
    _, true = faiss.knn(asked, rows, k + within, metric=faiss.METRIC_INNER_PRODUCT)
    true = _without_own(true, sample) if within else true
    farthest = np.nanmin(cosines(asked, rows, true), axis=1)
    found = np.nan_to_num(similarity[sample], nan=-2.0) >= farthest[:, None] - 10.0**-DECIMALS
    return round(float(found.mean()), 6)
