"""External sort of int64 numbers."""

from collections.abc import Iterable, Iterator

import numpy as np

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.mapped_arrays import write_and_map
from fastdup_ray.common.scratch import Scratch

NUMBERS_PER_RUN = 1 << 25
"""Numbers that are sorted in memory at a time: 256 MB."""

NUMBERS_PER_BLOCK = 1 << 17
"""Numbers that are returned at a time."""


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


def drop_repeats(blocks: Iterable[IntArray]) -> Iterator[IntArray]:
    """Yield numbers without repeats, from what `sort_blocks` returns; none of them is below 0."""
    last = -1
    for block in blocks:
        yield block[np.diff(block, prepend=last) > 0]
        last = block[-1]


def split_by_group(blocks: Iterable[IntArray], members: int) -> Iterator[IntArray]:
    """Divide ascending numbers into blocks of whole groups, such as `sort_blocks` returns for group * members + member.

    Args:
        blocks: (b,) int64 each, which are not empty and ascend over all blocks.
        members: A number is in the group `number // members`.

    Yields:
        The same numbers. A block has about as many as one of `blocks`, or more if they are in one group.
    """
    left: list[IntArray] = []
    for block in blocks:
        group = block // members
        if left and left[-1][-1] // members != group[0]:
            yield np.concatenate(left)
            left = []
        cut = int(np.searchsorted(group, group[-1]))
        if cut:
            yield np.concatenate([*left, block[:cut]])
            left = []
        left.append(block[cut:])
    if left:
        yield np.concatenate(left)


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
