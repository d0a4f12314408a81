"""Pictures in local folders."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastdup_ray.curation.file_ops.atomic_move import copy, is_finished, take_away, to_new_name
from fastdup_ray.curation.file_ops.identity import Known, Link
from fastdup_ray.curation.file_ops.posix_file import Identity, check, fixed, identity_of, is_at, lock, opened, sync
from fastdup_ray.errors import RefusedError, WorkDirError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class LocalPlace:
    """See `fastdup_ray.curation.file_ops.Place`."""

    def __init__(self) -> None:
        self._checked: dict[str, tuple[Identity, Known]] = {}

    def exists(self, name: str) -> bool:
        return os.path.lexists(name)

    def neighbours(self, name: str) -> list[str]:
        folder = os.path.dirname(name)
        try:
            return sorted(entry.path for entry in os.scandir(folder) if not entry.is_dir())
        except OSError as error:
            raise RefusedError(f"its folder cannot be listed: {error.strerror}") from None

    def identity(self, name: str) -> tuple[int, int] | None:
        with suppress(OSError):
            status = os.stat(name)
            return status.st_dev, status.st_ino
        return None

    def real(self, folder: str) -> str:
        with suppress(OSError):
            return os.path.realpath(folder)
        return folder  # it was swapped for a link at this moment: while it is one, nothing moves from it

    def describe(self, name: str) -> Known:
        with _looked_at(), fixed(name) as fixed_name, opened(fixed_name) as file:
            size = os.fstat(file.fileno()).st_size
            return Known(size, check(file, Known(size)))

    def known_as_copy(self, copy: str, known: Known) -> Known:
        return known

    def check(self, name: str, known: Known) -> None:
        with _looked_at(), fixed(name) as fixed_name, opened(fixed_name) as file:
            check(file, known)
            if not os.access(os.path.dirname(fixed_name), os.W_OK | os.X_OK):
                raise RefusedError("it cannot be moved: its folder cannot be written")

    @contextmanager
    def held(self, name: str, known: Known) -> Iterator[None]:
        """A picture that was checked before is read again only where its inode has changed since."""
        with opened(name, follow_links=True) as file:
            lock(file, fcntl.LOCK_SH)
            identity = identity_of(os.fstat(file.fileno()))
            if self._checked.get(name) != (identity, known):
                check(file, known)
                self._checked[name] = identity, known
            yield

    def move(self, source: str, target: str, known: Known) -> None:
        with _looked_at(), fixed(source) as at, opened(at) as file:
            lock(file, fcntl.LOCK_EX)
            digest = check(file, known)
            if not is_at(file, at):
                raise RefusedError("another file took its name while it was checked")
            with _told(target), fixed(target, make=True) as to:
                try:
                    to_new_name(file, at, to, digest)
                except FileExistsError:
                    if not is_finished(file, at, to, digest):
                        raise
                    take_away(file, at)
                for name in (to, at):
                    sync(os.path.dirname(name))

    def link(self, source: str, target: str, kind: Link) -> None:
        with _told(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                if kind == "hard":
                    os.link(os.path.realpath(source), target)  # a link to a link may lead nowhere from there
                elif kind == "symlink":
                    os.symlink(source, target)
                else:
                    with opened(source, follow_links=True) as file:
                        copy(file, source, target, check(file, Known()))
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
def _looked_at() -> Iterator[None]:
    """What the folders on the way to a file say, as the reason why it stays."""
    try:
        yield
    except FileNotFoundError:
        raise RefusedError("it is gone") from None
    except OSError as error:
        raise RefusedError(f"it cannot be reached: {error.strerror}") from None


@contextmanager
def _told(target: str) -> Iterator[None]:
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
