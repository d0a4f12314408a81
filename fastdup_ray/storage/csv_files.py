"""Read and write CSV files: one dialect for all of them."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from fastdup_ray.common import csv_columns
from fastdup_ray.common.arrays import AnyArray, IntArray
from fastdup_ray.common.formulas import escape_formulas, unescape_formulas
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import (
    ROWS_PER_BLOCK,
    TEXT,
    AnyPath,
    ArrowColumn,
    describe_other_run,
    explain_damage,
    find_positions,
    make_damaged_error,
    regroup,
)

Column: TypeAlias = ArrowColumn | AnyArray
_Rows = TypeVar("_Rows", pa.Table, pa.RecordBatch)
_NUMBER = pa.decimal128(38, 6)

BYTES_READ = 1 << 20
"""Bytes of a file that `iter_csv` reads at a time. Arrow reads about 32 times as many ahead of what is asked for."""


def write_csv(store: Store, name: str, header: Sequence[str], columns: Sequence[Column]) -> None:
    """Write a CSV file from whole columns; see `open_csv` for the format."""
    with store.create(name) as path, open(path, "wb") as file:
        write_columns(file, header, columns)


def write_columns(file: IO[bytes], header: Sequence[str], columns: Sequence[Column]) -> None:
    """Write a CSV from whole columns to an open file; see `open_csv` for the format."""
    columns = [pa.chunked_array(column) if isinstance(column, list) else column for column in columns]
    make_csv_writer(file, header)(columns)


@contextmanager
def open_csv(store: Store, name: str, header: Sequence[str]) -> Iterator[Callable[[Sequence[Column]], None]]:
    r"""Write a CSV file block by block.

    The format is RFC 4180: UTF-8 (names that are not UTF-8 keep their bytes), `\n` as line end, quotes only where
    needed, floating-point numbers with 6 decimals. Texts that look like a formula are escaped, see `common.formulas`.

    Args:
        store: The work_dir.
        name: File to write.
        header: Names of the columns.

    Yields:
        A function that writes a block: one column of the same length for each name in the header.
    """
    # pyarrow.csv quotes either every string or none. So Arrow joins the cells, and its buffer is written as it is.
    with store.create(name) as path, open(path, "wb") as file:
        yield make_csv_writer(file, header)


def make_csv_writer(file: IO[bytes], header: Sequence[str]) -> Callable[[Sequence[Column]], None]:
    """Write the header of a CSV to an open file; return a function that writes a block, see `open_csv`."""
    file.write(",".join(header).encode() + b"\n")

    def write(columns: Sequence[Column]) -> None:
        for start in range(0, len(columns[0]), ROWS_PER_BLOCK):
            write_block([column[start : start + ROWS_PER_BLOCK] for column in columns])

    def write_block(columns: Sequence[Column]) -> None:
        cells = [
            _format_cells(escape_formulas(column) if name in csv_columns.TEXT_COLUMNS else column)
            for name, column in zip(header, columns, strict=True)
        ]
        rows = pc.binary_join_element_wise(*cells, pa.scalar(b",", TEXT))
        lines = pc.binary_join_element_wise(rows, pa.scalar(b"", TEXT), pa.scalar(b"\n", TEXT))
        for chunk in lines.chunks if isinstance(lines, pa.ChunkedArray) else [lines]:
            offsets = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            file.write(memoryview(chunk.buffers()[2])[offsets[0] : offsets[-1]])

    return write


def _format_cells(column: Column) -> ArrowColumn:
    if isinstance(column, np.ndarray):
        column = pa.array(column)
    if pa.types.is_floating(column.type):
        column = pc.round(column, 6).cast(_NUMBER)
    if not (pa.types.is_large_binary(column.type) or pa.types.is_binary(column.type)):
        column = column.cast(pa.large_string())
    column = pc.fill_null(column.cast(TEXT), b"")
    special = pc.match_substring_regex(column, r'[,"\r\n]')
    if pc.any(special).as_py():
        doubled = pc.replace_substring(column, '"', '""')
        quote = pa.scalar(b'"', TEXT)
        quoted = pc.binary_join_element_wise(quote, doubled, quote, pa.scalar(b"", TEXT))
        column = pc.if_else(special, quoted, column)
    return column


def read_csv(path: AnyPath, header: Sequence[str]) -> pa.Table:
    """Read a CSV file.

    Args:
        path: A local file.
        header: The header that it has to have.

    Returns:
        Its columns as raw bytes (`large_binary`), without the escapes of `common.formulas`.

    Raises:
        DamagedError: The header is another one, or a row has another number of cells.
    """
    return _unescape(_open_arrow_csv(pa.csv.read_csv, path, header, 64 << 20))


def iter_csv(path: AnyPath, header: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read a CSV file as `read_csv` does, block by block."""
    reader = _open_arrow_csv(pa.csv.open_csv, path, header, BYTES_READ)
    with explain_damage(path):
        for rows in regroup(pa.Table.from_batches([batch]) for batch in reader):
            yield from map(_unescape, rows.to_batches())


def _open_arrow_csv(open_with: Callable[..., Any], path: AnyPath, header: Sequence[str], block_size: int) -> Any:
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(header, TEXT), strings_can_be_null=False, quoted_strings_can_be_null=False
    )
    with explain_damage(path):
        table = open_with(
            path,
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=convert,
            read_options=pa.csv.ReadOptions(block_size=block_size),
        )
        names = tuple(table.schema.names)  # only this decodes them, and may raise
    if names != tuple(header):
        raise DamagedError(f"{os.fspath(path)} should have the header {','.join(header)}.")
    return table


def _unescape(rows: _Rows) -> _Rows:
    names = rows.schema.names
    if csv_columns.TEXT_COLUMNS.isdisjoint(names):
        return rows
    columns = [unescape_formulas(rows[name]) if name in csv_columns.TEXT_COLUMNS else rows[name] for name in names]
    return type(rows).from_arrays(columns, names)


def parse_numbers(
    path: AnyPath, table: pa.Table | pa.RecordBatch, name: str, kind: pa.DataType, *, nullable: bool = False
) -> ArrowColumn:
    """Parse a column of a CSV file as numbers.

    Args:
        path: The file, for messages.
        table: What `read_csv` or `iter_csv` gave.
        name: The column.
        kind: Arrow type of the numbers.
        nullable: Read an empty cell as null.

    Returns:
        The column, of type `kind`.

    Raises:
        DamagedError: A cell is not a number of this type, or not finite.
    """
    text = table[name].cast(TEXT)
    if nullable:
        text = pc.if_else(pc.equal(text, b""), None, text)
    try:
        column: ArrowColumn = text.cast(pa.large_string()).cast(kind)
    except pa.ArrowException:
        raise make_damaged_error(path, f"the column {name} must contain numbers only.") from None
    if pa.types.is_floating(kind) and pc.all(pc.is_finite(column)).as_py() is False:
        raise make_damaged_error(path, f"the column {name} must contain finite numbers only.")
    return column


def parse_rows(path: AnyPath, names: ArrowColumn, among: pa.Array) -> IntArray:
    """Find the names in a file as `find_positions` does.

    Args:
        path: The file, for messages.
        names: (m,) names that were read from it.
        among: (n,) names of all images.

    Returns:
        (m,) int64 positions in `among`.

    Raises:
        DamagedError: One of the names does not occur.
    """
    rows = find_positions(names, among)
    if (rows < 0).any():
        raise describe_other_run(path)
    return rows
