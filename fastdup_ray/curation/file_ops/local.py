"""Pictures in local folders."""

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


class LocalFileMover:
    """See `fastdup_ray.curation.file_ops.Place`."""

    def __init__(self) -> None:
        self._checked: dict[str, tuple[Identity, FileIdentity]] = {}

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
        return folder  # it was swapped for a link at this moment: while it is one, nothing moves from it

    def describe(self, name: str) -> FileIdentity:
        with _explain_path_errors(), pin_name(name) as fixed_name, open_file(fixed_name) as file:
            size = os.fstat(file.fileno()).st_size
            return FileIdentity(size, check_identity(file, FileIdentity(size)))

    def describe_copy(self, copy: str, known: FileIdentity) -> FileIdentity:
        return known

    def check(self, name: str, known: FileIdentity) -> None:
        with _explain_path_errors(), pin_name(name) as fixed_name, open_file(fixed_name) as file:
            check_identity(file, known)
            if not os.access(os.path.dirname(fixed_name), os.W_OK | os.X_OK):
                raise RefusedError("it cannot be moved: its folder cannot be written")

    @contextmanager
    def hold(self, name: str, known: FileIdentity) -> Iterator[None]:
        """A picture that was checked before is read again only where its inode has changed since."""
        with open_file(name, follow_links=True) as file:
            lock_file(file, fcntl.LOCK_SH)
            identity = get_inode(os.fstat(file.fileno()))
            if self._checked.get(name) != (identity, known):
                check_identity(file, known)
                self._checked[name] = identity, known
            yield

    def move(self, source: str, target: str, known: FileIdentity) -> None:
        with _explain_path_errors(), pin_name(source) as at, open_file(at) as file:
            lock_file(file, fcntl.LOCK_EX)
            digest = check_identity(file, known)
            if not is_at(file, at):
                raise RefusedError("another file took its name while it was checked")
            with _explain_move_errors(target), pin_name(target, make=True) as to:
                try:
                    move_to_new_name(file, at, to, digest)
                except FileExistsError:
                    if not is_finished(file, at, to, digest):
                        raise
                    remove_source(file, at)
                for name in (to, at):
                    sync_folder(os.path.dirname(name))

    def link(self, source: str, target: str, kind: Link) -> None:
        with _explain_move_errors(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                if kind == "hard":
                    os.link(os.path.realpath(source), target)  # a link to a link may lead nowhere from there
                elif kind == "symlink":
                    os.symlink(source, target)
                else:
                    with open_file(source, follow_links=True) as file:
                        copy_verified(file, source, target, check_identity(file, FileIdentity()))
            except FileExistsError:
                if not _is_linked(source, target, kind):
                    raise
            except OSError as error:
                if error.errno == errno.EXDEV:
                    raise RefusedError("it is on another file system: use --link copy or symlink") from None
                raise

    def remove_empty(self, folder: str) -> None:
        for path, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                os.rmdir(path)


@contextmanager
def _explain_path_errors() -> Iterator[None]:
    """What the folders on the way to a file say, as the reason why it stays."""
    try:
        yield
    except FileNotFoundError:
        raise RefusedError("it is gone") from None
    except OSError as error:
        raise RefusedError(f"it cannot be reached: {error.strerror}") from None


@contextmanager
def _explain_move_errors(target: str) -> Iterator[None]:
    """A full disk ends it all: whatever came next would fail as well."""
    try:
        yield
    except FileExistsError:
        raise RefusedError(f"{target!r} exists already, and is another file") from None
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise WorkDirError(f"{error.strerror}: {target!r} cannot be written.") from None
        raise RefusedError(f"{target!r} cannot be made of it: {error.strerror}") from None


def _is_linked(source: str, target: str, kind: Link) -> bool:
    """Whether an earlier call has made this link, or copy, of `source`."""
    with suppress(OSError):
        if kind == "symlink":
            return os.readlink(target) == source
        if kind == "hard":
            return os.path.samefile(source, target)
        with open(source, "rb") as first, open(target, "rb") as second:
            digests = [hashlib.file_digest(file, "sha256").digest() for file in (first, second)]
        return digests[0] == digests[1]
    return False
