"""One local file: open it, lock it, compare it, and see whether its name still leads to it."""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom, BufferedReader

from fastdup_ray.curation.file_ops.identity import FileIdentity
from fastdup_ray.errors import RefusedError

Identity = tuple[int, ...]
"""Device, inode, size, mtime and ctime of a file, the times in nanoseconds."""

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags to open a folder. With O_PATH it need not be readable: the right to enter it is enough."""


def open_file(name: str, *, follow_links: bool = False) -> BufferedReader:
    """Open a regular file for reading, without waiting for pipes and devices.

    Raises:
        RefusedError: If there is no such file, it cannot be read, it is not a regular file, or it is a symbolic link
            and `follow_links` is False.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(name, flags)
    except FileNotFoundError:
        raise RefusedError("it is gone") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RefusedError("it is a symbolic link, which could point elsewhere once it is moved") from None
        raise RefusedError(f"it cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RefusedError("it is not a regular file")
    return os.fdopen(descriptor, "rb")


@contextmanager
def pin_name(name: str, *, make: bool = False) -> Iterator[str]:
    """Yield a name for a file that stays valid even if folders on its path are renamed or replaced meanwhile.

    Args:
        name: Absolute path of the file.
        make: Create missing folders, and sync each to disk: a file is only safe in a folder that is.

    Yields:
        A name below /proc that goes through an open descriptor of the folder; `name` itself if there is no /proc.

    Raises:
        RefusedError: If a folder on the path is a symbolic link.
        OSError: If a folder cannot be opened or created.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(name)  # raises if the name is too long for the system: folder by folder it would be accepted
    *folders, last = name.lstrip("/").split("/")
    descriptor = os.open("/", _FOLDER)
    try:
        for folder in folders:
            inner = _open_folder(descriptor, folder, make=make)
            os.close(descriptor)
            descriptor = inner
        yield f"/proc/self/fd/{descriptor}/{last}" if os.path.isdir("/proc/self/fd") else name
    finally:
        os.close(descriptor)


def _open_folder(parent: int, folder: str, *, make: bool) -> int:
    """Return a descriptor of a folder in the folder with the descriptor `parent`."""
    try:
        return os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    except NotADirectoryError:
        if not stat.S_ISLNK(os.stat(folder, dir_fd=parent, follow_symlinks=False).st_mode):
            raise
        raise RefusedError(f"{folder!r} on its path was replaced by a link: put the folder back") from None
    with suppress(FileExistsError):
        os.mkdir(folder, dir_fd=parent)
        sync_folder(f"/proc/self/fd/{parent}")
    return _open_folder(parent, folder, make=False)


def lock_file(file: BufferedReader, kind: int) -> None:
    """Take an advisory lock that ends when the file is closed.

    It keeps two plans that contradict each other from dropping both copies of an image. A file system without locks is
    accepted.

    Args:
        file: An open file.
        kind: `fcntl.LOCK_SH` for a keeper, `fcntl.LOCK_EX` for a file that is moved.

    Raises:
        RefusedError: If another process has a lock on it.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RefusedError("another process is moving it, or needs it as a keeper") from None
    except OSError:
        pass  # a file system without locks


def check_identity(file: BufferedReader, expected: FileIdentity) -> str:
    """Read a whole file and compare it with what is known of it.

    Returns:
        The SHA-256 digest of its content, in hex.

    Raises:
        RefusedError: If it cannot be read, differs from `expected`, or changes while it is read.
    """
    before = os.fstat(file.fileno())
    if expected.size is not None and before.st_size != expected.size:
        raise RefusedError(f"it changed since the run: {before.st_size:,} bytes instead of {expected.size:,}")
    try:
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RefusedError(f"it cannot be read: {error.strerror}") from None
    if expected.sha256 and digest != expected.sha256:
        raise RefusedError("it changed since the run: different content")
    if get_inode(os.fstat(file.fileno())) != get_inode(before):
        raise RefusedError("it changed while it was being read")
    return digest


def get_inode(status: os.stat_result) -> Identity:
    """Return what changes whenever a file is written to or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_at(file: BufferedReader, name: str) -> bool:
    """Return whether `name` is the open file, unchanged since."""
    with suppress(OSError):
        return get_inode(os.lstat(name)) == get_inode(os.fstat(file.fileno()))
    return False


def is_same(file: BufferedReader | BufferedRandom, name: str) -> bool:
    """Return whether `name` is the open file, which may have been renamed or written to since."""
    with suppress(OSError):
        return os.path.samestat(os.lstat(name), os.fstat(file.fileno()))
    return False


def get_proc_name(file: BufferedReader | BufferedRandom) -> str:
    """Return a name for an open file that stays valid even if its own name is taken by another file."""
    return f"/proc/self/fd/{file.fileno()}" if os.path.isdir("/proc/self/fd") else file.name


def sync_folder(folder: str) -> None:
    """Write the entries of a folder to disk, on file systems that can."""
    with suppress(OSError):  # some network file systems cannot
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
