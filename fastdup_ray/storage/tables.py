"""Tables in memory: mapped from files, joined, by rows and by names; and what is said of files that are damaged."""

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.errors import DamagedError

ROWS_PER_BLOCK = 1 << 17
"""Rows that are read or written at a time, so that memory does not grow with the file."""

ROWS_PER_GROUP = 1 << 15
"""Rows of small tables that are joined."""

AnyPath: TypeAlias = str | os.PathLike[str]
ArrowColumn: TypeAlias = pa.Array | pa.ChunkedArray

TEXT = pa.large_binary()
"""Type of the texts of CSV files: raw bytes."""


def map_file(file: IO[bytes]) -> pa.Buffer:
    """Map the content of a file into memory. The file may be unnamed, and may be closed afterwards."""
    file.flush()
    size = os.fstat(file.fileno()).st_size
    return pa.py_buffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b"")


def map_table(blocks: Iterable[pa.Table], schema: pa.Schema, file: IO[bytes]) -> pa.Table:
    """Write blocks to a file and map them back as one table, so that they take no memory of their own.

    Args:
        blocks: Tables of this schema.
        schema: Their schema.
        file: An empty file, such as `Store.scratch` gives.

    Returns:
        The rows of all blocks, in batches.
    """
    with pa.ipc.new_file(file, schema) as writer:
        for block in blocks:
            writer.write_table(block)
    return pa.ipc.open_file(map_file(file)).read_all()


def map_texts(blocks: Iterable[pa.Array], scratch: Scratch) -> pa.LargeBinaryArray:
    """Write blocks of texts to files and map them back as one array, so that they take no memory of their own.

    Args:
        blocks: Arrays of raw bytes without nulls.
        scratch: Opens an empty file, such as `Store.scratch`.
    """
    offsets, data, n, size = scratch(), scratch(), 0, 0
    offsets.write(np.zeros(1, np.int64).data)
    for block in blocks:
        texts = block.cast(TEXT)
        ends = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
        data.write(memoryview(texts.buffers()[2] or b"")[ends[0] : ends[-1]])
        offsets.write((ends[1:] - ends[0] + size).data)
        n, size = n + len(texts), size + int(ends[-1] - ends[0])
    return pa.LargeBinaryArray.from_buffers(TEXT, n, [None, map_file(offsets), map_file(data)])


def regroup(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join tables of one schema so that each has `ROWS_PER_GROUP` rows or more, but for the last one."""
    some: list[pa.Table] = []
    count = 0
    for table in tables:
        some.append(table)
        count += len(table)
        if count >= ROWS_PER_GROUP:
            yield pa.concat_tables(some).combine_chunks()
            some, count = [], 0
    if some:
        yield pa.concat_tables(some).combine_chunks()


def take_rows(table: pa.Table, rows: IntArray) -> pa.Table:
    """Select rows of a table, reading only the batches that contain them.

    Args:
        table: A table, such as `map_table` returns.
        rows: (m,) row numbers, in any order.

    Returns:
        A table of m rows, in the order of `rows`.
    """
    batches, order = table.to_batches(), np.argsort(rows, kind="stable")
    starts = np.cumsum([0, *map(len, batches)])
    cuts = np.searchsorted(rows[order], starts)
    parts = [
        batch.take(pa.array(rows[order[low:high]] - start))
        for batch, start, low, high in zip(batches, starts, cuts, cuts[1:], strict=False)
        if low < high
    ]
    selected = pa.Table.from_batches(parts, table.schema).combine_chunks()
    return selected if np.array_equal(order, np.arange(len(rows))) else selected.take(pa.array(np.argsort(order)))


def find_positions(names: ArrowColumn, among: pa.Array) -> IntArray:
    """Find the position of each name in an array. Memory depends on the number of names, not on the array.

    Args:
        names: (m,) names.
        among: (n,) the names to look in.

    Returns:
        (m,) int64 positions in `among`, the first where a name occurs twice; -1 where it does not occur.
    """
    names = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
    encoded = names.cast(among.type).dictionary_encode()
    positions = np.full(len(encoded.dictionary), -1)
    for start in reversed(range(0, len(among), ROWS_PER_BLOCK)):
        matches = pc.index_in(among[start : start + ROWS_PER_BLOCK], encoded.dictionary)
        rows = np.flatnonzero(matches.is_valid().to_numpy(zero_copy_only=False))[::-1]
        positions[matches.take(pa.array(rows)).to_numpy()] = start + rows
    found: IntArray = positions[encoded.indices.to_numpy()]
    return found


class TextNumbers:
    """Numbers texts from 0 on, in the order in which they are first met. In memory is each different text once.

    Attributes:
        texts: The different texts.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)

    def encode(self, block: ArrowColumn) -> IntArray:
        """Return (n,) int32 the number of each of n texts, -1 for null."""
        encoded = (block.combine_chunks() if isinstance(block, pa.ChunkedArray) else block).dictionary_encode()
        own = [self._numbers.setdefault(text, len(self._numbers)) for text in encoded.dictionary.to_pylist()]
        numbers: IntArray = np.array([*own, -1], np.int32)[encoded.indices.fill_null(-1).to_numpy()]
        return numbers


def encode_names(names: Iterable[str]) -> pa.Array:
    """Return names as a column of the bytes that they have on disk."""
    return pa.array([os.fsencode(name) for name in names], TEXT)


def escape_names(names: ArrowColumn) -> ArrowColumn:
    r"""Return names as text for Parquet, with bytes that are not UTF-8 as `\xNN`."""
    try:
        return names.cast(pa.large_string())
    except pa.ArrowInvalid:
        blocks = (names[start : start + ROWS_PER_BLOCK].to_pylist() for start in range(0, len(names), ROWS_PER_BLOCK))
        texts = (
            name if name is None else name.decode("utf-8", "backslashreplace") for block in blocks for name in block
        )
        return pa.array(texts, pa.large_string())


@contextmanager
def explain_damage(path: AnyPath) -> Iterator[None]:
    """Turn Arrow's errors about the content of a file into `DamagedError`; other errors of the disk pass."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise make_damaged_error(path, error) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise make_damaged_error(path, error) from None


def make_damaged_error(path: AnyPath, reason: object) -> DamagedError:
    """Return the error for a file that is not what was written; the first line of the reason is shown."""
    first = next(iter(str(reason).splitlines()), "it cannot be read")
    return DamagedError(f"{os.fspath(path)} is damaged: {first}")


def describe_other_run(path: AnyPath) -> DamagedError:
    """Return the error for a file whose rows do not match those of the files beside it."""
    return DamagedError(f"{os.fspath(path)} is from another run than the files beside it; run again.")
