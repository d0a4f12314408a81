"""Read and write CSV and Parquet files: one dialect and one layout for all of them."""

import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from fastdup_ray.common import csv_columns
from fastdup_ray.common.arrays import AnyArray, IntArray
from fastdup_ray.common.formulas import escape_formulas, unescape_formulas
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store

ROWS_PER_BLOCK = 1 << 17
"""Rows that are read or written at a time, so that memory does not grow with the file."""

ROWS_PER_GROUP = 1 << 15
"""Rows of small tables that are joined."""

AnyPath: TypeAlias = str | os.PathLike[str]
ArrowColumn: TypeAlias = pa.Array | pa.ChunkedArray
Column: TypeAlias = ArrowColumn | AnyArray
_Rows = TypeVar("_Rows", pa.Table, pa.RecordBatch)

_TEXT = pa.large_binary()
_NUMBER = pa.decimal128(38, 6)


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


def encode_names(names: Iterable[str]) -> pa.Array:
    """Return names as a column of the bytes that they have on disk."""
    return pa.array([os.fsencode(name) for name in names], _TEXT)


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
        rows = pc.binary_join_element_wise(*cells, pa.scalar(b",", _TEXT))
        lines = pc.binary_join_element_wise(rows, pa.scalar(b"", _TEXT), pa.scalar(b"\n", _TEXT))
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
    column = pc.fill_null(column.cast(_TEXT), b"")
    special = pc.match_substring_regex(column, r'[,"\r\n]')
    if pc.any(special).as_py():
        doubled = pc.replace_substring(column, '"', '""')
        quote = pa.scalar(b'"', _TEXT)
        quoted = pc.binary_join_element_wise(quote, doubled, quote, pa.scalar(b"", _TEXT))
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
    reader = _open_arrow_csv(pa.csv.open_csv, path, header, 8 << 20)
    with explain_damage(path):
        yield from map(_unescape, reader)


def _open_arrow_csv(open_with: Callable[..., Any], path: AnyPath, header: Sequence[str], block_size: int) -> Any:
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(header, _TEXT), strings_can_be_null=False, quoted_strings_can_be_null=False
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


@contextmanager
def explain_damage(path: AnyPath) -> Iterator[None]:
    """Turn Arrow's errors about the content of a file into `DamagedError`; other errors of the disk pass."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _make_damaged_error(path, error) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _make_damaged_error(path, error) from None


def _make_damaged_error(path: AnyPath, reason: object) -> DamagedError:
    first = next(iter(str(reason).splitlines()), "it cannot be read")
    return DamagedError(f"{os.fspath(path)} is damaged: {first}")


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
    text = table[name].cast(_TEXT)
    if nullable:
        text = pc.if_else(pc.equal(text, b""), None, text)
    try:
        column: ArrowColumn = text.cast(pa.large_string()).cast(kind)
    except pa.ArrowException:
        raise _make_damaged_error(path, f"the column {name} must contain numbers only.") from None
    if pa.types.is_floating(kind) and pc.all(pc.is_finite(column)).as_py() is False:
        raise _make_damaged_error(path, f"the column {name} must contain finite numbers only.")
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


def describe_other_run(path: AnyPath) -> DamagedError:
    """Return the error for a file whose rows do not match those of the files beside it."""
    return DamagedError(f"{os.fspath(path)} is from another run than the files beside it; run again.")


@dataclass(frozen=True)
class TableFormat:
    """The columns of a Parquet file.

    Attributes:
        schema: Names and types. Texts are `large_string`, since a column of `pa.string` is limited to 2 GiB.
        never_null: Columns in which every row has a value.
        optional: Columns that not every run writes, or that earlier versions did not have.
    """

    schema: pa.Schema
    never_null: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()

    def select(self, names: Iterable[str]) -> "TableFormat":
        """Return the format of some of the columns."""
        return TableFormat(pa.schema([self.schema.field(name) for name in names]), self.never_null, self.optional)


def read_parquet(path: AnyPath, form: TableFormat) -> pa.Table:
    """Read a Parquet file.

    Args:
        path: A local file.
        form: The format that it has to have. Other columns are ignored.

    Returns:
        The columns of the format, without the optional ones that the file lacks.

    Raises:
        DamagedError: The file has another format, or is damaged.
    """
    return pa.concat_tables(iter_parquet(path, form))


def iter_parquet(path: AnyPath, form: TableFormat) -> Iterator[pa.Table]:
    """Read a Parquet file as `read_parquet` does, in parts.

    Yields:
        An empty table, then tables of at most `ROWS_PER_BLOCK` rows.
    """
    with explain_damage(path), pq.ParquetFile(path, pre_buffer=False) as file:
        schema = _select_columns(path, form, file.schema_arrow)
        yield schema.empty_table()
        for batch in file.iter_batches(ROWS_PER_BLOCK, columns=schema.names):
            table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
            table.validate(full=True)
            for name in form.never_null.intersection(schema.names):
                if table[name].null_count:
                    raise _make_damaged_error(path, f"the column {name} has empty values.")
            yield table


def map_parquet(path: AnyPath, form: TableFormat, file: IO[bytes]) -> pa.Table:
    """Read a Parquet file as `read_parquet` does, and map its content from another file; see `map_table`."""
    blocks = iter_parquet(path, form)
    first = next(blocks)
    return map_table(chain([first], blocks), first.schema, file)


def _select_columns(path: AnyPath, form: TableFormat, stored: pa.Schema) -> pa.Schema:
    """Return the schema of those columns of the format that the file has; raise `DamagedError` if one does not fit."""
    fields = []
    for field in form.schema:
        indices = stored.get_all_field_indices(field.name)
        if not indices and field.name in form.optional:
            continue
        if len(indices) != 1 or not _is_of_kind(stored.field(indices[0]).type, field.type):
            raise _make_damaged_error(path, f"it must have one column {field.name} of type {field.type}.")
        fields.append(field)
    return pa.schema(fields)


def _is_of_kind(stored: pa.DataType, expected: pa.DataType) -> bool:
    kinds = (_is_number, _is_text, _is_binary, pa.types.is_boolean)
    return pa.types.is_null(stored) or any(is_kind(stored) and is_kind(expected) for is_kind in kinds)


def _is_number(kind: pa.DataType) -> bool:
    # Any number will do, since the cast raises if digits would be lost.
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def write_parquet(store: Store, name: str, table: pa.Table) -> None:
    """Write a whole table as a Parquet file; see `open_parquet`."""
    with open_parquet(store, name, table.schema) as write:
        for start in range(0, len(table), ROWS_PER_BLOCK):
            write(table.slice(start, ROWS_PER_BLOCK))


@contextmanager
def open_parquet(store: Store, name: str, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Write a Parquet file table by table.

    The same tables give the same bytes: compressed with zstd, with page checksums, without metadata.

    Args:
        store: The work_dir.
        name: File to write.
        schema: Schema of all tables.

    Yields:
        A function that writes a table. Each but the last should have `ROWS_PER_BLOCK` rows, which make a row group.
    """
    schema = schema.remove_metadata()
    options = {"compression": "zstd", "write_page_checksum": True, "store_schema": False}
    empty = True
    with store.create(name) as path, pq.ParquetWriter(path, schema, **options) as writer:

        def write(table: pa.Table) -> None:
            nonlocal empty
            table = table.replace_schema_metadata(
                None
            ).combine_chunks()  # otherwise the pages would end where chunks end
            writer.write_table(table, ROWS_PER_BLOCK)
            empty = False

        yield write
        if empty:
            writer.write_table(schema.empty_table())
