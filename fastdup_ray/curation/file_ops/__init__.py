"""Check and move files, in local folders and in buckets, behind one interface.

To support another kind of storage, add a module with a `FileMover`, and a line in `get_file_mover`.
"""

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Protocol

from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.locations import S3, get_scheme
from fastdup_ray.curation.file_ops.identity import LINK_KINDS, FileIdentity, Link
from fastdup_ray.curation.file_ops.local import LocalFileMover
from fastdup_ray.curation.file_ops.s3 import S3FileMover
from fastdup_ray.errors import ConfigError

__all__ = ["LINK_KINDS", "FileIdentity", "FileMover", "Link", "can_move", "get_file_mover"]


class FileMover(Protocol):
    """Moves files of one kind of storage.

    Names are absolute paths or URIs. If a file cannot be handled, a method raises `RefusedError` with a reason that
    continues the sentence "it stays, because …".
    """

    def exists(self, name: str) -> bool:
        """Return whether there is anything under this name, even a broken link."""

    def list_siblings(self, name: str) -> Sequence[str]:
        """Return the names of all files in the folder of `name`, sorted."""

    def get_identity(self, name: str) -> Hashable:
        """Return a value that is equal for all names of one file, through whatever links; None if there is no file."""

    def resolve(self, folder: str) -> str:
        """Return the name of a folder with all links resolved as they are now."""

    def describe(self, name: str) -> FileIdentity:
        """Return the identity of a file as it is now. `name` has no links on its path."""

    def describe_copy(self, copy: str, expected: FileIdentity) -> FileIdentity:
        """Return what the copy in the quarantine of a file that was `expected` is compared with."""

    def check(self, name: str, expected: FileIdentity) -> None:
        """Read a file and raise `RefusedError` unless it is `expected` and could be moved.

        Args:
            name: A name without links on its path.
            expected: What the run saw.
        """

    def hold(self, name: str, expected: FileIdentity) -> AbstractContextManager[None]:
        """Check that a file is `expected`, and let no other process `move` it while the context lasts."""

    def move(self, source: str, target: str, expected: FileIdentity) -> None:
        """Move a file if it is `expected`, and never over another file.

        The file is whole under at least one of the names at any moment, and under `target` alone in the end. If
        `target` has the same content already, an earlier call was interrupted, and `source` is removed.

        Args:
            source: A name without links on its path; a folder that became a link since is not followed.
            target: The new name, likewise.
            expected: What the run saw.
        """

    def link(self, source: str, target: str, kind: Link) -> None:
        """Give a file the second name `target`, never over another file. If it has that name already, do nothing."""

    def remove_empty(self, folder: str) -> None:
        """Remove all empty folders below `folder`, and `folder` itself if it is empty then."""


_LOCAL = LocalFileMover()
_make_s3_mover = cache(S3FileMover)


def get_file_mover(name: str, access: Access = DEFAULT_ACCESS) -> FileMover:
    """Return the mover of a file, or of what is below a folder: one object for each kind of storage.

    A mover remembers which keepers it has compared.

    Raises:
        ConfigError: Nothing can be moved there.
    """
    if not can_move(name):
        raise ConfigError(
            f"{name!r} cannot be moved: apply moves files on disks and in s3:// buckets only. Write a list of what the "
            "plan drops with fastdup-ray export."
        )
    return _make_s3_mover(access) if get_scheme(name) else _LOCAL


def can_move(name: str) -> bool:
    """Return whether files can be moved in the kind of storage of a path or URI."""
    return get_scheme(name) in ("", S3)
