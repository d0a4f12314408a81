"""A work_dir in a local folder (`LocalStore`)."""

import errno
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.errors import DamagedError, MissingFileError, WorkDirError
from fastdup_ray.storage.local_lock import TEMPORARY, LocalRecords
from fastdup_ray.storage.lock import Locks

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)

_LEFTOVER = re.compile(re.escape(TEMPORARY) + r"[0-9a-f]{32}(?:-|$)")


class LocalStore:
    """A `fastdup_ray.storage.Store` in a local folder.

    Args:
        location: Path of the folder, which need not exist yet.
        access: How a run on it accesses buckets.
    """

    at_once = 1

    def __init__(self, location: str, access: Access = DEFAULT_ACCESS) -> None:
        self.root = Path(os.path.abspath(location))
        self.location, self.access = str(self.root), access
        self._locks = Locks()

    def prepare(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f"{TEMPORARY}{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise WorkDirError(
                f"Cannot write to the folder {self.location!r} ({error.strerror}); choose a folder that is writable."
            ) from None

    @contextmanager
    def create(self, name: str, *, new: bool = False) -> Iterator[Path]:  # noqa: ARG002 - to look costs nothing
        path = Path(os.path.realpath(self.root / name))  # a symbolic link is kept, and its target replaced
        _refuse_special(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name is unique, since an earlier attempt at the same step may still be running.
        temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{path.name}")
        try:
            yield temporary
            sync(temporary)
            _refuse_special(path)
            self._locks.check()
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()

    def scratch(self) -> IO[bytes]:
        try:
            return tempfile.TemporaryFile(dir=self.root)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            return tempfile.TemporaryFile()  # a folder that is only read, such as the features of another run

    def fetch(self, name: str) -> Path:
        path = self.root / name
        if not path.is_file():
            raise MissingFileError(f"{path} {'is not a regular file' if path.exists() else 'does not exist'}.")
        return path

    def read(self, name: str, start: int, size: int) -> bytes:
        return check_whole(self.read_up_to(name, start, size), size, self.root / name)

    def read_up_to(self, name: str, start: int, size: int) -> bytes:
        with open(self.fetch(name), "rb") as file:
            file.seek(start)
            return file.read(size)

    def exists(self, name: str) -> bool:
        return (self.root / name).exists()

    def is_file(self, name: str) -> bool:
        return (self.root / name).is_file()

    def is_empty(self) -> bool:
        with suppress(OSError), os.scandir(self.root) as entries:
            return all(entry.name.startswith(".") for entry in entries)
        return True

    def names(self, folder: str) -> Iterator[str]:
        files = (path for path in (self.root / folder).rglob("*") if path.is_file())
        return iter(sorted(path.relative_to(self.root).as_posix() for path in files))

    def remove(self, name: str) -> None:
        path = self.root / name
        self._locks.check()
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def remove_if_empty(self, folder: str) -> None:
        with suppress(OSError):
            (self.root / folder).rmdir()

    def remove_leftovers(self) -> None:
        for path in self.root.rglob(f"{TEMPORARY}*"):
            if _LEFTOVER.match(path.name):  # the work_dir may hold other files of the user
                path.unlink(missing_ok=True)

    @contextmanager
    def lock(self, name: str, *, shared: bool = False) -> Iterator[None]:
        with self._locks.hold(LocalRecords(self.root), name, shared=shared):
            yield


def _refuse_special(path: Path) -> None:
    """Raise `WorkDirError` for a folder, pipe or device, on which a rename would fail or which it would destroy."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # nothing is there; any other error is raised again by the write itself
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise WorkDirError(f"Cannot write {str(path)!r}: it is {what}. Move it away, or choose another work_dir.")


def check_whole(part: bytes, size: int, name: object) -> bytes:
    """Check that a part of a file was read in full.

    Args:
        part: The bytes that were read.
        size: The number of bytes that were asked for.
        name: Name or path of the file, for the message.

    Returns:
        `part`.

    Raises:
        DamagedError: `part` is shorter than `size`.
    """
    if len(part) != size:
        raise DamagedError(f"{name} is damaged: it is {size - len(part):,} bytes too short.")
    return part


def sync(path: str | os.PathLike[str]) -> None:
    """Flush a file, or the directory entries of a folder, to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
