"""Where the bytes of an entry are: a scheme, a module that knows it.

A new kind of place is one file here with `stat` and `opened`, and one line in `source_of`.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import BinaryIO, Protocol

from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs import archive, local
from fastdup_ray.inputs.suffixes import is_archive_name
from fastdup_ray.inputs.video import split_frame
from fastdup_ray.s3 import DEFAULT_ACCESS, Access, is_s3, objects


class Source(Protocol):
    """A kind of place."""

    def stat(self, uri: str, access: Access, /) -> ImageRef:
        """The entry of a name; one that cannot be looked at has size 0 and no token."""

    def open_entry(self, ref: ImageRef, access: Access, /) -> AbstractContextManager[BinaryIO]:
        """A file to read from, which can seek; raises `BadImageError` with the reason why it cannot be read."""


def get_source(uri: str, access: Access = DEFAULT_ACCESS) -> Source:
    """Who knows a name. On disk, what exists under a whole name goes before what its parts may mean."""
    remote = is_s3(uri)
    if "!/" in uri and (remote or not os.path.lexists(uri)) and archive.split_member(uri, access):
        return archive
    if is_archive_name(uri):
        return archive
    return objects if remote else local


def is_file(uri: str, access: Access = DEFAULT_ACCESS) -> bool:
    """Whether there is a file, or an object, of exactly this name."""
    return objects.is_file(uri, access) if is_s3(uri) else local.is_file(uri)


def find_frame(uri: str, access: Access = DEFAULT_ACCESS) -> tuple[str, int | None]:
    """The video and the milliseconds that the name of a frame means; any other name, and None."""
    parts = split_frame(uri)
    return (uri, None) if parts is None or get_source(uri, access).stat(uri, access).mtime_or_etag else parts


def is_standalone_file(uri: str, access: Access = DEFAULT_ACCESS) -> bool:
    """Whether a picture is a file of its own; what stands in an archive or is a frame of a video is none."""
    return split_frame(uri) is None and ("!/" not in uri or archive.split_member(uri, access) is None)


def stat(uri: str, access: Access = DEFAULT_ACCESS) -> ImageRef:
    """The entry of a name, frames of videos included."""
    file, _ = find_frame(uri, access)
    return replace(get_source(file, access).stat(file, access), uri=uri)


@contextmanager
def open_entry(ref: ImageRef, access: Access = DEFAULT_ACCESS) -> Iterator[BinaryIO]:
    """The file of an entry, or that of the video whose frame it is; see `Source`."""
    file, _ = find_frame(ref.uri, access)
    with get_source(file, access).open_entry(replace(ref, uri=file), access) as stream:
        yield stream


def read_entry(ref: ImageRef, access: Access = DEFAULT_ACCESS) -> bytes:
    """All bytes of it."""
    with open_entry(ref, access) as file:
        return file.read()
