"""Arrays that are mapped from temporary files, so that they take no memory that cannot be dropped."""

from collections.abc import Iterable, Sequence
from typing import IO

import numpy as np

from fastdup_ray.common.arrays import AnyArray
from fastdup_ray.common.scratch import Scratch

ARRAY_IN_MEMORY = 1 << 24
"""Bytes of the largest array that `make_array` makes in memory."""


def make_array(n: int, dtype: type, scratch: Scratch, fill: float = 0) -> AnyArray:
    """Return an array to write to; a large one is mapped from a file.

    Args:
        n: Its length.
        dtype: Type of its numbers.
        scratch: Opens a temporary file.
        fill: What it is filled with.

    Returns:
        (n,) numbers, in memory up to `ARRAY_IN_MEMORY` bytes, else mapped from a file.
    """
    size = n * np.dtype(dtype).itemsize
    if size <= ARRAY_IN_MEMORY:
        return np.full(n, fill, dtype)
    file = scratch()
    file.truncate(size)
    array: AnyArray = np.memmap(file, dtype, "r+", shape=(n,))
    if fill:
        array[:] = fill
    return array


def write_and_map(blocks: Iterable[AnyArray], dtype: type, file: IO[bytes]) -> AnyArray:
    """Write blocks to a file, and map the whole file as an array.

    Args:
        blocks: Arrays to append to the file.
        dtype: Type of the numbers in the file.
        file: An open file, which may already have numbers of that type.

    Returns:
        (n,) numbers of the file; it is mapped read-only, and empty if the file is.
    """
    for block in blocks:
        file.write(np.ascontiguousarray(block, dtype).data)
    file.flush()
    return np.memmap(file, dtype, "r") if file.tell() else np.empty(0, dtype)


def write_and_map_columns(
    blocks: Iterable[tuple[AnyArray, ...]], dtypes: Sequence[type], scratch: Scratch
) -> tuple[AnyArray, ...]:
    """Write blocks of several columns to a file for each, and map these as arrays.

    Args:
        blocks: For each block, its rows of all columns.
        dtypes: Type of the numbers of each column.
        scratch: Opens a temporary file.

    Returns:
        The columns, (n,) each, mapped read-only.
    """
    files = [scratch() for _ in dtypes]
    for block in blocks:
        for file, column, dtype in zip(files, block, dtypes, strict=True):
            file.write(np.ascontiguousarray(column, dtype).data)
    return tuple(write_and_map([], dtype, file) for file, dtype in zip(files, dtypes, strict=True))
