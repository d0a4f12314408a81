"""Pictures in local folders."""

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from fastdup_ray.actions.places.known import Known, Link
from fastdup_ray.errors import RefusedError, WorkDirError

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # linux/fcntl.h, linux/fs.h

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

Identity = tuple[int, ...]


class LocalPlace:
    """See `fastdup_ray.actions.places.Place`."""

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

    def check(self, name: str, known: Known) -> None:
        with _opened(name) as file:
            _check(file, known)
        if not os.access(os.path.dirname(name), os.W_OK | os.X_OK):
            raise RefusedError("it cannot be moved: its folder cannot be written")

    @contextmanager
    def held(self, name: str, known: Known) -> Iterator[None]:
        """A picture that was checked before is read again only where its inode has changed since."""
        with _opened(name, follow_links=True) as file:
            _lock(file, fcntl.LOCK_SH)
            identity = _identity(os.fstat(file.fileno()))
            if self._checked.get(name) != (identity, known):
                _check(file, known)
                self._checked[name] = identity, known
            yield

    def move(self, source: str, target: str, known: Known) -> None:
        with _opened(source) as file:
            _lock(file, fcntl.LOCK_EX)
            digest = _check(file, known)
            if not _is_at(file, source):
                raise RefusedError("another file took its name while it was checked")
            with _told(target):
                _make_folders(os.path.dirname(target))
                try:
                    _to_new_name(file, source, target, digest)
                except FileExistsError:
                    if not _is_finished(file, source, target, digest):
                        raise
                    _take_away(file, source)
                for folder in {os.path.dirname(name) for name in (target, source)}:
                    _sync(folder)

    def link(self, source: str, target: str, kind: Link) -> None:
        with _told(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                if kind == "hard":
                    os.link(os.path.realpath(source), target)  # a link to a link may lead nowhere from there
                elif kind == "symlink":
                    os.symlink(source, target)
                else:
                    with _opened(source, follow_links=True) as file:
                        _copy(file, source, target, _check(file, Known()))
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


def _opened(name: str, *, follow_links: bool = False) -> BinaryIO:
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


def _lock(file: BinaryIO, kind: int) -> None:
    """Advisory, and gone with the descriptor: it keeps two plans that contradict each other from acting at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RefusedError("another process is moving it, or needs it as a keeper") from None
    except OSError:
        pass  # a file system without locks


def _check(file: BinaryIO, known: Known) -> str:
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
    if _identity(os.fstat(file.fileno())) != _identity(before):
        raise RefusedError("it changed while it was read")
    return digest


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


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


def _to_new_name(file: BinaryIO, source: str, target: str, digest: str) -> None:
    """Renames, or copies to another file system; `FileExistsError` where `target` exists.

    digest: of the bytes in `file`, which is `source`.
    """
    if os.path.lexists(target):  # told before a copy is made in vain; the calls below see to it once more
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    try:
        _rename_new(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_and_remove(file, source, target, digest)


def _rename_new(source: str, target: str) -> None:
    """Renames; `FileExistsError` where `target` exists: the kernel sees to it, so nobody can come in between."""
    code = _renameat2(source, target)
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # NFS, and systems without it
        os.link(source, target, follow_symlinks=False)  # killed here, both names stay, and `move` goes on
        os.unlink(source)
    elif code:
        raise OSError(code, os.strerror(code), source, None, target)


def _renameat2(source: str, target: str) -> int:
    """Linux's call that does not replace; returns 0 or an error number."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return errno.ENOSYS
    names = os.fsencode(source), os.fsencode(target)
    failed = function(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE)
    return ctypes.get_errno() if failed else 0


def _copy_and_remove(file: BinaryIO, source: str, target: str, digest: str) -> None:
    """To another file system. `source` goes only when its copy, whole and under its name, is on the disk."""
    _copy(file, source, target, digest)
    try:
        _take_away(file, source)
    except BaseException:
        if _is_at(file, source):  # a folder that cannot be written: all as it was
            os.unlink(target)
        raise


def _copy(file: BinaryIO, source: str, target: str, digest: str) -> None:
    """A copy, read again from the disk before it gets its name; `FileExistsError` where `target` exists."""
    folder = os.path.dirname(target)
    # Always the same name: what a killed call left is written over by the next.
    temporary = os.path.join(folder, f".fastdup-{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}.part")
    try:
        file.seek(0)
        with open(temporary, "wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        shutil.copystat(source, temporary)
        with open(temporary, "rb") as copy:
            if hasattr(os, "posix_fadvise"):  # what is read now is what the disk has
                os.posix_fadvise(copy.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if hashlib.file_digest(copy, "sha256").hexdigest() != digest:
                raise RefusedError("its copy came out different; the disk may be failing")
        _rename_new(temporary, target)
        _sync(folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _is_finished(file: BinaryIO, source: str, target: str, digest: str) -> bool:
    """Whether `target` is the file already, or a whole copy of it, since an earlier call was killed."""
    folders = [os.stat(os.path.dirname(name)) for name in (source, target)]
    if os.path.samestat(*folders) and os.path.basename(source) == os.path.basename(target):
        return False  # one and the same name, in a folder that is mounted twice
    with _opened(target) as other:
        if os.path.sameopenfile(file.fileno(), other.fileno()):
            if os.fstat(file.fileno()).st_nlink == 1:
                return False  # one name, written in two ways
        else:
            if hashlib.file_digest(other, "sha256").hexdigest() != digest:
                return False
            os.fsync(other.fileno())
    _sync(os.path.dirname(target))
    return True


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


def _take_away(file: BinaryIO, source: str) -> None:
    """Takes away the name of a file that stands under another one as a whole: nothing but what was read."""
    if not _is_at(file, source):
        raise RefusedError("it changed while it was moved; what was read of it is in the quarantine as well")
    os.unlink(source)


def _is_at(file: BinaryIO, name: str) -> bool:
    with suppress(OSError):
        return _identity(os.lstat(name)) == _identity(os.fstat(file.fileno()))
    return False


def _make_folders(folder: str) -> None:
    """Makes a folder, and those that it is in, on the disk: a file is safe in them only when they are."""
    if not os.path.isdir(folder):
        _make_folders(os.path.dirname(folder))
        with suppress(FileExistsError):
            os.mkdir(folder)
        _sync(os.path.dirname(folder))


def _sync(folder: str) -> None:
    with suppress(OSError):  # some network file systems cannot
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
