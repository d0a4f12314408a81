"""Exact comparison of some queries with all embeddings, by which the recall of a search is measured.

A search has found neighbors, and only what is closer than the last of them has to be known. Products in 8 bits, which
take a quarter of the time of others, tell which embeddings may be; only these are compared exactly. What a product has
lost to rounding is bounded, so that none is missed.
"""

import numpy as np

from fastdup_ray.common.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from fastdup_ray.neighbors.int8_products import Quantizer, multiply
from fastdup_ray.neighbors.metrics import compute_values, to_cosine, to_score
from fastdup_ray.neighbors.search import SPARE, UNIT_TOLERANCE
from fastdup_ray.system.threads import map_threads

PART = 250
"""Queries that a thread compares at a time."""

BLOCK = 2_048
"""Embeddings that they are compared with at a time."""

MANY = 64
"""Candidates among these from which on it takes less time to multiply all of them as floats."""

_RANGE = np.iinfo(np.int32).min, np.iinfo(np.int32).max


def find_closer(
    queries: FloatArray, embeddings: FloatArray, excluded: IntArray, distance: DoubleArray, metric: str, threads: int
) -> DoubleArray:
    """Find the distances of the nearest embeddings of each query that a search has not found, as far as they matter.

    Args:
        queries: (m, d) float32 of unit length.
        embeddings: (n, d) float32 of unit length.
        excluded: (m, any number) int64, for each query the embeddings that the search has found, and itself. Numbers of
            no embedding are ignored.
        distance: (m, k) float64, the distances of those that it has found; NaN for none.
        metric: Name of the metric, one that ranks embeddings of unit length as the cosine does.
        threads: Threads to use; the result does not depend on it.

    Returns:
        (m, k) float64, the closest first; NaN for none. `merge_nearest` of these and `distance` are the true nearest.
    """
    quantizer = Quantizer(embeddings, queries)
    quantized = quantizer.quantize(embeddings)

    def search_part(part: slice) -> DoubleArray:
        own = queries[part]
        closer: DoubleArray = np.full(distance[part].shape, np.nan)
        left, most_lost = quantizer.quantize(own), quantizer.bound_errors(own)
        found = _to_least_cosine(distance[part], metric)
        for start in range(0, len(embeddings), BLOCK):
            block = slice(start, start + BLOCK)
            least = quantizer.to_product(np.maximum(found, _to_least_cosine(closer, metric))) - most_lost
            mask = multiply(left, quantized[block]) >= np.clip(np.floor(least), *_RANGE).astype(np.int32)[:, None]
            _drop_least(mask, own, embeddings[block], excluded.shape[1] + closer.shape[1] + SPARE)
            row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
            is_new = (excluded[part][row] != start + column[:, None]).all(axis=1)
            row, column = row[is_new], column[is_new]
            if len(row):
                values = compute_values(own[row], embeddings[block], column[:, None], metric)[:, 0]
                closer = merge_nearest(closer, _tabulate(row, values, len(own)), metric)
        return closer

    parts = [slice(start, start + PART) for start in range(0, len(queries), PART)]
    return np.concatenate([distance[:0], *map_threads(threads, search_part, parts)])


def merge_nearest(nearest: DoubleArray, more: DoubleArray, metric: str) -> DoubleArray:
    """Return the k closest of two arrays of distances, (m, k) and (m, any number), the closest first; NaN for none."""
    values = np.concatenate([nearest, more], axis=1)
    order = np.argsort(-to_score(values, metric), axis=1, kind="stable")[:, : nearest.shape[1]]
    return np.take_along_axis(values, order, 1)


def _to_least_cosine(distance: DoubleArray, metric: str) -> DoubleArray:
    """Return the cosine of the farthest of (m, k) distances, or somewhat less, (m,); minus infinity if one is NaN."""
    cosines = np.nan_to_num(to_cosine(distance, metric), nan=-np.inf)
    least: DoubleArray = cosines.min(axis=1, initial=np.inf) - 2 * UNIT_TOLERANCE
    return least


def _drop_least(mask: BoolArray, queries: FloatArray, embeddings: FloatArray, most: int) -> None:
    """Of queries with many candidates, clear all but those with the largest products.

    Args:
        mask: (m, n) bool, the candidates of each query.
        queries: (m, d) float32.
        embeddings: (n, d) float32.
        most: Candidates that are left.
    """
    many = np.flatnonzero(np.count_nonzero(mask, axis=1) > max(MANY, most))
    if len(many):
        products = queries[many] @ embeddings.T
        mask[many] = False
        mask[many[:, None], np.argpartition(products, -most, axis=1)[:, -most:]] = True


def _tabulate(row: IntArray, values: DoubleArray, m: int) -> DoubleArray:
    """Return values of ascending rows as a table, (m, most values of a row); NaN for none."""
    counts = np.bincount(row, minlength=m)
    table: DoubleArray = np.full((m, counts.max()), np.nan)
    table[row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)] = values
    return table
