"""Each row's k nearest others, their exact cosines, and how many of the true ones were found."""

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
    n = len(rows)
    k = min(k, n - 1)
    indices = np.empty((n, k), np.int64)
    similarity = np.empty((n, k), np.float64)
    for start in range(0, n if k else 0, BLOCK):
        own = np.arange(start, min(start + BLOCK, n))
        found = _without_own(index.search(rows[own], k + 1)[1], own)
        similarity[own], indices[own] = _closest_first(cosines(rows, own, found), found)
    recall = 1.0 if index.exact or not k else _recall(index, rows, similarity)
    return Neighbors(similarity, indices, {"index": index.name, "k": k, "recall": recall})


def cosines(rows: np.ndarray, own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine of rows[own[i]] and rows[others[i, j]], (m, k) float64 with 6 decimals; NaN where others is -1.

    Computed anew from the rows: what an index returns depends on its blocking, this does not.
    """
    dots = np.einsum("md,mkd->mk", rows[own], rows[others], dtype=np.float64)
    return np.where(others < 0, np.nan, np.round(np.clip(dots, -1, 1), DECIMALS) + 0.0)


def _without_own(found: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(m, k + 1) -> (m, k): itself taken out, or the last one where more than k others are as close as itself."""
    drop = found == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    return found[~drop].reshape(len(found), -1)


def _closest_first(similarity: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((indices, -similarity), axis=-1)
    return np.take_along_axis(similarity, order, 1), np.take_along_axis(indices, order, 1)


def _recall(index: NeighborIndex, rows: np.ndarray, similarity: np.ndarray) -> float:
    """The part of the true k nearest that was found, on a sample; of equally close ones any counts."""
    import faiss

    n, k = similarity.shape
    sample = np.sort(np.random.default_rng(0).choice(n, min(n, SAMPLE), replace=False))
    _, true = faiss.knn(np.ascontiguousarray(rows[sample]), rows, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    farthest = np.nanmin(cosines(rows, sample, _without_own(true, sample)), axis=1)
    found = np.nan_to_num(similarity[sample], nan=-2.0) >= farthest[:, None] - 10.0**-DECIMALS
    return round(float(found.mean()), 6)
