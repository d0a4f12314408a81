"""A file at a path that the user named: what is there is not destroyed unasked, and nothing is left half-written."""

import errno
import os
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from fastdup_ray import s3
from fastdup_ray.errors import WorkDirError
from fastdup_ray.s3 import DEFAULT_ACCESS, Access
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.local import TEMPORARY, sync

STDOUT = "-"
"""The name that means standard output."""

_IN_MEMORY = 16 << 20
"""Bytes for a pipe that are kept in memory; more of them in a temporary file."""

_MARK_WITHIN = 4096
"""Bytes at the beginning of a file that have the mark of who made it."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL)
"""Answers of file systems that have no hard links, such as exFAT."""


class NamedOutput:
    """A file or an object on S3, a pipe or a device, or standard output (`-`), to be written once.

    Regular files and objects appear whole. Symbolic links are followed: their target is written. What exists is
    replaced only with `overwrite`, or where it begins with `mark`, by which our own pages are recognized.

    Attributes:
        path: absolute path or URI, links not resolved; `-` for standard output.
        is_stdout: whether it is written to standard output, which then has to stay free of anything else.
    """

    def __init__(
        self,
        location: str | os.PathLike[str],
        access: Access = DEFAULT_ACCESS,
        *,
        overwrite: bool = False,
        mark: bytes = b"",
    ):
        self._name = os.path.expanduser(os.fspath(location))
        self._access, self._overwrite, self._mark = access, overwrite, mark
        self.path = self._name if self._name == STDOUT else s3.to_absolute(self._name)
        self.is_stdout = self._name == STDOUT or (not s3.is_s3(self._name) and _parse_descriptor(self._name) == 1)

    def is_file(self) -> bool:
        """Return whether a file or an object is there, one that can be read and replaced."""
        if self.is_stdout:
            return False
        if s3.is_s3(self._name):
            store, name = self._open_in_store()
            return store.is_file(name)
        return _parse_descriptor(self._name) is None and os.path.isfile(self._name)

    def check(self) -> None:
        """Raise `WorkDirError` where it cannot be written, or must not be replaced. Nothing is changed."""
        with self._explain_errors():
            if self.is_stdout:
                _get_stdout()
            elif s3.is_s3(self._name):
                store, name = self._open_in_store()
                if store.is_file(name):
                    self._refuse_to_replace(lambda: store.fetch(name))
            else:
                self._check_path()

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Give a file to write to. What was written reaches its place on a clean exit only.

        Raises:
            WorkDirError: as `check` does, and where writing fails.
        """
        self.check()
        if s3.is_s3(self._name):
            return self._open_object()
        return self._open_stream() if self._is_stream() else self._open_regular_file()

    def _check_path(self) -> None:
        if _parse_descriptor(self._name) is not None:
            return
        if not os.path.basename(self._name):
            raise WorkDirError(f"{self._name!r} names a folder: name a file.")
        try:
            mode = os.stat(self._name).st_mode
        except FileNotFoundError:
            _check_new(os.path.realpath(self._name))
            return
        if stat.S_ISDIR(mode):
            raise WorkDirError(f"{self._name!r} is a folder: name a file.")
        if stat.S_ISBLK(mode):
            raise WorkDirError(f"{self._name!r} is a disk: name a file.")
        if stat.S_ISREG(mode):
            self._refuse_to_replace(lambda: Path(self._name))
        if not os.access(self._name, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _refuse_to_replace(self, fetch: Callable[[], Path]) -> None:
        if self._overwrite:
            return
        if self._mark:
            with open(fetch(), "rb") as file:
                if self._mark in file.read(_MARK_WITHIN):
                    return
        raise self._exists()

    def _exists(self) -> WorkDirError:
        return WorkDirError(
            f"{self._name!r} exists: name another file, or replace it with --overwrite (in Python overwrite=True)."
        )

    def _is_stream(self) -> bool:
        if self.is_stdout or _parse_descriptor(self._name) is not None:
            return True
        return os.path.exists(self._name) and not os.path.isfile(self._name)

    @contextmanager
    def _open_stream(self) -> Iterator[BinaryIO]:
        """A pipe gets nothing of a call that fails on its way."""
        with self._explain_errors(_DISK_FULL), tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
            yield file
            file.seek(0)
            with self._explain_errors():
                self._copy_to_stream(file)

    def _copy_to_stream(self, file: IO[bytes]) -> None:
        if self.is_stdout:
            sys.stdout.flush()  # what was printed before comes first
            shutil.copyfileobj(file, _get_stdout())
            _get_stdout().flush()
            return
        descriptor = _parse_descriptor(self._name)
        # Not opened by its name: that would begin at byte 0 of what a shell appends to.
        opened = os.open(self._name, os.O_WRONLY) if descriptor is None else os.dup(descriptor)
        with open(opened, "wb") as stream:
            shutil.copyfileobj(file, stream)

    @contextmanager
    def _open_regular_file(self) -> Iterator[BinaryIO]:
        target = os.path.realpath(self._name)
        temporary = os.path.join(os.path.dirname(target), f"{TEMPORARY}{uuid.uuid4().hex}")
        with self._explain_errors():
            os.makedirs(os.path.dirname(target), exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with self._explain_errors(_DISK_FULL), open(descriptor, "wb") as file:
                yield file
                with self._explain_errors():
                    file.flush()
                    os.fsync(file.fileno())
            with self._explain_errors():
                self._publish(temporary, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def _publish(self, temporary: str, target: str) -> None:
        try:
            status = os.stat(target)
        except FileNotFoundError:
            self._publish_new(temporary, target)
            return
        self._check_path()
        if not stat.S_ISREG(status.st_mode):
            raise WorkDirError(f"{self._name!r} is no regular file any more: write to it again.")
        with suppress(OSError):  # only root may give files away, and not every disk has owners
            os.chown(temporary, status.st_uid, status.st_gid)
        os.chmod(temporary, stat.S_IMODE(status.st_mode))
        os.replace(temporary, target)
        sync(os.path.dirname(target))

    def _publish_new(self, temporary: str, target: str) -> None:
        """A link does not replace, whoever was there first."""
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise self._exists() from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.replace(temporary, target)
        sync(os.path.dirname(target))

    @contextmanager
    def _open_object(self) -> Iterator[BinaryIO]:
        store, name = self._open_in_store()
        with self._explain_errors(_DISK_FULL), store.create(name) as path, open(path, "wb") as file:
            yield file

    def _open_in_store(self) -> tuple[Store, str]:
        bucket, key = s3.split(self._name)
        folder, _, name = key.rpartition("/")
        if not name:
            raise WorkDirError(f"{self._name!r} names a folder: name an object.")
        return open_store(s3.make_uri(bucket, folder), self._access), name

    @contextmanager
    def _explain_errors(self, only: Container[int] = ()) -> Iterator[None]:
        """Turn what the system says of writing into one line; `only` these codes, where others may be of reading."""
        try:
            yield
        except OSError as error:
            if error.errno is None or error.errno == errno.EPIPE or (only and error.errno not in only):
                raise  # without a reader of its pipe the command ends in silence, as others do
            raise WorkDirError(f"Cannot write {self._name!r}: {error.strerror}.") from None


def _check_new(path: str) -> None:
    """Raise `OSError` where no file can be made at `path`, and the folders that it takes."""
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise NotADirectoryError(errno.ENOTDIR, f"{folder!r} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"no permission to write to the folder {folder!r}")


def _get_stdout() -> BinaryIO:
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None or _is_null_device(stream):
        raise WorkDirError(
            "Cannot write to standard output, which is closed, or takes text only as in a notebook: name a file."
        )
    return stream


def _is_null_device(stream: BinaryIO) -> bool:
    """Whether standard output was closed as Python began, so that the command has put the null device there."""
    with suppress(OSError, AttributeError):
        return sys.__stdout__ is None and stream.fileno() == 1
    return False


def _parse_descriptor(path: str) -> int | None:
    """The number of the open file of this process that a path means, such as /dev/stdout, or a shell's `>(…)`."""
    own = os.path.realpath("/dev/fd")
    for _ in range(40):  # links that one path may have
        folder, name = os.path.split(path)
        if os.path.realpath(folder) == own:
            return int(name) if name.isdecimal() else None
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None
