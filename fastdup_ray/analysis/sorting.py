"""Sorting more numbers than there is memory for."""

from collections.abc import Callable, Iterable, Iterator
from typing import IO

import numpy as np

NUMBERS_PER_RUN = 1 << 25
"""Numbers that are sorted in memory at a time: 256 MB."""

NUMBERS_PER_BLOCK = 1 << 17
"""Numbers that are given at a time."""

Scratch = Callable[[], IO[bytes]]
"""Gives an empty file that is gone when it is closed."""


def sort_blocks(blocks: Iterable[np.ndarray], scratch: Scratch) -> Iterator[np.ndarray]:
    """All numbers of the blocks, (b,) int64 each, from the least on, in parts of `PART` but for the last.

    Up to `RUN` of them are sorted in memory; more are written to one file in sorted runs, which are then merged range
    by range: between two neighbors of the sample lie less than `PART` numbers of each run.
    """
    runs = _sort_runs(blocks, scratch)
    if len(runs) == 1:
        merged: Iterable[np.ndarray] = runs
    else:
        sample = np.unique(np.concatenate([one[NUMBERS_PER_BLOCK - 1 :: NUMBERS_PER_BLOCK] for one in runs]))
        cuts = [np.concatenate([[0], np.searchsorted(one, sample, "right"), [len(one)]]) for one in runs]
        merged = (
            np.sort(np.concatenate([one[cut[place] : cut[place + 1]] for one, cut in zip(runs, cuts, strict=True)]))
            for place in range(len(sample) + 1)
        )
    return _rechunk(merged)


def _sort_runs(blocks: Iterable[np.ndarray], scratch: Scratch) -> list[np.ndarray]:
    """Sorted runs of `RUN` numbers, in one file however many they are, and a last one in memory."""
    buffer, filled, file = np.empty(NUMBERS_PER_RUN, np.int64), 0, scratch()
    for block in blocks:
        while len(block):
            taken = block[: NUMBERS_PER_RUN - filled]
            buffer[filled : filled + len(taken)] = taken
            filled, block = filled + len(taken), block[len(taken) :]
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


def write_and_map(blocks: Iterable[np.ndarray], dtype: type, file: IO[bytes]) -> np.ndarray:
    """The blocks one after the other, in a file from which the array is mapped."""
    for block in blocks:
        file.write(np.ascontiguousarray(block, dtype).data)
    file.flush()
    return np.memmap(file, dtype, "r") if file.tell() else np.empty(0, dtype)


def _rechunk(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same numbers, `PART` at a time."""
    left: list[np.ndarray] = []
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
