"""CSV and parquet, each written in one way for all files."""

import os
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store

_TEXT = pa.large_binary()
_NUMBER = pa.decimal128(38, 6)


def encoded(names: Iterable[str]) -> pa.Array:
    """Names as the bytes that they are on disk."""
    return pa.array([os.fsencode(name) for name in names], _TEXT)


def printable_column(names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    r"""Names for parquet: bytes that are not UTF-8 as `\xNN`."""
    try:
        return names.cast(pa.large_string())
    except pa.ArrowInvalid:
        return pa.array([name.decode("utf-8", "backslashreplace") for name in names.to_pylist()], pa.large_string())


def write_csv(store: Store, name: str, header: Sequence[str], columns: Sequence[pa.Array | np.ndarray]) -> None:
    r"""RFC 4180, UTF-8 (names that are not keep their bytes), `\n`, quotes only where needed, reals with 6 decimals.

    `pyarrow.csv` quotes every string or none; so the rows are joined by Arrow, whose buffer then is the file.
    """
    cells = [_cells(pa.chunked_array(column) if isinstance(column, list) else column) for column in columns]
    with store.create(name) as path, open(path, "wb") as file:
        file.write(",".join(header).encode() + b"\n")
        if len(cells[0]) == 0:
            return
        rows = pc.binary_join_element_wise(*cells, pa.scalar(b",", _TEXT))
        ended = pc.binary_join_element_wise(rows, pa.scalar(b"", _TEXT), pa.scalar(b"\n", _TEXT))
        for chunk in ended.chunks if isinstance(ended, pa.ChunkedArray) else [ended]:
            offsets = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            file.write(memoryview(chunk.buffers()[2])[offsets[0] : offsets[-1]])


def _cells(column: pa.Array | pa.ChunkedArray | np.ndarray) -> pa.Array | pa.ChunkedArray:
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
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.binary()), strings_can_be_null=False, quoted_strings_can_be_null=False
    )
    try:
        table = pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=convert,
            read_options=pa.csv.ReadOptions(block_size=64 << 20),
        )
    except pa.ArrowInvalid as error:
        raise DamagedError(f"{os.fspath(path)} is damaged: {str(error).splitlines()[0]}") from None
    if tuple(table.column_names) != tuple(header):
        raise DamagedError(f"{os.fspath(path)} should have the header {','.join(header)}.")
    return table


def write_parquet(store: Store, name: str, table: pa.Table) -> None:
    """The same bytes for the same table: zstd, one writer's version, pages with checksums."""
    with store.create(name) as path:
        pq.write_table(
            table.replace_schema_metadata(None), path, compression="zstd", write_page_checksum=True, store_schema=False
        )
