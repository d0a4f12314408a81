"""Move files in local folders."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastdup_ray.curation.file_ops.atomic_move import copy_verified, is_finished, move_to_new_name, remove_source
from fastdup_ray.curation.file_ops.identity import FileIdentity, Link
from fastdup_ray.curation.file_ops.posix_file import (
    Identity,
    check_identity,
    get_inode,
    is_at,
    lock_file,
    open_file,
    pin_name,
    sync_folder,
)
from fastdup_ray.errors import RefusedError, WorkDirError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


_MOST_CHECKED = 1 << 13
"""Keepers that are remembered; in a plan, each comes before its duplicates."""


class LocalFileMover:
    """The `FileMover` of local files; see there for what the methods promise."""

    def __init__(self) -> None:
        self._checked: dict[str, tuple[Identity, FileIdentity]] = {}
        """Keepers that `hold` has compared last, and with what: they are read again only if they change."""

    def exists(self, name: str) -> bool:
        return os.path.lexists(name)

    def list_siblings(self, name: str) -> list[str]:
        folder = os.path.dirname(name)
        try:
            return sorted(entry.path for entry in os.scandir(folder) if not entry.is_dir())
        except OSError as error:
            raise RefusedError(f"its folder cannot be listed: {error.strerror}") from None

    def get_identity(self, name: str) -> tuple[int, int] | None:
        with suppress(OSError):
            status = os.stat(name)
            return status.st_dev, status.st_ino
        return None

    def resolve(self, folder: str) -> str:
        with suppress(OSError):
            return os.path.realpath(folder)
        return folder  # it was replaced by a link just now: as long as it is one, nothing is moved from it

    def describe(self, name: str) -> FileIdentity:
        with _explain_path_errors(), pin_name(name) as pinned, open_file(pinned) as file:
            size = os.fstat(file.fileno()).st_size
            return FileIdentity(size, check_identity(file, FileIdentity(size)))

    def describe_copy(self, copy: str, expected: FileIdentity) -> FileIdentity:  # noqa: ARG002 - only S3 looks at it
        return expected

    def check(self, name: str, expected: FileIdentity) -> None:
        with _explain_path_errors(), pin_name(name) as pinned, open_file(pinned) as file:
            check_identity(file, expected)
            if not os.access(os.path.dirname(pinned), os.W_OK | os.X_OK):
                raise RefusedError("it cannot be moved: its folder is not writable")

    @contextmanager
    def hold(self, name: str, expected: FileIdentity) -> Iterator[None]:
        with open_file(name, follow_links=True) as file:
            lock_file(file, fcntl.LOCK_SH)
            identity = get_inode(os.fstat(file.fileno()))
            if self._checked.get(name) != (identity, expected):
                check_identity(file, expected)
                if len(self._checked) == _MOST_CHECKED:
                    del self._checked[next(iter(self._checked))]
                self._checked[name] = identity, expected
            yield

    def move(self, source: str, target: str, expected: FileIdentity) -> None:
        with _explain_path_errors(), pin_name(source) as old, open_file(old) as file:
            lock_file(file, fcntl.LOCK_EX)
            digest = check_identity(file, expected)
            if not is_at(file, old):
                raise RefusedError("another file took its name while it was being checked")
            with _explain_move_errors(target), pin_name(target, make=True) as new:
                try:
                    move_to_new_name(file, old, new, digest)
                except FileExistsError:
                    if not is_finished(file, old, new, digest):
                        raise
                    remove_source(file, old)
                for name in (new, old):
                    sync_folder(os.path.dirname(name))

    def link(self, source: str, target: str, kind: Link) -> None:
        with _explain_move_errors(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                if kind == "hard":
                    os.link(os.path.realpath(source), target)  # a second name of a relative link would lead nowhere
                elif kind == "symlink":
                    os.symlink(source, target)
                else:
                    with open_file(source, follow_links=True) as file:
                        copy_verified(file, target, check_identity(file, FileIdentity()))
            except FileExistsError:
                if not _is_linked(source, target, kind):
                    raise
            except OSError as error:
                if error.errno == errno.EXDEV:
                    raise RefusedError("it is on another file system: choose copy or symlink") from None
                raise

    def remove_empty(self, folder: str) -> None:
        for path, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                os.rmdir(path)


@contextmanager
def _explain_path_errors() -> Iterator[None]:
    """Turn errors of the folders on a path into the reason why the file stays."""
    try:
        yield
    except FileNotFoundError:
        raise RefusedError("it is gone") from None
    except OSError as error:
        raise RefusedError(f"it cannot be reached: {error.strerror}") from None


@contextmanager
def _explain_move_errors(target: str) -> Iterator[None]:
    """Turn errors of a move into the reason why the file stays. A full disk ends the command: all moves would fail."""
    try:
        yield
    except FileExistsError:
        raise RefusedError(f"{target!r} already exists and is another file") from None
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise WorkDirError(f"Cannot write {target!r}: {error.strerror}.") from None
        raise RefusedError(f"cannot write {target!r}: {error.strerror}") from None


def _is_linked(source: str, target: str, kind: Link) -> bool:
    """Return whether `target` is such a link to `source`, or copy of it, because an earlier call made it."""
    with suppress(OSError):
        if kind == "symlink":
            return os.readlink(target) == source
        if kind == "hard":
            return os.path.samefile(source, target)
        with open(source, "rb") as first, open(target, "rb") as second:
            digests = [hashlib.file_digest(file, "sha256").digest() for file in (first, second)]
        return digests[0] == digests[1]
    return False
