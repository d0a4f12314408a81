"""Where pictures are moved from and to: look, check, move.

A new kind of place is one file here and one line in `place_of`.
"""

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Protocol

from fastdup_ray.curation.file_ops.identity import LINK_KINDS, FileIdentity, Link
from fastdup_ray.curation.file_ops.local import LocalFileMover
from fastdup_ray.curation.file_ops.s3 import S3FileMover
from fastdup_ray.s3 import DEFAULT_ACCESS, Access, is_s3

__all__ = ["LINK_KINDS", "FileIdentity", "FileMover", "Link", "get_file_mover"]


class FileMover(Protocol):
    """A kind of place. Names are absolute paths, or URIs. What cannot be done is a `RefusedError` with the reason."""

    def exists(self, name: str) -> bool:
        """Whether anything stands under this name, be it a link to nothing."""

    def list_siblings(self, name: str) -> Sequence[str]:
        """The names of all files in the folder of `name`, sorted."""

    def get_identity(self, name: str) -> Hashable:
        """The same for two names that mean one file, by whatever links; None where nothing is."""

    def resolve(self, folder: str) -> str:
        """The name of a folder without links, as they are now."""

    def describe(self, name: str) -> FileIdentity:
        """By what a file is known again, as it is now. name: one without links on the way."""

    def describe_copy(self, copy: str, known: FileIdentity) -> FileIdentity:
        """By what the copy of a file that was `known` is known again in the quarantine."""

    def check(self, name: str, known: FileIdentity) -> None:
        """Sees that a file could be moved, and is the one that is `known`, to its last byte.

        name: one without links on the way.
        """

    def hold(self, name: str, known: FileIdentity) -> AbstractContextManager[None]:
        """Sees that a file is the one that is `known`; while the context lasts, no other process can `move` it."""

    def move(self, source: str, target: str, known: FileIdentity) -> None:
        """Moves a file that is `known`; never over another one.

        Names have no links on the way: a folder that has become one is not followed.

        At any moment the file stands whole under one of the names at least, and in the end under `target` alone. Where
        `target` has the same bytes already, an earlier call was interrupted, and `source` is taken away.
        """

    def link(self, source: str, target: str, kind: Link) -> None:
        """Puts `source` under the name `target` as well, never over another file; nothing to do where it was before."""

    def remove_empty(self, folder: str) -> None:
        """Takes away the folders below `folder`, and itself, in which there is nothing."""


_LOCAL = LocalFileMover()
_make_s3_mover = cache(S3FileMover)


def get_file_mover(name: str, access: Access = DEFAULT_ACCESS) -> FileMover:
    """Who can move a file, or what is below a location: one for all of a kind, which remembers what it checked."""
    return _make_s3_mover(access) if is_s3(name) else _LOCAL
