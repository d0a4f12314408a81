"""Where the bytes of a file are that a path or URI names: on disk, in a bucket, on a web server.

To read another scheme, add a module or an object with the functions of `RemoteSource`, and a line in `_import_source`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import BinaryIO, Protocol

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import AZURE, GOOGLE, HTTPS, get_scheme, is_remote
from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs import local


class FileSource(Protocol):
    """A kind of place that has files."""

    def stat(self, uri: str, access: Access, /) -> ImageRef:
        """Return the entry of a file, with size 0 and no token if it cannot be looked up: reading gives the reason."""

    def is_file(self, uri: str, access: Access, /) -> bool:
        """Return whether there is a file of exactly this name."""

    def open_entry(self, ref: ImageRef, access: Access, /, *, parts: bool = False) -> AbstractContextManager[BinaryIO]:
        """Open a file, if it is the one that was listed; without a token, as it is now.

        Args:
            ref: The entry.
            access: How buckets are accessed.
            parts: Get only what is read.

        Raises:
            BadImageError: It cannot be read.
        """

    def open_stream(self, ref: ImageRef, access: Access, /) -> BinaryIO:
        """Open a file, even if it changed since it was listed; the caller closes it."""


class RemoteSource(FileSource, Protocol):
    """A kind of place that is reached over the network."""

    def check_listing(self, uri: str, access: Access, /, *, seconds: int | None = None) -> None:
        """Raise `InputError` if what is below a prefix cannot be listed.

        Args:
            uri: The bucket and prefix.
            access: How the bucket is accessed.
            seconds: Send one request, and wait this long; None: repeat it as a run does.
        """

    def list_below(self, uri: str, wanted: Callable[[ImageRef], bool], access: Access, /) -> Iterator[ImageRef]:
        """List the objects below a prefix, sorted by the bytes of their names.

        Args:
            uri: The bucket and prefix.
            wanted: Which objects to include; called in threads.
            access: How the bucket is accessed.

        Raises:
            InputError: Listing fails.
        """


def get_file_source(location: str) -> FileSource:
    """Return the source of a path or URI."""
    return get_remote_source(location) if is_remote(location) else local


def get_remote_source(uri: str) -> RemoteSource:
    """Return the source of a URI."""
    return _import_source(get_scheme(uri))


@cache
def _import_source(scheme: str) -> RemoteSource:
    """Return the source of a scheme; only those that are used are imported."""
    if scheme == GOOGLE:
        from fastdup_ray.clouds.google import google

        return google
    if scheme == AZURE:
        from fastdup_ray.clouds.azure import azure

        return azure
    if scheme == HTTPS:
        from fastdup_ray.web import addresses

        return addresses
    from fastdup_ray.s3 import source

    return source
