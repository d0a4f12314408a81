"""Images in the rows of tables, one in each row, as datasets of Hugging Face have them.

An image is named `data.parquet!/00000012-cat.jpg`: by the number of its row, and by the name that the row has for it,
if there is one. The token of an entry has the token and the size of the file, and the number of the row.
"""

import io
import os
import posixpath
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

import pyarrow as pa

from fastdup_ray.common.access import Access
from fastdup_ray.common.path_lists import find_column
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, ErrorCode, InputError
from fastdup_ray.inputs.image_columns import find_image_columns, is_text
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.tables import Table, get_table_kind, is_table

_ROWS_AT_ONCE, _KEPT = 16, 8
"""Rows that are read at a time, and how many times as many are kept for threads that read ahead of each other."""

_PATHS_AT_ONCE = 1 << 16

_LONGEST_NAME = 120

_SHOWN = 10
"""Columns that a message names."""

_MEMBER = re.compile(r"(\d{8,})(?:-[^/]*)?")


def split_row(uri: str, access: Access) -> tuple[str, int] | None:
    """Split a name into an existing table and the number of a row; None if it is not the name of a row."""
    path, separator, member = uri.rpartition("!/")
    match = _MEMBER.fullmatch(member) if separator else None
    return (path, int(match[1])) if match and is_table(path, access) else None


def read_paths(path: str, access: Access) -> list[str] | None:
    """Return the paths in a file that has no images but a column of paths; None if it has images.

    Raises:
        InputError: It has neither, or cannot be read.
    """
    try:
        kind = get_table_kind(path)
        table = kind.open_table(kind.stat(path, access), access)
        if find_image_columns(table.schema) is not None:
            return None
        column = _find_path_column(path, table.schema)
        values = list(_iter_values(table, column))
    except (pa.ArrowException, OSError, ValueError) as error:
        suffix = os.path.splitext(path)[1]
        raise InputError(f"{path!r} is not a {suffix} file, or damaged: {_shorten(error)}.") from None
    except BadImageError as error:
        raise InputError(f"{path!r} cannot be read: {error.message}.") from None
    folder = path.rpartition("/")[0]
    return [value if "://" in value or os.path.isabs(value) else f"{folder}/{value}" for value in values]


def _iter_values(table: Table, column: str) -> Iterator[str]:
    for group in range(len(table.starts) - 1):
        for batch in table.iter_batches(group, [column], _PATHS_AT_ONCE):
            yield from filter(None, batch.column(0).to_pylist())


def _find_path_column(path: str, schema: pa.Schema) -> str:
    try:
        return str(find_column([field.name for field in schema if is_text(field.type)]))
    except ValueError:
        names = ", ".join(schema.names[:_SHOWN])
        raise InputError(f"{path!r} has no column of images or of paths; its columns are {names or 'none'}.") from None


def list_rows(path: str, access: Access, skipped: SkippedFiles | None = None) -> Iterator[ImageRef]:
    """List the images of a file, in its order.

    Args:
        path: The path or URI of the file.
        access: How buckets are accessed.
        skipped: If given, counts the file if it has no images, instead of listing it.

    Yields:
        The entries; if the file is damaged, the last one is the file itself: reading it gives the reason.
    """
    file = get_table_kind(path).stat(path, access)
    try:
        for row, (name, data) in enumerate(_RowReader(file, access).iter_rows()):
            yield _make_ref(file, row, name, len(data))
    except BadImageError as error:
        if skipped is not None and error.code is ErrorCode.NOT_AN_IMAGE:
            skipped.add(path)
        else:
            yield file


def stat(uri: str, access: Access) -> ImageRef:
    """Return the entry of a row, or of the file itself; with size 0 and no token if there is no such row."""
    parts = split_row(uri, access)
    if parts is None:
        return get_table_kind(uri).stat(uri, access)
    path, row = parts
    file = get_table_kind(path).stat(path, access)
    try:
        name, data = _open_reader(file, access).read(row)
    except BadImageError:
        return ImageRef(uri, 0, "")
    ref = _make_ref(file, row, name, len(data))
    return ref if ref.uri == uri else ImageRef(uri, 0, "")


