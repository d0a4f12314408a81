"""External sort of int64 numbers, and arrays mapped from temporary files."""

from collections.abc import Callable, Iterable, Iterator
from typing import IO

import numpy as np

from fastdup_ray.common.arrays import AnyArray, IntArray

NUMBERS_PER_RUN = 1 << 25
"""Numbers that are sorted in memory at a time: 256 MB."""

NUMBERS_PER_BLOCK = 1 << 17
"""Numbers that are returned at a time."""

Scratch = Callable[[], IO[bytes]]
"""Opens an empty temporary file, which is removed when it is closed."""


def sort_blocks(blocks: Iterable[IntArray], scratch: Scratch) -> Iterator[IntArray]:
    """Sort numbers in limited memory.

    Up to `NUMBERS_PER_RUN` numbers are sorted in memory. More are written to one file as sorted runs. The runs are then
    merged one range of values at a time; the ranges come from a sample of the runs that has every
    `NUMBERS_PER_BLOCK`-th number of each.

    Args:
        blocks: The numbers, (b,) int64 each.
        scratch: Opens a temporary file.

    Returns:
        All numbers, ascending, in blocks of `NUMBERS_PER_BLOCK`; the last block may be smaller.
    """
    runs = _sort_runs(blocks, scratch)
    if len(runs) == 1:
        merged: Iterable[IntArray] = runs
    else:
        sample = np.unique(np.concatenate([run[NUMBERS_PER_BLOCK - 1 :: NUMBERS_PER_BLOCK] for run in runs]))
        cuts = [np.concatenate([[0], np.searchsorted(run, sample, "right"), [len(run)]]) for run in runs]
        merged = (
            np.sort(np.concatenate([run[cut[index] : cut[index + 1]] for run, cut in zip(runs, cuts, strict=True)]))
            for index in range(len(sample) + 1)
        )
    return _rechunk(merged)


def _sort_runs(blocks: Iterable[IntArray], scratch: Scratch) -> list[IntArray]:
    """Return sorted runs of `NUMBERS_PER_RUN` numbers, all mapped from one file, and the last one in memory."""
    buffer, filled, file = np.empty(NUMBERS_PER_RUN, np.int64), 0, scratch()
    for block in blocks:
        while len(block):
            head = block[: NUMBERS_PER_RUN - filled]
            buffer[filled : filled + len(head)] = head
            filled, block = filled + len(head), block[len(head) :]
            if filled == NUMBERS_PER_RUN:
                buffer.sort()
                file.write(buffer.data)
                filled = 0
    buffer[:filled].sort()
    whole = write_and_map([], np.int64, file)
    return [
        *(whole[start : start + NUMBERS_PER_RUN] for start in range(0, len(whole), NUMBERS_PER_RUN)),
        buffer[:filled],
    ]


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


def _rechunk(blocks: Iterable[IntArray]) -> Iterator[IntArray]:
    """Yield the same numbers, `NUMBERS_PER_BLOCK` at a time."""
    left: list[IntArray] = []
    for block in blocks:
        left.append(block)
        if sum(map(len, left)) >= NUMBERS_PER_BLOCK:
            whole = np.concatenate(left) if len(left) > 1 else block
            stop = len(whole) - len(whole) % NUMBERS_PER_BLOCK
            yield from np.split(whole[:stop], stop // NUMBERS_PER_BLOCK)
            left = [whole[stop:]]
    rest = np.concatenate([np.empty(0, np.int64), *left])
    if len(rest):
        yield rest
