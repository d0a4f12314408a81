"""What two rows are to each other: their cosine, or a distance between them. All rows are of length 1."""

import numpy as np

COSINE = "cosine"
"""The one metric of which more is closer."""

MANHATTAN = "manhattan"
"""The one metric that ranks rows of length 1 in another order than the cosine does."""

DECIMALS = 6

NUMBERS_PER_BLOCK = 1 << 23


def is_distance(metric: str) -> bool:
    """Whether less is closer."""
    return metric != COSINE


def to_score(values: np.ndarray, metric: str) -> np.ndarray:
    """`values` so that more is closer; minus infinity for NaN."""
    return np.nan_to_num(-values if is_distance(metric) else values, nan=-np.inf)


def from_cosine(cosine: float, metric: str) -> float:
    """What two rows with that cosine are to each other by a metric that ranks as the cosine does."""
    squared = 2 - 2 * cosine
    return {COSINE: cosine, "euclidean": squared**0.5, "squared_euclidean": squared}[metric]


def compute_values(queries: np.ndarray, rows: np.ndarray, others: np.ndarray, metric: str) -> np.ndarray:
    """What queries[i] and rows[others[i, j]] are to each other, (m, k) float64 with 6 decimals; NaN where others is -1.

    Computed anew from the rows, (m, d) and (n, d) float32: what an index returns depends on its blocking, this does
    not.
    """
    values = np.empty(others.shape, np.float64)
    step = max(1, NUMBERS_PER_BLOCK // max(1, others.shape[1] * rows.shape[1]))
    for start in range(0, len(others), step):
        part = slice(start, start + step)
        values[part] = _METRICS[metric](queries[part], rows[others[part]])
    return np.where(others < 0, np.nan, np.round(values, DECIMALS) + 0.0)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.clip(np.einsum("md,mkd->mk", a, b, dtype=np.float64), -1, 1)


def _squared_euclidean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    difference = _difference(a, b)
    return np.einsum("mkd,mkd->mk", difference, difference)


def _euclidean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(_squared_euclidean(a, b))


def _manhattan(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(_difference(a, b)).sum(axis=2)


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(m, d) and (m, k, d) float32 -> (m, k, d) float64."""
    return np.subtract(a[:, None], b, dtype=np.float64)


_METRICS = {
    COSINE: _cosine,
    "euclidean": _euclidean,
    "squared_euclidean": _squared_euclidean,
    MANHATTAN: _manhattan,
}
