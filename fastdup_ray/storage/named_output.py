"""An output at a path that the user named (`NamedOutput`).

An existing file is never replaced without permission, and no half-written file is left behind.
"""

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
from typing import IO, BinaryIO, cast

from fastdup_ray.common import locations
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.locations import is_remote, to_absolute
from fastdup_ray.errors import WorkDirError
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.local import sync
from fastdup_ray.storage.local_lock import TEMPORARY

STDOUT = "-"
"""The name of standard output."""

_IN_MEMORY = 16 << 20
"""Bytes written to a pipe that are buffered in memory; beyond that, in a temporary file."""

_MARK_WITHIN = 4096
"""Bytes at the beginning of a file in which the mark is looked for."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL)
"""Error codes of file systems without hard links, such as exFAT."""


class NamedOutput:
    """A file, an object in a bucket, a pipe, a device, or standard output (`-`), to be written once.

    Regular files and objects appear whole. Symbolic links are followed: their target is written.

    Args:
        location: Path or URI as the user gave it; `~` is expanded.
        access: How buckets are accessed.
        overwrite: Replace an existing file.
        mark: Also replace an existing file that has these bytes near its beginning, by which a page of this tool is
            recognized.

    Attributes:
        path: Absolute path or URI, links not resolved; `-` for standard output.
        is_stdout: Whether it goes to standard output, to which nothing else may be printed then.
    """

    def __init__(
        self,
        location: str | os.PathLike[str],
        access: Access = DEFAULT_ACCESS,
        *,
        overwrite: bool = False,
        mark: bytes = b"",
    ) -> None:
        self._name = os.path.expanduser(os.fspath(location))
        self._access, self._overwrite, self._mark = access, overwrite, mark
        self.path = self._name if self._name == STDOUT else to_absolute(self._name)
        self.is_stdout = self._name == STDOUT or (not is_remote(self._name) and _parse_descriptor(self._name) == 1)

    def is_file(self) -> bool:
        """Return whether the output exists as a regular file or an object."""
        if self.is_stdout:
            return False
        if is_remote(self._name):
            store, name = self._open_in_store()
            return store.is_file(name)
        return _parse_descriptor(self._name) is None and os.path.isfile(self._name)

    def check(self) -> None:
        """Check that the output can be written, without changing anything.

        Raises:
            WorkDirError: It cannot be written, or exists and must not be replaced.
        """
        with self._explain_errors():
            if self.is_stdout:
                _get_stdout()
            elif is_remote(self._name):
                store, name = self._open_in_store()
                if store.is_file(name):
                    self._refuse_to_replace(lambda: store.fetch(name))
            else:
                self._check_path()

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Open the output for writing. Its content is published on a clean exit only.

        Returns:
            A context manager that gives a binary file.

        Raises:
            WorkDirError: As `check` does, and if writing fails.
        """
        self.check()
        if is_remote(self._name):
            return self._open_object()
        return self._open_stream() if self._is_stream() else self._open_regular_file()

    def _check_path(self) -> None:
        if _parse_descriptor(self._name) is not None:
            return
        if not os.path.basename(self._name):
            raise WorkDirError(f"{self._name!r} is a folder; name a file.")
        try:
            mode = os.stat(self._name).st_mode
        except FileNotFoundError:
            _check_new(os.path.realpath(self._name))
            return
        if stat.S_ISDIR(mode):
            raise WorkDirError(f"{self._name!r} is a folder; name a file.")
        if stat.S_ISBLK(mode):
            raise WorkDirError(f"{self._name!r} is a block device; name a file.")
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
        raise self._make_exists_error()

    def _make_exists_error(self) -> WorkDirError:
        return WorkDirError(f"{self._name!r} exists; name another file, or replace it with overwrite=True.")

    def _is_stream(self) -> bool:
        if self.is_stdout or _parse_descriptor(self._name) is not None:
            return True
        return os.path.exists(self._name) and not os.path.isfile(self._name)

    @contextmanager
    def _open_stream(self) -> Iterator[BinaryIO]:
        """Buffer the content, so that a pipe receives nothing from a call that fails."""
        with self._explain_errors(_DISK_FULL), tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
            yield cast(BinaryIO, file)  # it has all methods of one, but typeshed says IO[bytes]
            file.seek(0)
            with self._explain_errors():
                self._copy_to_stream(file)

    def _copy_to_stream(self, file: IO[bytes]) -> None:
        if self.is_stdout:
            sys.stdout.flush()  # what was printed earlier comes first
            shutil.copyfileobj(file, _get_stdout())
            _get_stdout().flush()
            return
        descriptor = _parse_descriptor(self._name)
        # Opening it by its name would start at byte 0 of a file that the shell appends to (`>>`).
        target = os.open(self._name, os.O_WRONLY) if descriptor is None else os.dup(descriptor)
        with open(target, "wb") as stream:
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
            raise WorkDirError(f"{self._name!r} was replaced by something that is not a regular file; try again.")
        with suppress(OSError):  # only root may change the owner, and some file systems have none
            os.chown(temporary, status.st_uid, status.st_gid)
        os.chmod(temporary, stat.S_IMODE(status.st_mode))
        os.replace(temporary, target)
        sync(os.path.dirname(target))

    def _publish_new(self, temporary: str, target: str) -> None:
        """Publish a file that did not exist before: unlike a rename, a link never replaces an existing file."""
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise self._make_exists_error() from None
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
        bucket, key = locations.split(self._name)
        folder, _, name = key.rpartition("/")
        if not name:
            raise WorkDirError(f"{self._name!r} is a folder; name an object.")
        return open_store(locations.make_uri(locations.get_scheme(self._name), bucket, folder), self._access), name

    @contextmanager
    def _explain_errors(self, only: Container[int] = ()) -> Iterator[None]:
        """Turn an `OSError` of writing into a `WorkDirError`; if `only` codes are given, others pass."""
        try:
            yield
        except OSError as error:
            if error.errno is None or error.errno == errno.EPIPE or (only and error.errno not in only):
                raise  # a command whose pipe has no reader any more ends silently, as usual
            raise WorkDirError(f"Cannot write {self._name!r}: {error.strerror}.") from None


def _check_new(path: str) -> None:
    """Raise `OSError` if no file can be created at `path`, with the folders above it."""
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise NotADirectoryError(errno.ENOTDIR, f"{folder!r} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"no permission to write to the folder {folder!r}")


def _get_stdout() -> BinaryIO:
    stream: BinaryIO | None = getattr(sys.stdout, "buffer", None)
    if stream is None or _is_null_device(stream):
        raise WorkDirError(
            "Cannot write to standard output: it is closed, or takes text only, as in a notebook; name a file."
        )
    return stream


def _is_null_device(stream: BinaryIO) -> bool:
    """Return whether standard output was closed at startup, and is the null device that the command opened instead."""
    with suppress(OSError, AttributeError):
        return sys.__stdout__ is None and stream.fileno() == 1
    return False


def _parse_descriptor(path: str) -> int | None:
    """Return the file descriptor that a path stands for, such as /dev/stdout or a shell's `>(…)`; None for others."""
    own = os.path.realpath("/dev/fd")
    for _ in range(40):  # Linux follows at most 40 links in one path
        folder, name = os.path.split(path)
        if os.path.realpath(folder) == own:
            return int(name) if name.isdecimal() else None
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None
