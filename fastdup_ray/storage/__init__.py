"""The store of a work_dir: list, read, write whole files, remove, lock.

To support another kind of storage, add a class with the methods of `Store` and a line in `open_store`; for another kind
of bucket, a subclass of `BucketStore`, and its scheme in `locations.WRITABLE`.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.locations import AZURE, S3, get_scheme, refuse_read_only, to_absolute
from fastdup_ray.storage.local import LocalStore


class Store(Protocol):
    """A work_dir, in a local folder or below a prefix of a bucket.

    All names are relative to the work_dir, with `/` between their parts. A store can be pickled: a copy in another
    process checks the locks that the original held when it was pickled.

    Attributes:
        location: Absolute path or URI of the work_dir, for messages and for `open_store`.
        access: How a run accesses buckets: this one, if the work_dir is in a bucket, and those that its images are in.
        at_once: Files that are worth reading at the same time: many where each takes a request.
    """

    location: str
    access: Access
    at_once: int

    def __hash__(self) -> int:
        """Return a hash of its identity."""

    def prepare(self) -> None:
        """Create the work_dir if needed, and check that it is writable.

        Raises:
            WorkDirError: It cannot be created or written to.
        """

    def create(self, name: str, *, new: bool = False) -> AbstractContextManager[Path]:
        """Write a file whole.

        The context gives a temporary local path to write to. On a clean exit the file appears under `name` in one step
        and replaces what was there; after an exception nothing changes. A symbolic link is kept, and its target is
        replaced.

        Args:
            name: File to write. Missing folders are created.
            new: Nothing has this name, which saves a request in a bucket. There the file is not written if something
                has.

        Returns:
            A context manager that gives the temporary path.

        Raises:
            WorkDirError: `name` exists and is not a regular file, or it cannot be written.
            LockedError: A lock that this store held was lost.
        """

    def scratch(self) -> IO[bytes]:
        """Open an empty, unnamed file on a local disk.

        Returns:
            A file to write to and read from. It is deleted when it is closed, or when its process ends.
        """

    def fetch(self, name: str) -> Path:
        """Make a file available on a local disk.

        Returns:
            A local path to read from: the file itself, or a downloaded copy.

        Raises:
            FileNotFoundError: There is no such file (`MissingFileError`).
        """

    def read(self, name: str, start: int, size: int) -> bytes:
        """Read a part of a file without fetching the rest.

        Args:
            name: File to read.
            start: Offset of the first byte.
            size: Number of bytes.

        Returns:
            Exactly `size` bytes.

        Raises:
            FileNotFoundError: There is no such file (`MissingFileError`).
            DamagedError: The file ends before `start + size`.
        """

    def read_up_to(self, name: str, start: int, size: int) -> bytes:
        """Read a part of a file as `read` does, or what there is of it if the file ends before."""

    def exists(self, name: str) -> bool:
        """Return whether there is a file or a folder of this name."""

    def is_file(self, name: str) -> bool:
        """Return whether there is a regular file, or an object, of this name."""

    def is_empty(self) -> bool:
        """Return whether the work_dir does not exist, or holds only names that begin with a dot, such as locks."""

    def names(self, folder: str) -> Iterator[str]:
        """Return the names of all files below a folder, at any depth, sorted.

        Args:
            folder: Where to look; "" is the work_dir itself. A folder that does not exist has no files.
        """

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with everything in it; do nothing if there is neither.

        Raises:
            LockedError: A lock that this store held was lost.
        """

    def remove_if_empty(self, folder: str) -> None:
        """Remove a folder if nothing is in it."""

    def remove_leftovers(self) -> None:
        """Remove temporary files of runs that were killed. Only the owner of the exclusive lock may call this."""

    def lock(self, name: str, *, shared: bool = False) -> AbstractContextManager[None]:
        """Hold a lock until the context is left, or this process dies; see `storage.lock` for the protocol.

        Args:
            name: Name of the lock's record in the work_dir.
            shared: Allow other shared locks of this name at the same time.

        Raises:
            LockedError: Another process holds the lock.
        """


def open_file(location: str | os.PathLike[str], default: str, access: Access = DEFAULT_ACCESS) -> tuple[Store, str]:
    """Open the store that holds a file.

    Args:
        location: Path or URI of a file, or of a folder.
        default: Name of the file to use if `location` is not a file.
        access: How buckets are accessed.

    Returns:
        The store and the file's name in it. If `location` is not an existing file, the store is `location` itself.
    """
    location = os.fspath(location)
    folder, name = os.path.split(to_absolute(location))
    if open_store(folder, access).is_file(name):
        return open_store(folder, access), name
    return open_store(location, access), default


def open_store(location: str | os.PathLike[str], access: Access = DEFAULT_ACCESS) -> Store:
    """Return the store of a work_dir, given as a local path or the URI of a bucket. Nothing is created.

    Raises:
        ConfigError: Nothing can be written there.
    """
    location = os.fspath(location)
    refuse_read_only(location)
    scheme = get_scheme(location)
    if scheme == S3:
        from fastdup_ray.storage.s3 import S3Store

        return S3Store(location, access)
    if scheme == AZURE:
        from fastdup_ray.storage.azure import AzureStore

        return AzureStore(location, access)
    return LocalStore(location, access)
