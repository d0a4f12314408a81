"""CSV and parquet, each written in one way for all files."""

import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from fastdup_ray.common import layout
from fastdup_ray.common.formulas import escape_formulas, unescape_formulas
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store

ROWS_PER_BLOCK = 1 << 17
"""Rows that are written at a time: memory does not grow with a file."""

Column = pa.Array | pa.ChunkedArray | np.ndarray
_Rows = TypeVar("_Rows", pa.Table, pa.RecordBatch)

_TEXT = pa.large_binary()
_NUMBER = pa.decimal128(38, 6)


def map_file(file: IO[bytes]) -> pa.Buffer:
    """What was written to a file, read only as it is used; the file may be closed, and be without a name."""
    file.flush()
    size = os.fstat(file.fileno()).st_size
    return pa.py_buffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b"")


def map_table(blocks: Iterable[pa.Table], schema: pa.Schema, file: IO[bytes]) -> pa.Table:
    """The blocks as one table of batches, in a file from which it is mapped."""
    with pa.ipc.new_file(file, schema) as writer:
        for block in blocks:
            writer.write_table(block)
    return pa.ipc.open_file(map_file(file)).read_all()


def take_rows(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Some rows of a table, (m,) in any order; of its batches only those that have them are looked at."""
    batches, order = table.to_batches(), np.argsort(rows, kind="stable")
    starts = np.cumsum([0, *map(len, batches)])
    cuts = np.searchsorted(rows[order], starts)
    parts = [
        batch.take(pa.array(rows[order[low:high]] - start))
        for batch, start, low, high in zip(batches, starts, cuts, cuts[1:], strict=False)
        if low < high
    ]
    found = pa.Table.from_batches(parts, table.schema).combine_chunks()
    return found if np.array_equal(order, np.arange(len(rows))) else found.take(pa.array(np.argsort(order)))


def find_positions(names: pa.Array | pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    """(m,) int64: where each of `names` first stands in `known`, -1 where it does not; what is held is of `names`."""
    names = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
    wanted = names.cast(known.type).dictionary_encode()
    place = np.full(len(wanted.dictionary), -1)
    for start in reversed(range(0, len(known), ROWS_PER_BLOCK)):
        found = pc.index_in(known[start : start + ROWS_PER_BLOCK], wanted.dictionary)
        rows = np.flatnonzero(found.is_valid().to_numpy(False))[::-1]
        place[found.take(pa.array(rows)).to_numpy()] = start + rows
    return place[wanted.indices.to_numpy()]


def encode_names(names: Iterable[str]) -> pa.Array:
    """Names as the bytes that they are on disk."""
    return pa.array([os.fsencode(name) for name in names], _TEXT)


def escape_names(names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    r"""Names for parquet: bytes that are not UTF-8 as `\xNN`."""
    try:
        return names.cast(pa.large_string())
    except pa.ArrowInvalid:
        blocks = (names[start : start + ROWS_PER_BLOCK].to_pylist() for start in range(0, len(names), ROWS_PER_BLOCK))
        told = (
            name if name is None else name.decode("utf-8", "backslashreplace") for block in blocks for name in block
        )
        return pa.array(told, pa.large_string())


def write_csv(store: Store, name: str, header: Sequence[str], columns: Sequence[Column]) -> None:
    """A CSV of whole columns; see `csv_file`."""
    with store.create(name) as path, open(path, "wb") as file:
        write_columns(file, header, columns)


def write_columns(file: BinaryIO, header: Sequence[str], columns: Sequence[Column]) -> None:
    """Write a CSV of whole columns to an open file; see `csv_file`."""
    columns = [pa.chunked_array(column) if isinstance(column, list) else column for column in columns]
    write = _make_csv_writer(file, header)
    for start in range(0, len(columns[0]), ROWS_PER_BLOCK):
        write([column[start : start + ROWS_PER_BLOCK] for column in columns])


@contextmanager
def open_csv(store: Store, name: str, header: Sequence[str]) -> Iterator[Callable[[Sequence[Column]], None]]:
    r"""A CSV that grows by blocks of columns: what it gives writes one.

    RFC 4180, UTF-8 (names that are not keep their bytes), `\n`, quotes only where needed, reals with 6 decimals; see
    `formulas` for texts that look like one.
    `pyarrow.csv` quotes every string or none; so the rows are joined by Arrow, whose buffer then is the file.
    """
    with store.create(name) as path, open(path, "wb") as file:
        yield _make_csv_writer(file, header)


def _make_csv_writer(file: BinaryIO, header: Sequence[str]) -> Callable[[Sequence[Column]], None]:
    file.write(",".join(header).encode() + b"\n")

    def write(columns: Sequence[Column]) -> None:
        cells = [
            _format_cells(escape_formulas(column) if name in layout.TEXT_COLUMNS else column)
            for name, column in zip(header, columns, strict=True)
        ]
        if len(cells[0]) == 0:
            return
        rows = pc.binary_join_element_wise(*cells, pa.scalar(b",", _TEXT))
        ended = pc.binary_join_element_wise(rows, pa.scalar(b"", _TEXT), pa.scalar(b"\n", _TEXT))
        for chunk in ended.chunks if isinstance(ended, pa.ChunkedArray) else [ended]:
            offsets = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            file.write(memoryview(chunk.buffers()[2])[offsets[0] : offsets[-1]])

    return write


def _format_cells(column: Column) -> pa.Array | pa.ChunkedArray:
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


def read_csv(path: str | os.PathLike, header: Sequence[str]) -> pa.Table:
    """The columns of a CSV as raw bytes; raises `DamagedError` where it has not this header or its rows do not fit."""
    return _unescape(_open_arrow_csv(pa.csv.read_csv, path, header, 64 << 20))


def iter_csv(path: str | os.PathLike, header: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The same, block by block."""
    reader = _open_arrow_csv(pa.csv.open_csv, path, header, 8 << 20)
    with explain_damage(path):
        yield from map(_unescape, reader)


def _open_arrow_csv(how: Callable[..., Any], path: str | os.PathLike, header: Sequence[str], block_size: int) -> Any:
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(header, _TEXT), strings_can_be_null=False, quoted_strings_can_be_null=False
    )
    with explain_damage(path):
        table = how(
            path,
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=convert,
            read_options=pa.csv.ReadOptions(block_size=block_size),
        )
        names = tuple(table.schema.names)  # not decoded until now
    if names != tuple(header):
        raise DamagedError(f"{os.fspath(path)} should have the header {','.join(header)}.")
    return table


