"""Read and write Parquet files: one layout for all of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, AnyPath, explain_damage, make_damaged_error, map_table


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
                    raise make_damaged_error(path, f"the column {name} has empty values.")
            yield table


def map_parquet(path: AnyPath, form: TableFormat, file: IO[bytes], columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file as `read_parquet` does, and map its content from another file; see `map_table`.

    Args:
        path: A local file.
        form: The format that it has to have.
        file: An empty file, such as `Store.scratch` gives.
        columns: Those to return; None: all. Columns that the file lacks are left out.
    """
    blocks = iter_parquet(path, form)
    first = next(blocks)
    names = [name for name in first.column_names if columns is None or name in columns]
    tables = (table.select(names) for table in chain([first], blocks))
    return map_table(tables, first.select(names).schema, file)


def _select_columns(path: AnyPath, form: TableFormat, stored: pa.Schema) -> pa.Schema:
    """Return the schema of those columns of the format that the file has; raise `DamagedError` if one does not fit."""
    fields = []
    for field in form.schema:
        indices = stored.get_all_field_indices(field.name)
        if not indices and field.name in form.optional:
            continue
        if len(indices) != 1 or not _is_of_kind(stored.field(indices[0]).type, field.type):
            raise make_damaged_error(path, f"it must have one column {field.name} of type {field.type}.")
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
    with store.create(name) as path, open_parquet_file(path, schema) as write:
        yield write


@contextmanager
def open_parquet_file(path: AnyPath, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Write a Parquet file to a local path, as `open_parquet` does."""
    schema = schema.remove_metadata()
    options = {"compression": "zstd", "write_page_checksum": True, "store_schema": False}
    empty = True
    with pq.ParquetWriter(path, schema, **options) as writer:

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
