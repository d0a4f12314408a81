"""Sorting more numbers than there is memory for."""

from collections.abc import Callable, Iterable, Iterator
from typing import IO

import numpy as np

RUN = 1 << 25
"""Numbers that are sorted in memory at a time: 256 MB."""

PART = 1 << 17
"""Numbers that are given at a time."""

Scratch = Callable[[], IO[bytes]]
"""Gives an empty file that is gone when it is closed."""


def in_order(blocks: Iterable[np.ndarray], scratch: Scratch, *, run: int = RUN, part: int = PART) -> Iterator[np.ndarray]:
    """All numbers of the blocks, (b,) int64 each, from the least on, in parts of `part` but for the last.

    Up to `run` of them are sorted in memory; more are written to files in sorted runs, which are then merged range by
    range: between two neighbours of the sample lie at most `part` numbers of each run.
    """
    runs = list(_runs(blocks, scratch, run))
    if len(runs) == 1:
        merged: Iterable[np.ndarray] = runs
    else:
        sample = np.unique(np.concatenate([one[part - 1 :: part] for one in runs]))
        cuts = [np.concatenate([[0], np.searchsorted(one, sample, "right"), [len(one)]]) for one in runs]
        merged = (
            np.sort(np.concatenate([one[cut[place] : cut[place + 1]] for one, cut in zip(runs, cuts, strict=True)]))
            for place in range(len(sample) + 1)
        )
    return _evenly(merged, part)


def _runs(blocks: Iterable[np.ndarray], scratch: Scratch, size: int) -> Iterator[np.ndarray]:
    """Sorted, all but the last in files; one at least."""
    buffer, filled = np.empty(size, np.int64), 0
    for block in blocks:
        while len(block):
            taken = block[: size - filled]
            buffer[filled : filled + len(taken)] = taken
            filled, block = filled + len(taken), block[len(taken) :]
            if filled == size:
                buffer.sort()
                yield written([buffer], np.int64, scratch())
                filled = 0
    buffer[:filled].sort()
    yield buffer[:filled]


def written(blocks: Iterable[np.ndarray], dtype: type, file: IO[bytes]) -> np.ndarray:
    """The blocks one after the other, in a file from which the array is mapped."""
    for block in blocks:
        file.write(np.ascontiguousarray(block, dtype))
    file.flush()
    return np.memmap(file, dtype, "r") if file.tell() else np.empty(0, dtype)


def _evenly(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    left: list[np.ndarray] = []
    for block in blocks:
        left.append(block)
        if sum(map(len, left)) >= size:
            whole = left[0] if len(left) == 1 else np.concatenate(left)
            stop = len(whole) - len(whole) % size
            yield from (whole[start : start + size] for start in range(0, stop, size))
            left = [whole[stop:]]
    rest = np.concatenate(left) if left else np.empty(0, np.int64)
    if len(rest):
        yield rest