def _unescape(rows: _Rows) -> _Rows:
    names = rows.schema.names
    if layout.TEXT_COLUMNS.isdisjoint(names):
        return rows
    columns = [unescape_formulas(rows[name]) if name in layout.TEXT_COLUMNS else rows[name] for name in names]
    return type(rows).from_arrays(columns, names)


@contextmanager
def explain_damage(path: str | os.PathLike) -> Iterator[None]:
    """Raise `DamagedError` for content that Arrow refuses; what the disk says of a file is left as it is."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _make_damaged_error(path, error) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _make_damaged_error(path, error) from None


def _make_damaged_error(path: str | os.PathLike, reason: object) -> DamagedError:
    first = next(iter(str(reason).splitlines()), "nothing in it can be read")
    return DamagedError(f"{os.fspath(path)} is damaged: {first}")


def parse_numbers(
    path: str | os.PathLike, table: pa.Table | pa.RecordBatch, name: str, kind: pa.DataType, *, nullable: bool = False
) -> Column:
    """Return a column of a CSV as numbers; raises `DamagedError` for anything else.

    nullable: whether an empty cell is a null.
    """
    text = table[name].cast(_TEXT)
    if nullable:
        text = pc.if_else(pc.equal(text, b""), None, text)
    try:
        column = text.cast(pa.string()).cast(kind)
    except pa.ArrowException:
        raise _make_damaged_error(path, f"the column {name} should hold numbers only.") from None
    if pa.types.is_floating(kind) and pc.all(pc.is_finite(column)).as_py() is False:
        raise _make_damaged_error(path, f"the column {name} should hold finite numbers only.")
    return column


def parse_rows(path: str | os.PathLike, names: pa.Array | pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    """`places_of`; raises `DamagedError` where one of the names in a file is not among the known ones."""
    rows = find_positions(names, known)
    if (rows < 0).any():
        raise describe_other_run(path)
    return rows


def describe_other_run(path: str | os.PathLike) -> DamagedError:
    """What is wrong with a file whose rows do not fit those of the files beside it."""
    return DamagedError(f"{os.fspath(path)} is not of the same run as the files beside it: run again.")


@dataclass(frozen=True)
class TableFormat:
    """The columns of a Parquet file.

    Attributes:
        schema: Their types; texts have offsets of 64 bits, since `pa.string` ends at 2 GiB a column.
        never_null: Columns in which every row has a value.
        optional: Columns that not every run writes, or that an earlier version did not have.
    """

    schema: pa.Schema
    never_null: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()

    def select(self, names: Iterable[str]) -> "TableFormat":
        """Some of the columns."""
        return TableFormat(pa.schema([self.schema.field(name) for name in names]), self.never_null, self.optional)


def read_parquet(path: str | os.PathLike, form: TableFormat) -> pa.Table:
    """Read a table; raises `DamagedError` where it is not of this format."""
    return pa.concat_tables(iter_parquet(path, form))


def iter_parquet(path: str | os.PathLike, form: TableFormat) -> Iterator[pa.Table]:
    """Yield the same in parts of at most `ROWS` rows, one without a row at least."""
    with explain_damage(path), pq.ParquetFile(path, pre_buffer=False) as file:
        schema = _select_columns(path, form, file.schema_arrow)
        yield schema.empty_table()
        for batch in file.iter_batches(ROWS_PER_BLOCK, columns=schema.names):
            table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
            table.validate(full=True)
            for name in form.never_null.intersection(schema.names):
                if table[name].null_count:
                    raise _make_damaged_error(path, f"the column {name} has rows without a value.")
            yield table


def _select_columns(path: str | os.PathLike, form: TableFormat, found: pa.Schema) -> pa.Schema:
    """The columns that the file has; raises `DamagedError` where one is missing, there twice, or of another kind."""
    fields = []
    for field in form.schema:
        places = found.get_all_field_indices(field.name)
        if not places and field.name in form.optional:
            continue
        if len(places) != 1 or not _is_of_kind(found.field(places[0]).type, field.type):
            raise _make_damaged_error(path, f"it should have one column {field.name} of type {field.type}.")
        fields.append(field)
    return pa.schema(fields)


def _is_of_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    kinds = (_is_number, _is_text, pa.types.is_boolean)
    return pa.types.is_null(found) or any(is_kind(found) and is_kind(wanted) for is_kind in kinds)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)  # a cast raises where digits would be lost


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def write_parquet(store: Store, name: str, table: pa.Table) -> None:
    """A whole table; see `parquet_file`."""
    with open_parquet(store, name, table.schema) as write:
        for start in range(0, len(table), ROWS_PER_BLOCK):
            write(table.slice(start, ROWS_PER_BLOCK))


@contextmanager
def open_parquet(store: Store, name: str, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """A parquet file that grows by tables: what it gives writes one, as a row group, of `ROWS` rows but for the last.

    The same bytes for the same tables: zstd, one writer's version, pages with checksums.
    """
    schema = schema.remove_metadata()
    options = {"compression": "zstd", "write_page_checksum": True, "store_schema": False}
    with store.create(name) as path, pq.ParquetWriter(path, schema, **options) as writer:

        def write(table: pa.Table) -> None:
            nonlocal empty
            table = table.replace_schema_metadata(None).combine_chunks()  # else its pages end where chunks do
            writer.write_table(table, ROWS_PER_BLOCK)
            empty = False

        empty = True
        yield write
        if empty:
            writer.write_table(schema.empty_table())
