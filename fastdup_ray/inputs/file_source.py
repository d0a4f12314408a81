"""Where the bytes of a file are that holds several images: on disk, or in a bucket."""

from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs import local
from fastdup_ray.s3 import Access, is_s3, objects


class FileSource(Protocol):
    """The functions of `local` and `s3.objects` for whole files."""

    def stat(self, uri: str, access: Access, /) -> ImageRef:
        """Return the entry of a file, with size 0 and no token if it cannot be looked up."""

    def is_file(self, uri: str, access: Access, /) -> bool:
        """Return whether there is a file of exactly this name."""

    def open_entry(self, ref: ImageRef, access: Access, /, *, parts: bool) -> AbstractContextManager[BinaryIO]:
        """Open a file, if it is the one that was listed. parts: get only what is read."""

    def open_stream(self, ref: ImageRef, access: Access, /) -> BinaryIO:
        """Open a file, even if it changed since it was listed; the caller closes it."""


def get_file_source(uri: str) -> FileSource:
    """Return the source of a path or URI."""
    return objects if is_s3(uri) else local
