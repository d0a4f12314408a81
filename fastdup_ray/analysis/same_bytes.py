"""Files with the same bytes, by their digests."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.sorting import sort_blocks, split_by_group
from fastdup_ray.common.arrays import IntArray, split_array
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, take_rows

UnsignedArray: TypeAlias = npt.NDArray[np.uint64]

BEGINNING = 16
"""Digits of a digest that are compared first: most images differ in them from all others."""


def find_first_of_bytes(sha256: pa.ChunkedArray, scratch: Scratch) -> IntArray:
    """Find the images with the same bytes, in limited memory.

    Args:
        sha256: (n,) digests in hex, null where unknown. They may be mapped from a file.
        scratch: Opens a temporary file.

    Returns:
        (n,) int64 index of the first image with the same bytes; -1 where the digest is unknown. It may be mapped.
    """
    first = make_array(len(sha256), np.int64, scratch, -1)
    shift = len(sha256).bit_length()

    def encode() -> Iterator[IntArray]:
        """Yield the bits of each digest that fit into a number above its row."""
        start = 0
        for chunk in sha256.chunks:
            for digests in (chunk.slice(cut, ROWS_PER_BLOCK) for cut in range(0, len(chunk), ROWS_PER_BLOCK)):
                known = np.flatnonzero(digests.is_valid())
                first[start + known] = start + known
                bits = _get_beginnings(digests)[known] >> np.uint64(1 + shift)
                yield bits.astype(np.int64) << shift | start + known
                start += len(digests)

    for keys in split_by_group(sort_blocks(encode(), scratch), 1 << shift):
        bits = keys >> shift
        is_repeat = np.diff(bits, prepend=-1, append=-1) == 0
        rows = keys[is_repeat[:-1] | is_repeat[1:]] & (1 << shift) - 1
        digests = _read_digests(sha256, rows)
        _set_first(first, rows, digests, rows, digests)
    return first


def name_unknown(first: IntArray, scratch: Scratch) -> IntArray:
    """Return what `find_first_of_bytes` returned, but for each image with an unknown digest its own index."""
    named = make_array(len(first), np.int64, scratch)
    for start in range(0, len(first), ROWS_PER_BLOCK):
        part = first[start : start + ROWS_PER_BLOCK]
        named[start : start + len(part)] = np.where(part < 0, np.arange(start, start + len(part)), part)
    return named


def find_first_in(sha256: pa.ChunkedArray, others: pa.ChunkedArray) -> IntArray:
    """Return (n,) int64 index of the first of m other digests that equals each of n; -1 for none or where unknown."""
    first, mine, theirs = np.full(len(sha256), -1), _read_beginnings(sha256), _read_beginnings(others)
    rows, among = _find_rows(mine, np.sort(theirs)), _find_rows(theirs, np.sort(mine))
    _set_first(first, rows, _read_digests(sha256, rows), among, _read_digests(others, among))
    return first


def _read_digests(sha256: pa.ChunkedArray, rows: IntArray) -> pa.Array:
    return take_rows(pa.table({"sha256": sha256}), rows)["sha256"].combine_chunks()


def _set_first(first: IntArray, rows: IntArray, digests: pa.Array, among: IntArray, candidates: pa.Array) -> None:
    """Set `first` of some rows to the first of other rows that has the same digest."""
    match = pc.index_in(digests, candidates, skip_nulls=True)
    first[rows[match.is_valid().to_numpy(zero_copy_only=False)]] = among[match.drop_null().to_numpy()]


def _read_beginnings(sha256: pa.ChunkedArray) -> UnsignedArray:
    """Return (n,) a number from the first digits of each digest: equal for equal ones, and for few others."""
    return np.concatenate([np.empty(0, np.uint64), *map(_get_beginnings, sha256.chunks)])


def _get_beginnings(digests: pa.Array) -> UnsignedArray:
    text = digests.cast(pa.large_binary()).fill_null(b"")
    end, nothing = (pa.scalar(value, pa.large_binary()) for value in (bytes(BEGINNING), b""))
    cut = pc.binary_slice(pc.binary_join_element_wise(text, end, nothing), 0, BEGINNING)
    characters = np.frombuffer(cut.buffers()[2], np.uint8, BEGINNING * len(cut)).reshape(-1, BEGINNING)
    digits = (characters & 15) + 9 * (characters >> 6)  # hex
    return (digits[:, ::2] << 4 | digits[:, 1::2]).view(np.uint64).ravel()


def _find_rows(values: UnsignedArray, among: UnsignedArray) -> IntArray:
    """Return the rows of `values` that are in the sorted `among`."""
    rows, start = [np.empty(0, np.int64)], 0
    for block in split_array(values, ROWS_PER_BLOCK) if len(among) else ():
        position = np.searchsorted(among, block).clip(max=len(among) - 1)
        rows.append(start + np.flatnonzero(among[position] == block))
        start += len(block)
    return np.concatenate(rows)
