"""Where the bytes of an entry come from: a module for each kind of source.

A new scheme starts with a module that has the functions of `Source`, and a line in `get_source`. That is not all: S3 is
the only remote source and the only remote store so far, and everything else that treats remote names differently asks
`is_s3`. A new scheme also needs a listing (`inputs/__init__.py`), has to be accepted by `config.py` and `list_file.py`,
and has to be known to archives, read-ahead, the estimate and `curation`, which compares and moves files. The table
"Where to change what" in docs/architecture.md names the places.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from os import fsdecode
from typing import BinaryIO, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import BoolArray
from fastdup_ray.common.records import ImageRef, LoadedRef
from fastdup_ray.inputs import archive, local, parquet_rows
from fastdup_ray.inputs.suffixes import is_archive_name
from fastdup_ray.inputs.video import split_frame
from fastdup_ray.s3 import DEFAULT_ACCESS, Access, is_s3, objects

ReadEntry: TypeAlias = Callable[[ImageRef], bytes]
"""Returns all bytes of an entry; raises `BadImageError` if it cannot be read. Can be sent to another process."""


class Source(Protocol):
    """A kind of source, such as local files or S3."""

    def stat(self, uri: str, access: Access, /) -> ImageRef:
        """Return the entry of a name, with size 0 and no token if it cannot be looked up."""

    def open_entry(self, ref: ImageRef, access: Access, /) -> AbstractContextManager[BinaryIO]:
        """Open a seekable file for reading.

        Raises:
            BadImageError: with the reason why it cannot be read.
        """


def get_source(uri: str, access: Access = DEFAULT_ACCESS) -> Source:
    """Return the source of a name. On disk, an existing path takes precedence over an archive in it."""
    remote = is_s3(uri)
    if "!/" in uri and (remote or not os.path.lexists(uri)) and archive.split_member(uri, access):
        return archive
    if "!/" in uri and (remote or not os.path.lexists(uri)) and parquet_rows.split_row(uri, access):
        return parquet_rows
    if is_archive_name(uri):
        return archive
    if parquet_rows.is_parquet_name(uri):
        return parquet_rows
    return objects if remote else local


def is_file(uri: str, access: Access = DEFAULT_ACCESS) -> bool:
    """Return whether there is a file, or an object, of exactly this name."""
    return objects.is_file(uri, access) if is_s3(uri) else local.is_file(uri)


def find_frame(uri: str, access: Access = DEFAULT_ACCESS) -> tuple[str, int | None]:
    """Split the name of a frame into the video and milliseconds; return any other name with None."""
    parts = split_frame(uri)
    return (uri, None) if parts is None or get_source(uri, access).stat(uri, access).mtime_or_etag else parts


def is_standalone_file(uri: str, access: Access = DEFAULT_ACCESS) -> bool:
    """Return whether an image is a separate file: not in an archive, a Parquet file or a video."""
    if split_frame(uri) is not None:
        return False
    return "!/" not in uri or (archive.split_member(uri, access) or parquet_rows.split_row(uri, access)) is None


def find_standalone(names: pa.Array | pa.ChunkedArray, access: Access = DEFAULT_ACCESS) -> BoolArray:
    """Return (n,) bool: whether each of n raw names is that of a standalone file, see `is_standalone_file`."""
    inside = pc.or_(pc.match_substring(names, "!/"), pc.match_substring(names, "#t="))
    standalone = np.ones(len(names), bool)
    for row in np.flatnonzero(np.asarray(inside)).tolist():
        standalone[row] = is_standalone_file(fsdecode(names[row].as_py()), access)
    return standalone


def stat(uri: str, access: Access = DEFAULT_ACCESS) -> ImageRef:
    """Return the entry of a name, which may be that of a frame; see `Source.stat`."""
    file, _ = find_frame(uri, access)
    return replace(get_source(file, access).stat(file, access), uri=uri)


@contextmanager
def open_entry(ref: ImageRef, access: Access = DEFAULT_ACCESS) -> Iterator[BinaryIO]:
    """Open the file of an entry, or of the video that it is a frame of; of a `LoadedRef`, its bytes.

    Args:
        ref: the entry, as it was listed. Without a token, the file is read as it is now.
        access: how buckets are accessed.

    Yields:
        A seekable file.

    Raises:
        BadImageError: where it cannot be read, or changed since it was listed.
    """
    if isinstance(ref, LoadedRef):
        yield io.BytesIO(ref.data)
        return
    file, _ = find_frame(ref.uri, access)
    with get_source(file, access).open_entry(replace(ref, uri=file), access) as stream:
        yield stream


def read_entry(ref: ImageRef, access: Access = DEFAULT_ACCESS) -> bytes:
    """Return all bytes of an entry; see `open_entry`."""
    with open_entry(ref, access) as file:
        return file.read()


def make_reader(access: Access) -> ReadEntry:
    """Return `read_entry` for one way to access buckets."""
    return partial(read_entry, access=access)
