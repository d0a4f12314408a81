"""Find the keys of a list among other keys: a join that is partitioned by a hash of the keys, and out of core.

Arrow's own join crashes the process if the keys of a table take more than 2 GiB, and keeps both tables in memory.
"""

from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import AnyArray, IntArray
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.storage.tables import map_file

KEYS_PER_PART = 1 << 16
"""About the number of keys that are compared at a time, up to `MOST_PARTS` times as many."""

MOST_PARTS = 256

_HASHED_BYTES = 16
"""Last bytes of a name that decide its part, with the size: names often differ in a number there."""

_SCHEMA = pa.schema([("row", pa.int64()), ("key", pa.large_binary())])


def match_keys(
    listed: Iterable[pa.Table], stored: Iterable[tuple[IntArray, pa.Table]], count: int, scratch: Scratch
) -> IntArray:
    """Find each key of a list among stored keys.

    Args:
        listed: Blocks of m keys: the column `uri`, as text or bytes, and any others, such as the size.
        stored: Blocks of other keys, with the same columns, and the row number of each.
        count: About the number of keys in the list.
        scratch: Opens an empty file. What is in memory are the keys of a part.

    Returns:
        (m,) int64 row number of the first stored key that equals the one of the list; -1 if there is none. It may be
        mapped from a file.
    """
    parts = min(count // KEYS_PER_PART + 1, MOST_PARTS)
    ours = _PartitionedKeys(_number_rows(listed), parts, scratch())
    theirs = _PartitionedKeys(stored, parts, scratch())
    position = make_array(len(ours), np.int64, scratch, -1)
    for part in range(parts):
        for offsets, keys in ours.read(part):
            for rows, others in theirs.read(part):
                left = position[offsets] < 0
                matches = pc.index_in(keys.filter(pa.array(left)), value_set=others)
                found = matches.is_valid().to_numpy(zero_copy_only=False)
                position[offsets[left][found]] = rows[matches.drop_null().to_numpy()]
    return position


def _number_rows(blocks: Iterable[pa.Table]) -> Iterator[tuple[IntArray, pa.Table]]:
    start = 0
    for block in blocks:
        yield np.arange(start, start + len(block)), block
        start += len(block)


class _PartitionedKeys:
    """Keys with their row numbers in a scratch file, by part; equal keys are in one part."""

    def __init__(self, blocks: Iterable[tuple[IntArray, pa.Table]], parts: int, file: IO[bytes]) -> None:
        self._pieces: list[list[int]] = [[] for _ in range(parts)]  # of each part, the batches of the file
        self._count = number = 0
        with pa.ipc.new_file(file, _SCHEMA) as writer:
            for rows, block in blocks:
                self._count += len(block)
                part = _assign_parts(block, parts)
                order = np.argsort(part, kind="stable")
                table = pa.table([rows, _join_keys(block)], schema=_SCHEMA).take(pa.array(order))
                cuts = np.searchsorted(part[order], np.arange(parts + 1))
                for own, low, high in zip(self._pieces, cuts.tolist(), cuts[1:].tolist(), strict=False):
                    if low < high:
                        writer.write_table(table.slice(low, high - low))
                        own.append(number)
                        number += 1
        self._reader = pa.ipc.open_file(map_file(file))

    def __len__(self) -> int:
        return self._count

    def read(self, part: int) -> Iterator[tuple[IntArray, pa.Array]]:
        """Yield the row numbers and the keys of a part, about `KEYS_PER_PART` at a time, in the order of writing."""
        some, count = [], 0
        for number in [*self._pieces[part], None]:
            if number is not None:
                some.append(self._reader.get_batch(number))
                count += len(some[-1])
            if some and (number is None or count >= KEYS_PER_PART):
                table = pa.Table.from_batches(some).combine_chunks()
                yield table["row"].to_numpy(), table["key"].combine_chunks()
                some, count = [], 0


def _assign_parts(table: pa.Table, parts: int) -> AnyArray:
    """Return an (n,) uint32 part below `parts`, equal for equal keys: a hash of the file's size and end of its name."""
    if len(table) == 0 or parts == 1:
        return np.zeros(len(table), np.uint32)
    number = np.zeros(len(table), np.uint64)
    if "size" in table.column_names:
        number += table["size"].to_numpy().astype(np.uint64)
    uri = table["uri"].combine_chunks()
    offsets = np.frombuffer(uri.buffers()[1], np.int64)[uri.offset : uri.offset + len(uri) + 1]
    data = np.append(np.frombuffer(uri.buffers()[2] or b"", np.uint8), np.uint8(0))
    starts, is_empty = offsets[:-1], offsets[:-1] == offsets[1:]
    for back in range(1, _HASHED_BYTES + 1):
        number = 31 * number + data[np.where(is_empty, len(data) - 1, np.maximum(offsets[1:] - back, starts))]
    part: AnyArray = (number % np.uint64(parts)).astype(np.uint32)
    return part


def _join_keys(table: pa.Table) -> pa.Array:
    """Join the columns of each row; with the size first, different keys give different bytes."""
    if table.column_names == ["uri"]:
        return table["uri"].combine_chunks().cast(pa.large_binary())
    uri, size, token = (table[name].combine_chunks() for name in ("uri", "size", "mtime_or_etag"))
    keys = pc.binary_join_element_wise(size.cast(uri.type), token, uri, pa.scalar("\0", uri.type))
    return keys.cast(pa.large_binary())
