"""Where the bytes of an entry come from: a module for each kind of source.

`file_source` has the sources of whole files; an image may also be a part of one, such as a member of an archive.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from os import fsdecode
from typing import BinaryIO, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.arrays import BoolArray
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.records import AnyBox, ImageRef, LoadedRef
from fastdup_ray.inputs import archive, table_rows
from fastdup_ray.inputs.boxes import hash_box, split_box
from fastdup_ray.inputs.file_source import get_file_source
from fastdup_ray.inputs.suffixes import is_archive_name
from fastdup_ray.inputs.tables import is_table_name
from fastdup_ray.inputs.video import hash_frame, split_frame

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


@dataclass(frozen=True, slots=True)
class Part:
    """What the name of an image says: the file, and which part of it is the image.

    Attributes:
        file: Path or URI of the file.
        milliseconds: Of a frame of a video, its time.
        box: Of a box of a photo, the box.
    """

    file: str
    milliseconds: int | None = None
    box: AnyBox | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the image is the whole file."""
        return self.milliseconds is None and self.box is None

    def hash(self, sha256: str) -> str:
        """Return the digest of the image, in hex, from that of the file."""
        if self.box is not None:
            return hash_box(sha256, self.box)
        return sha256 if self.milliseconds is None else hash_frame(sha256, self.milliseconds)


def find_part(uri: str, access: Access = DEFAULT_ACCESS) -> Part:
    """Split the name of a frame or a box; any other name is that of a whole file, and so is one that exists on disk."""
    if "#" not in uri:
        return Part(uri)
    if (part := find_box(uri)) is not None:
        return part
    frame = split_frame(uri)
    if frame is None or get_source(uri, access).stat(uri, access).mtime_or_etag:
        return Part(uri)
    return Part(frame[0], frame[1])


def find_box(uri: str) -> Part | None:
    """Split the name of a box into photo and box; None for other names, and for one that exists on disk."""
    parts = split_box(uri)
    return None if parts is None or (not is_remote(uri) and os.path.lexists(uri)) else Part(parts[0], box=parts[1])


def get_box(uri: str) -> AnyBox | None:
    """Return the box that a name says; None for all other names."""
    part = find_box(uri)
    return None if part is None else part.box


def is_standalone_file(uri: str, access: Access = DEFAULT_ACCESS) -> bool:
    """Return whether an image is a separate file: not in an archive or a table, no frame and no box."""
    if split_frame(uri) is not None or find_box(uri) is not None:
        return False
    return "!/" not in uri or (archive.split_member(uri, access) or table_rows.split_row(uri, access)) is None


def find_standalone(names: pa.Array | pa.ChunkedArray, access: Access = DEFAULT_ACCESS) -> BoolArray:
    """Return (n,) bool: whether each of n raw names is that of a standalone file, see `is_standalone_file`."""
    inside = pc.match_substring_regex(names, "!/|#t=|#xywh=")
    standalone = np.ones(len(names), bool)
    for row in np.flatnonzero(np.asarray(inside)).tolist():
        standalone[row] = is_standalone_file(fsdecode(names[row].as_py()), access)
    return standalone


def find_boxes(names: pa.Array | pa.ChunkedArray) -> BoolArray:
    """Return (n,) bool: whether each of n raw names is that of a box of a photo."""
    boxes = np.zeros(len(names), bool)
    for row in np.flatnonzero(np.asarray(pc.match_substring(names, "#xywh="))).tolist():
        boxes[row] = find_box(fsdecode(names[row].as_py())) is not None
    return boxes


def stat(uri: str, access: Access = DEFAULT_ACCESS) -> ImageRef:
    """Return the entry of a name, which may be that of a frame or a box; see `Source.stat`."""
    file = find_part(uri, access).file
    return replace(get_source(file, access).stat(file, access), uri=uri)


@contextmanager
def open_entry(ref: ImageRef, access: Access = DEFAULT_ACCESS) -> Iterator[BinaryIO]:
    """Open the file of an entry, or that it is a part of: a video or a photo; of a `LoadedRef`, its bytes.

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
    file = find_part(ref.uri, access).file
    with get_source(file, access).open_entry(replace(ref, uri=file), access) as stream:
        yield stream


def read_entry(ref: ImageRef, access: Access = DEFAULT_ACCESS) -> bytes:
    """Return all bytes of an entry; see `open_entry`."""
    with open_entry(ref, access) as file:
        return file.read()


def make_reader(access: Access) -> ReadEntry:
    """Return `read_entry` for one way to access buckets."""
    return partial(read_entry, access=access)
