"""Move a file to a new name: never over another file, and whole under one of the two names at any moment."""

import ctypes
import errno
import hashlib
import os
import shutil
from contextlib import suppress
from io import BufferedRandom, BufferedReader

from fastdup_ray.curation.file_ops.posix_file import get_proc_name, is_at, is_same, open_file, sync_folder
from fastdup_ray.errors import RefusedError

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # linux/fcntl.h, linux/fs.h

_NO_RENAMEAT2 = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)
"""Errors of NFS, of systems without the call, and of sandboxes that refuse it (seccomp of older containers)."""


def move_to_new_name(file: BufferedReader, source: str, target: str, digest: str) -> None:
    """Rename a file, or copy it to another file system and remove the original.

    Args:
        file: The open file `source`.
        source: Its name.
        target: The new name.
        digest: SHA-256 of its content, in hex.

    Raises:
        FileExistsError: If `target` exists.
        RefusedError: If another file takes one of the names meanwhile, or a copy comes out different.
    """
    if os.path.lexists(target):  # saves a copy in vain; the calls below check it again, atomically
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    try:
        _rename_new(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_and_remove(file, source, target, digest)
    else:
        if not is_same(file, target):
            _rename_new(target, source)
            raise RefusedError("another file took its name while it was being moved")


def _rename_new(source: str, target: str) -> None:
    """Rename without replacing: raise `FileExistsError` if `target` exists, which the kernel checks atomically."""
    code = _renameat2(source, target)
    if code in _NO_RENAMEAT2:
        os.link(source, target, follow_symlinks=False)  # if killed here, both names exist, and `move` finishes it
        try:
            os.unlink(source)
        except OSError:
            os.unlink(target)
            raise
    elif code:
        raise OSError(code, os.strerror(code), source, None, target)


def _renameat2(source: str, target: str) -> int:
    """Call Linux's renameat2, which can rename without replacing; return 0 or an error number."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return errno.ENOSYS
    failed = function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)
    return ctypes.get_errno() if failed else 0


def _copy_and_remove(file: BufferedReader, source: str, target: str, digest: str) -> None:
    """Move to another file system: remove `source` only when its verified copy is on disk under its final name."""
    copy_verified(file, target, digest)
    try:
        remove_source(file, source)
    except BaseException:
        if is_at(file, source):  # such as in a folder that cannot be written: undo the copy
            os.unlink(target)
        raise


def copy_verified(file: BufferedReader, target: str, digest: str) -> None:
    """Copy a file, read the copy back from disk, and only then give it its name.

    Args:
        file: The open file to copy.
        target: The name of the copy.
        digest: SHA-256 of the content, in hex.

    Raises:
        FileExistsError: If `target` exists.
        RefusedError: If the copy differs, or another file takes its name.
    """
    folder, last = os.path.split(target)
    # The name depends on the target alone, so that the next call removes what a killed call left behind.
    temporary = os.path.join(folder, f".fastdup-{hashlib.sha256(os.fsencode(last)).hexdigest()[:16]}.part")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        with open(temporary, "x+b", opener=_open_private) as copy:  # x: never through a link that somebody put there
            file.seek(0)
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
            _copy_status(file, copy)
            if hasattr(os, "posix_fadvise"):  # drop it from the page cache, so that it is read from the disk
                os.posix_fadvise(copy.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            copy.seek(0)
            if hashlib.file_digest(copy, "sha256").hexdigest() != digest:
                raise RefusedError("its copy came out different; the disk may be failing")
            _rename_new(temporary, target)
            if not is_same(copy, target):
                raise RefusedError(f"another file took the name of its copy, {last!r}")
        sync_folder(folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _open_private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _copy_status(file: BufferedReader, copy: BufferedRandom) -> None:
    """Copy owner, mode and times."""
    status = os.fstat(file.fileno())
    with suppress(OSError):  # only root may change owners, and not every file system has them
        os.fchown(copy.fileno(), status.st_uid, status.st_gid)
    shutil.copystat(get_proc_name(file), get_proc_name(copy))


def is_finished(file: BufferedReader, source: str, target: str, digest: str) -> bool:
    """Return whether `target` is already the file, or a whole copy of it, because an earlier call was killed.

    Args:
        file: The open file `source`.
        source: Its name.
        target: A name that exists.
        digest: SHA-256 of the content of `file`, in hex.
    """
    folders = [os.stat(os.path.dirname(name)) for name in (source, target)]
    if os.path.samestat(*folders) and os.path.basename(source) == os.path.basename(target):
        return False  # the same name, in a folder that is mounted twice
    with open_file(target) as other:
        if os.path.sameopenfile(file.fileno(), other.fileno()):
            if os.fstat(file.fileno()).st_nlink == 1:
                return False  # the same name, written in two ways
        else:
            if hashlib.file_digest(other, "sha256").hexdigest() != digest:
                return False
            os.fsync(other.fileno())
    sync_folder(os.path.dirname(target))
    return True


def remove_source(file: BufferedReader, source: str) -> None:
    """Remove the name of a file that is whole under another name.

    Raises:
        RefusedError: If `source` is not, or no longer, the file that was read.
    """
    if not is_at(file, source):
        raise RefusedError("it changed while it was being moved; the version that was read is at the new place too")
    os.unlink(source)
