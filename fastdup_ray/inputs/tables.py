"""Tables, of which the rows are read in groups: files and folders, known by their suffixes."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import pyarrow as pa

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs import lance_table, local
from fastdup_ray.inputs.arrow_table import ArrowTable
from fastdup_ray.inputs.file_source import get_file_source
from fastdup_ray.inputs.parquet_table import ParquetTable


class Table(Protocol):
    """The rows of an open table.

    Attributes:
        schema: The columns.
        starts: The number of the first row of each group, and at the end the number of all rows.
    """

    schema: pa.Schema
    starts: Sequence[int]

    def iter_batches(self, group: int, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a group, at most `size` at a time.

        Raises:
            pa.ArrowException, OSError, ValueError: The table is damaged.
        """


class TableKind(Protocol):
    """A kind of table: where it is, and how it is opened."""

    def exists(self, path: str, access: Access, /) -> bool:
        """Return whether there is a table of exactly this name."""

    def stat(self, path: str, access: Access, /) -> ImageRef:
        """Return the entry of a table, with size 0 and no token if it cannot be looked up."""

    def is_unchanged(self, file: ImageRef, /) -> bool:
        """Return whether a table is as it was listed, as far as that has to be asked before it is read."""

    def open_table(self, file: ImageRef, access: Access, /) -> Table:
        """Open a table.

        Raises:
            pa.ArrowException, OSError, ValueError: It is damaged, or cannot be read.
            BadImageError: It cannot be read.
        """


@dataclass(frozen=True)
class _FileKind:
    """A file, on disk or in a bucket."""

    read: Callable[[BinaryIO], Table]

    def exists(self, path: str, access: Access) -> bool:
        return get_file_source(path).is_file(path, access)

    def stat(self, path: str, access: Access) -> ImageRef:
        return get_file_source(path).stat(path, access)

    def is_unchanged(self, file: ImageRef) -> bool:
        return is_remote(file.uri) or local.stat(file.uri) == file  # objects are checked with each request

    def open_table(self, file: ImageRef, access: Access) -> Table:
        return self.read(get_file_source(file.uri).open_stream(file, access))


_KINDS: dict[str, TableKind] = {
    ".parquet": _FileKind(ParquetTable),
    ".pq": _FileKind(ParquetTable),
    ".arrow": _FileKind(ArrowTable),
    ".lance": lance_table,
}


def is_table_name(name: str) -> bool:
    """Return whether a name has the suffix of a table."""
    return _get_suffix(name) in _KINDS


def is_table(path: str, access: Access) -> bool:
    """Return whether there is a table of exactly this name."""
    return is_table_name(path) and get_table_kind(path).exists(path, access)


def get_table_kind(name: str) -> TableKind:
    """Return the kind of a table by its name, for which `is_table_name` is true."""
    return _KINDS[_get_suffix(name)]


def _get_suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
