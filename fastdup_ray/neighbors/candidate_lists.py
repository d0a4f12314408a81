"""The best candidates so far for the neighbors of each embedding, by products of 8-bit integers."""

import numpy as np
import numpy.typing as npt

from fastdup_ray.common.arrays import AnyArray, BoolArray, DoubleArray, IntArray

NO_PRODUCT = np.iinfo(np.int32).min
"""Stands for no candidate among products."""

_EMPTY = np.iinfo(np.int64).min
_LOW = (1 << 32) - 1
_ALL = slice(None)

_MANY = 12
"""Better candidates in a block of products, divided by those that the lists hold, from which on all of the block are
sorted: to pick so many one by one would take longer."""

_SOME = 4
"""A block of products, divided by the part of it that shows how good a candidate has to be while lists are empty."""

_Int32Array = npt.NDArray[np.int32]


class CandidateLists:
    """The c best candidates so far of each of m embeddings, the best first; of equally good ones, the lower index.

    What the lists hold in the end does not depend on the order in which candidates are added.

    Args:
        m: Number of embeddings.
        c: Candidates of each.
    """

    def __init__(self, m: int, c: int) -> None:
        # The product in the upper 32 bits, the index in the lower ones; inverted, so that lower ones sort as better.
        self._keys: IntArray = np.full((m, c), _EMPTY, np.int64)

    def require(self, own: IntArray, least: DoubleArray) -> None:
        """Take only candidates with a certain product or a larger one, for embeddings that have none yet.

        Args:
            own: (b,) int64, the embeddings.
            least: (b,) float64, the least product of each.
        """
        self._keys[own] = np.floor(least).astype(np.int64)[:, None] << 32  # of the index -1

    def get_products(self, k: int) -> _Int32Array:
        """Return the products of the k best candidates, (m, k) int32; `NO_PRODUCT` for none."""
        return (self._keys[:, :k] >> 32).astype(np.int32)

    def has_any(self) -> BoolArray:
        """Return whether each embedding has a candidate, (m,) bool."""
        has_any: BoolArray = self._keys[:, 0] & _LOW != 0
        return has_any

    def get_indices(self, own: slice | IntArray = _ALL) -> _Int32Array:
        """Return the candidates of some of the m embeddings, (b, c) int32; -1 for none."""
        return (_LOW ^ (self._keys[own] & _LOW)).astype(np.uint32).view(np.int32)

    def update(self, own: IntArray, products: _Int32Array, others: IntArray) -> None:
        """Add candidates where they are better than those before.

        Args:
            own: (b,) int64, the embeddings that they are candidates of; none twice.
            products: (b, e) int32, also as a transposed view; `NO_PRODUCT` for none.
            others: (e,) int64, the candidates, ascending.
        """
        worst = self._keys[own, -1]
        least, worst_index = worst >> 32, _LOW ^ (worst & _LOW)
        least -= (worst != _EMPTY) & (others[0] < worst_index)  # an equally good one may be better by its index
        is_better = products > least.astype(np.int32)[:, None]
        count, many = np.count_nonzero(is_better), _MANY * len(own) * self._keys.shape[1]
        if count > many and len(others) > _SOME * self._keys.shape[1]:
            np.maximum(least, _find_least(products, self._keys.shape[1]), out=least)
            is_better = products > least.astype(np.int32)[:, None]
            count = np.count_nonzero(is_better)
        if count > many:
            self._merge(own, _make_keys(np.ascontiguousarray(products), others))
        elif count:
            row, column = _find_true(is_better)
            keys = _make_keys(products[row, column], others[column])
            counts = np.bincount(row, minlength=len(own))
            place = np.arange(count) - np.repeat(np.cumsum(counts) - counts, counts)
            table = np.full((len(own), counts.max()), _EMPTY, np.int64)
            table[row, place] = keys
            changed = np.flatnonzero(counts)
            self._merge(own[changed], table[changed])

    def _merge(self, own: IntArray, new: IntArray) -> None:
        """Merge keys, (b, e), into the lists, but those of candidates that are there already."""
        c = self._keys.shape[1]
        if new.shape[1] > 2 * c:  # up to c of the best may be in the lists already
            new = np.partition(new, -2 * c, axis=1)[:, -2 * c :]
        old = self._keys[own]
        new[((new & _LOW)[:, :, None] == (old & _LOW)[:, None, :]).any(axis=2)] = _EMPTY
        self._keys[own] = np.sort(np.concatenate([old, new], axis=1), axis=1)[:, : -c - 1 : -1]


def _find_least(products: _Int32Array, c: int) -> IntArray:
    """Return, for each row, a product that at least c others exceed: of a part of them, which takes less time."""
    some = products[:, : products.shape[1] // _SOME]
    least: IntArray = np.partition(some, -c, axis=1)[:, -c].astype(np.int64)
    return np.maximum(least - 1, NO_PRODUCT)


def _make_keys(products: AnyArray, others: IntArray) -> IntArray:
    keys: IntArray = (products.astype(np.int64) << 32) | (_LOW ^ others)
    return np.where(products == NO_PRODUCT, _EMPTY, keys)


def _find_true(mask: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the rows, ascending, and columns of the few true elements, in a tenth of the time of np.nonzero."""
    if mask.flags.c_contiguous:
        row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
        return row, column
    column, row = np.divmod(np.flatnonzero(mask.T), mask.shape[0])
    order = np.argsort(row, kind="stable")
    return row[order], column[order]
