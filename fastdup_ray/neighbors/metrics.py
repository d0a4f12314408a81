"""Metrics: how close two embeddings of unit length are.

Three words, used in one meaning each:

- *similarity*: the cosine of two embeddings, 1 for equal ones, whatever the metric is.
- *distance*: the value of the metric of a run, as `similarity.csv` has it. For `cosine` it is the similarity, where
  more is closer; for the other metrics it is a true distance, where less is closer and 0 is equal.
- *score*: a value changed in sign where needed, so that more is always closer. Scores are for ranking and are never
  written.

To add a metric, write a function over (m, d) and (m, k, d) arrays and add it to `_METRICS`, to
`faiss_factory.FAISS_METRIC`, and to the choices of `distance` in `config.py`.
"""

import numpy as np

from fastdup_ray.common.arrays import AnyArray, DoubleArray, EmbeddingArray, FloatArray, IntArray, split_array

COSINE = "cosine"
"""The one metric where more is closer."""

MANHATTAN = "manhattan"
"""The one metric that ranks embeddings of unit length in another order than the cosine does."""

DECIMALS = 6
"""Decimals of every similarity and distance that is written."""

NUMBERS_PER_BLOCK = 1 << 23
"""Numbers of gathered embeddings that are compared at a time."""


def is_distance(metric: str) -> bool:
    """Return whether less is closer."""
    return metric != COSINE


def to_score(values: AnyArray, metric: str) -> AnyArray:
    """Return values of a metric as scores, of the same shape; minus infinity for NaN."""
    scores: AnyArray = np.nan_to_num(-values if is_distance(metric) else values, nan=-np.inf)
    return scores


def from_cosine(cosine: float, metric: str) -> float:
    """Return the value of a metric for two embeddings with the given cosine; not for `manhattan`."""
    squared = 2 - 2 * cosine
    values: dict[str, float] = {COSINE: cosine, "euclidean": squared**0.5, "squared_euclidean": squared}
    return values[metric]


def to_cosine(values: DoubleArray, metric: str) -> DoubleArray:
    """Return the cosines of embeddings of unit length whose values of a metric are given; not for `manhattan`."""
    cosines = {COSINE: values, "euclidean": 1 - values**2 / 2, "squared_euclidean": 1 - values / 2}
    return cosines[metric]


def compute_values(queries: FloatArray, embeddings: EmbeddingArray, others: AnyArray, metric: str) -> DoubleArray:
    """Compute the exact values of a metric between queries and chosen embeddings.

    The values that an index returns depend on how it blocks its work; these do not.

    Args:
        queries: (m, d) float32.
        embeddings: (n, d) float32.
        others: (m, k) integers, for each query the indices of the embeddings to compare it with; -1 for none.
        metric: Name of the metric.

    Returns:
        (m, k) float64 with 6 decimals; NaN where `others` is -1.
    """
    values = np.empty(others.shape, np.float64)
    step = max(1, NUMBERS_PER_BLOCK // max(1, others.shape[1] * embeddings.shape[1]))
    for start in range(0, len(others), step):
        block = slice(start, start + step)
        values[block] = _METRICS[metric](queries[block], embeddings[others[block]])
    rounded: DoubleArray = np.where(others < 0, np.nan, np.round(values, DECIMALS) + 0.0)  # + 0.0: no negative zero
    return rounded


def compute_pair_values(embeddings: EmbeddingArray, first: IntArray, second: IntArray, metric: str) -> DoubleArray:
    """Compute the exact values of a metric for m pairs of embeddings, which are read block by block.

    Args:
        embeddings: (n, d) float32.
        first: (m,) int64 indices.
        second: (m,) int64 indices.
        metric: Name of the metric.

    Returns:
        (m,) float64 with 6 decimals.
    """
    step = max(1, NUMBERS_PER_BLOCK // embeddings.shape[1])
    parts = zip(split_array(first, step), split_array(second, step), strict=True)
    values = [compute_values(embeddings[one], embeddings, other[:, None], metric)[:, 0] for one, other in parts]
    return np.concatenate([np.empty(0), *values])


def _cosine(a: FloatArray, b: FloatArray) -> DoubleArray:
    cosines: DoubleArray = np.clip(np.einsum("md,mkd->mk", a, b, dtype=np.float64), -1, 1)
    return cosines


def _squared_euclidean(a: FloatArray, b: FloatArray) -> DoubleArray:
    difference = _subtract(a, b)
    squares: DoubleArray = np.einsum("mkd,mkd->mk", difference, difference)
    return squares


def _euclidean(a: FloatArray, b: FloatArray) -> DoubleArray:
    roots: DoubleArray = np.sqrt(_squared_euclidean(a, b))
    return roots


def _manhattan(a: FloatArray, b: FloatArray) -> DoubleArray:
    sums: DoubleArray = np.abs(_subtract(a, b)).sum(axis=2)
    return sums


def _subtract(a: FloatArray, b: FloatArray) -> DoubleArray:
    """Return the differences of (m, d) and (m, k, d) float32 as (m, k, d) float64."""
    difference: DoubleArray = np.subtract(a[:, None], b, dtype=np.float64)
    return difference


_METRICS = {
    COSINE: _cosine,
    "euclidean": _euclidean,
    "squared_euclidean": _squared_euclidean,
    MANHATTAN: _manhattan,
}
