"""Where a work_dir lives: list, read, put whole, remove, lock.

A new kind of place is one file here and one line in `open_store`.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from fastdup_ray.s3 import DEFAULT_ACCESS, Access, is_s3, to_absolute
from fastdup_ray.storage.local import LocalStore


class Store(Protocol):
    """A work_dir. Names are relative and have `/` between their parts.

    Attributes:
        location: absolute path or URI.
        access: how a run accesses buckets: this one, if it is in a bucket, and those that its images are in.
    """

    location: str
    access: Access

    def prepare(self) -> None:
        """Makes the place and sees that it can be written; raises `WorkDirError`."""

    def create(self, name: str) -> AbstractContextManager[Path]:
        """Give a local path to write to; on a clean exit its content stands under `name` as a whole, else nothing does.

        A symbolic link is followed. Raises `WorkDirError` where `name` is something else than a regular file.
        """

    def scratch(self) -> IO[bytes]:
        """An empty file without a name, on a local disk: it is gone when it is closed, or with its process."""

    def fetch(self, name: str) -> Path:
        """A local path to read `name` from; raises `FileNotFoundError`."""

    def read(self, name: str, start: int, size: int) -> bytes:
        """`size` bytes of `name` from byte `start` on, and no others; raises `FileNotFoundError`, `DamagedError`."""

    def exists(self, name: str) -> bool:
        """Whether there is a file, or a folder, of that name."""

    def is_file(self, name: str) -> bool: ...

    def is_empty(self) -> bool:
        """Whether nothing is in it, beside files with a dot such as locks and leftovers, or it is not there."""

    def names(self, folder: str) -> Iterator[str]:
        """The names of all files below `folder`, sorted."""

    def remove(self, name: str) -> None:
        """Takes away a file, or a folder with all that it holds; nothing happens where there is none."""

    def remove_if_empty(self, folder: str) -> None:
        """Takes away a folder in which nothing is."""

    def remove_leftovers(self) -> None:
        """Takes away temporary files of runs that died; only for who holds the lock."""

    def lock(self, name: str, *, shared: bool = False) -> AbstractContextManager[None]:
        """Held by this process until the exit or its death; raises `LockedError` where another holds it."""


def open_file(location: str | os.PathLike[str], default: str, access: Access = DEFAULT_ACCESS) -> tuple[Store, str]:
    """The store that a file is in, and its name there; of a folder (or what is none), the file `default` in it."""
    location = os.fspath(location)
    folder, name = os.path.split(to_absolute(location))
    if open_store(folder, access).is_file(name):
        return open_store(folder, access), name
    return open_store(location, access), default


def open_store(location: str | os.PathLike[str], access: Access = DEFAULT_ACCESS) -> Store:
    """The store of a work_dir."""
    location = os.fspath(location)
    if is_s3(location):
        from fastdup_ray.storage.s3 import S3Store

        return S3Store(location, access)
    return LocalStore(location, access)
