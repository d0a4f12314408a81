"""Type aliases of NumPy arrays, and how large arrays are kept small."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
"""float32: embeddings, and products of embeddings."""

DoubleArray: TypeAlias = npt.NDArray[np.float64]
"""float64: similarities and distances as they are written."""

IntArray: TypeAlias = npt.NDArray[np.int64]
"""int64: indices of images, and counts."""

BoolArray: TypeAlias = npt.NDArray[np.bool_]
"""bool: masks."""

ByteArray: TypeAlias = npt.NDArray[np.uint8]
"""uint8: pixels."""

AnyArray: TypeAlias = npt.NDArray[Any]
"""Any dtype, such as that of structured arrays."""


class EmbeddingArray(Protocol):
    """(n, d) float32 embeddings that are read when they are indexed: an array, or many files that look like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""

    def __len__(self) -> int:
        """Return n."""

    def __getitem__(self, key: slice | AnyArray) -> FloatArray:
        """Return the embeddings at a slice, or at an array of indices of any shape, as (..., d)."""


def get_index_type(n: int) -> type[np.int32] | type[np.int64]:
    """Return the smaller of int32 and int64 that has room for the indices of n items."""
    return np.int32 if n < 1 << 31 else np.int64


def shrink(numbers: AnyArray) -> AnyArray:
    """Return whole numbers as int8, int32 or int64, whichever is the smallest that has room for all of them."""
    least, most = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    for kind in (np.int8, np.int32):
        if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max:
            return numbers.astype(kind, copy=False)
    return numbers


def split_array(array: AnyArray, size: int) -> Iterator[AnyArray]:
    """Yield an array in parts of at most `size` rows; one that is empty has none."""
    return (array[start : start + size] for start in range(0, len(array), size))


def split_pairs(first: AnyArray, second: AnyArray, size: int) -> Iterator[tuple[AnyArray, AnyArray]]:
    """Yield two arrays of one length in parts of at most `size` rows, side by side."""
    return zip(split_array(first, size), split_array(second, size), strict=True)