@contextmanager
def open_entry(ref: ImageRef, access: Access) -> Iterator[BinaryIO]:
    """Open the image in a row, if the file is the one that was listed.

    Raises:
        BadImageError: It cannot be read; for the file itself, the reason why it is damaged.
    """
    parts = split_row(ref.uri, access)
    if parts is None:
        for _ in _RowReader(get_table_kind(ref.uri).stat(ref.uri, access), access).iter_rows():
            pass
        raise BadImageError(ErrorCode.CHANGED, "the file is whole by now")
    path, row = parts
    if not ref.mtime_or_etag:
        ref = stat(ref.uri, access)
    if not ref.mtime_or_etag:
        raise BadImageError(ErrorCode.MISSING, "the file has no such row")
    token, size, _ = ref.mtime_or_etag.rsplit(":", 2)
    file = ImageRef(path, int(size), token)
    if not get_table_kind(path).is_unchanged(file):
        raise BadImageError(ErrorCode.CHANGED, "the file changed after it was listed")
    yield io.BytesIO(_open_reader(file, access).read(row)[1])


def _make_ref(file: ImageRef, row: int, name: str, size: int) -> ImageRef:
    shown = f"{row:08d}-{name}" if name else f"{row:08d}"
    return ImageRef(f"{file.uri}!/{shown}", size, f"{file.mtime_or_etag}:{file.size}:{row}")


@lru_cache(maxsize=4)
def _open_reader(file: ImageRef, access: Access) -> "_RowReader":
    return _RowReader(file, access)


class _RowReader:
    """Reads rows of one file, those that follow each other without reading any twice. Threads may share it."""

    def __init__(self, file: ImageRef, access: Access) -> None:
        self._lock = threading.Lock()
        self._kept: deque[tuple[int, list[tuple[str, bytes]]]] = deque(maxlen=_KEPT)
        self._batches: Iterator[list[tuple[str, bytes]]] = iter(())
        self._next = self._end = 0
        with _explain_damage():
            self._table = get_table_kind(file.uri).open_table(file, access)
        columns = find_image_columns(self._table.schema)
        if columns is None:
            raise BadImageError(ErrorCode.NOT_AN_IMAGE, "a table without a column of images")
        self._columns = columns
        self._starts = self._table.starts

    def iter_rows(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the bytes of each row.

        Raises:
            BadImageError: The file is damaged.
        """
        for group in range(len(self._starts) - 1):
            for batch in self._iter_batches(group):
                yield from batch

    def read(self, row: int) -> tuple[str, bytes]:
        """Return the name and the bytes of a row.

        Raises:
            BadImageError: There is no such row, or the file is damaged.
        """
        if row >= self._starts[-1]:
            raise BadImageError(ErrorCode.MISSING, "the file has no such row")
        with self._lock:
            while True:
                for start, rows in self._kept:
                    if start <= row < start + len(rows):
                        return rows[row - start]
                if not self._next <= row < self._end:
                    self._go_to_group_of(row)
                rows = next(self._batches)
                self._kept.append((self._next, rows))
                self._next += len(rows)

    def _go_to_group_of(self, row: int) -> None:
        group = next(number for number, end in enumerate(self._starts[1:]) if row < end)
        self._next, self._end = self._starts[group : group + 2]
        self._batches = self._iter_batches(group)

    def _iter_batches(self, group: int) -> Iterator[list[tuple[str, bytes]]]:
        columns = [name for name in (self._columns.image, self._columns.name) if name is not None]
        with _explain_damage():
            for batch in self._table.iter_batches(group, columns, _ROWS_AT_ONCE):
                yield [self._read_row(row) for row in batch.to_pylist()]

    def _read_row(self, row: dict[str, Any]) -> tuple[str, bytes]:
        image, name = row[self._columns.image], None if self._columns.name is None else row[self._columns.name]
        if self._columns.is_struct:
            image, name = (None, name) if image is None else (image["bytes"], image.get("path") or name)
        return _clean_name(name), image or b""


@contextmanager
def _explain_damage() -> Iterator[None]:
    """Raise `BadImageError` for what pyarrow raises on a damaged file."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise BadImageError(ErrorCode.MISSING, "the file does not exist") from None
        raise BadImageError(ErrorCode.CORRUPT, f"its file is broken: {_shorten(error)}") from None


def _clean_name(name: object) -> str:
    """Return the last part of a name, without what would make it the name of a row in a file in a file."""
    text = posixpath.basename(str(name if name is not None else "").replace("\\", "/"))
    return re.sub(r"[\x00-\x1f]", "_", text)[-_LONGEST_NAME:].encode("utf-8", "replace").decode()


def _shorten(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
