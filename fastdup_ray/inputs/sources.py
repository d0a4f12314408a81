"""Where the bytes of an entry come from: a module for each kind of source.

`file_source` has the sources of whole files; an image may also be a part of one, such as a member of an archive.
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

from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.arrays import BoolArray
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.records import ImageRef, LoadedRef
from fastdup_ray.inputs import archive, table_rows
from fastdup_ray.inputs.file_source import get_file_source
from fastdup_ray.inputs.suffixes import is_archive_name
from fastdup_ray.inputs.tables import is_table_name
from fastdup_ray.inputs.video import split_frame

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
    remote = is_remote(uri)
    if "!/" in uri and (remote or not os.path.lexists(uri)) and archive.split_member(uri, access):
        return archive
    if "!/" in uri and (remote or not os.path.lexists(uri)) and table_rows.split_row(uri, access):
        return table_rows
    if is_archive_name(uri):
        return archive
    if is_table_name(uri):
        return table_rows
    return get_file_source(uri)


def is_file(uri: str, access: Access = DEFAULT_ACCESS) -> bool:
    """Return whether there is a file, or an object, of exactly this name."""
    return get_file_source(uri).is_file(uri, access)


def find_frame(uri: str, access: Access = DEFAULT_ACCESS) -> tuple[str, int | None]:
    """Split the name of a frame into the video and milliseconds; return any other name with None."""
    parts = split_frame(uri)
    return (uri, None) if parts is None or get_source(uri, access).stat(uri, access).mtime_or_etag else parts


def is_standalone_file(uri: str, access: Access = DEFAULT_ACCESS) -> bool:
    """Return whether an image is a separate file: not in an archive, a table or a video."""
    if split_frame(uri) is not None:
        return False
    return "!/" not in uri or (archive.split_member(uri, access) or table_rows.split_row(uri, access)) is None


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
