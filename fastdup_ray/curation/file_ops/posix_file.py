"""One file on a disk: opened, locked, compared, and whether it is still where it was."""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from fastdup_ray.curation.file_ops.identity import FileIdentity
from fastdup_ray.errors import RefusedError

Identity = tuple[int, ...]

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""How folders are opened: O_PATH takes those, too, that may be entered and not be listed."""


def open_file(name: str, *, follow_links: bool = False) -> BinaryIO:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(name, flags)
    except FileNotFoundError:
        raise RefusedError("it is gone") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RefusedError("it is a symbolic link, which would lead elsewhere from another folder") from None
        raise RefusedError(f"it cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RefusedError("it is not a regular file")
    return os.fdopen(descriptor, "rb")


@contextmanager
def pin_name(name: str, *, make: bool = False) -> Iterator[str]:
    """Give a name of a file that means the same place whatever happens meanwhile to the folders on its path.

    make: make those that are not there, on the disk: a file is safe in them only when they are.
    Raises `RefusedError` where a symbolic link is on the way, `OSError` for all else.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(name)  # folder by folder a file gets even where its whole name is too long for anyone to use
    *folders, last = name.lstrip("/").split("/")
    descriptor = os.open("/", _FOLDER)
    try:
        for folder in folders:
            inner = _enter_folder(descriptor, folder, make=make)
            os.close(descriptor)
            descriptor = inner
        yield f"/proc/self/fd/{descriptor}/{last}" if os.path.isdir("/proc/self/fd") else name
    finally:
        os.close(descriptor)


def _enter_folder(descriptor: int, folder: str, *, make: bool) -> int:
    """A descriptor of a folder in an open one."""
    try:
        return os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
    except FileNotFoundError:
        if not make:
            raise
    except NotADirectoryError:
        if not stat.S_ISLNK(os.stat(folder, dir_fd=descriptor, follow_symlinks=False).st_mode):
            raise
        raise RefusedError(f"{folder!r} on the way to it has become a link: put the folder back") from None
    with suppress(FileExistsError):
        os.mkdir(folder, dir_fd=descriptor)
        sync_folder(f"/proc/self/fd/{descriptor}")
    return _enter_folder(descriptor, folder, make=False)


def lock_file(file: BinaryIO, kind: int) -> None:
    """Advisory, and gone with the descriptor: it keeps two plans that contradict each other from acting at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RefusedError("another process is moving it, or needs it as a keeper") from None
    except OSError:
        pass  # a file system without locks


def check_identity(file: BinaryIO, known: FileIdentity) -> str:
    """Returns the digest; raises `RefusedError` where the file is not what is known of it."""
    before = os.fstat(file.fileno())
    if known.size is not None and before.st_size != known.size:
        raise RefusedError(f"it changed: {before.st_size:,} bytes, {known.size:,} at the run")
    try:
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RefusedError(f"it cannot be read: {error.strerror}") from None
    if known.sha256 and digest != known.sha256:
        raise RefusedError("it changed: other bytes than at the run")
    if get_inode(os.fstat(file.fileno())) != get_inode(before):
        raise RefusedError("it changed while it was read")
    return digest


def get_inode(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_at(file: BinaryIO, name: str) -> bool:
    with suppress(OSError):
        return get_inode(os.lstat(name)) == get_inode(os.fstat(file.fileno()))
    return False


def is_same(file: BinaryIO, name: str) -> bool:
    """Whether `name` is the file, which may have been renamed since it was opened."""
    with suppress(OSError):
        return os.path.samestat(os.lstat(name), os.fstat(file.fileno()))
    return False


def get_proc_name(file: BinaryIO) -> str:
    """A name of an open file that means it whatever stands under its own meanwhile."""
    return f"/proc/self/fd/{file.fileno()}" if os.path.isdir("/proc/self/fd") else file.name


def sync_folder(folder: str) -> None:
    with suppress(OSError):  # some network file systems cannot
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
