"""A file under a new name: never over another one, and whole under one of both at any moment."""

import ctypes
import errno
import hashlib
import os
import shutil
from contextlib import suppress
from typing import BinaryIO

from fastdup_ray.curation.file_ops.posix_file import get_proc_name, is_at, is_same, open_file, sync_folder
from fastdup_ray.errors import RefusedError

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # linux/fcntl.h, linux/fs.h

_NO_RENAMEAT2 = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)
"""Answers of NFS, of systems without it, and of sandboxes that refuse the call (seccomp of older containers)."""


def move_to_new_name(file: BinaryIO, source: str, target: str, digest: str) -> None:
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
    else:
        if not is_same(file, target):
            _rename_new(target, source)
            raise RefusedError("another file took its name while it was moved")


def _rename_new(source: str, target: str) -> None:
    """Renames; `FileExistsError` where `target` exists: the kernel sees to it, so nobody can come in between."""
    code = _renameat2(source, target)
    if code in _NO_RENAMEAT2:
        os.link(source, target, follow_symlinks=False)  # killed here, both names stay, and `move` goes on
        try:
            os.unlink(source)
        except OSError:
            os.unlink(target)
            raise
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
    copy_verified(file, source, target, digest)
    try:
        remove_source(file, source)
    except BaseException:
        if is_at(file, source):  # a folder that cannot be written: all as it was
            os.unlink(target)
        raise


def copy_verified(file: BinaryIO, source: str, target: str, digest: str) -> None:
    """A copy, read again from the disk before it gets its name; `FileExistsError` where `target` exists."""
    folder, last = os.path.split(target)
    # Always the same name: what a killed call left goes when the next comes.
    temporary = os.path.join(folder, f".fastdup-{hashlib.sha256(os.fsencode(last)).hexdigest()[:16]}.part")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        with open(temporary, "x+b", opener=_open_private) as made:  # never through a link that somebody put there
            file.seek(0)
            shutil.copyfileobj(file, made, 1 << 20)
            made.flush()
            os.fsync(made.fileno())
            _copy_status(file, made)
            if hasattr(os, "posix_fadvise"):  # what is read now is what the disk has
                os.posix_fadvise(made.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            made.seek(0)
            if hashlib.file_digest(made, "sha256").hexdigest() != digest:
                raise RefusedError("its copy came out different; the disk may be failing")
            _rename_new(temporary, target)
            if not is_same(made, target):
                raise RefusedError(f"another file took the name of its copy and is there now as {last!r}")
        sync_folder(folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _open_private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _copy_status(file: BinaryIO, made: BinaryIO) -> None:
    status = os.fstat(file.fileno())
    with suppress(OSError):  # only root may give files away, and not every disk has owners
        os.fchown(made.fileno(), status.st_uid, status.st_gid)
    shutil.copystat(get_proc_name(file), get_proc_name(made))


def is_finished(file: BinaryIO, source: str, target: str, digest: str) -> bool:
    """Whether `target` is the file already, or a whole copy of it, since an earlier call was killed."""
    folders = [os.stat(os.path.dirname(name)) for name in (source, target)]
    if os.path.samestat(*folders) and os.path.basename(source) == os.path.basename(target):
        return False  # one and the same name, in a folder that is mounted twice
    with open_file(target) as other:
        if os.path.sameopenfile(file.fileno(), other.fileno()):
            if os.fstat(file.fileno()).st_nlink == 1:
                return False  # one name, written in two ways
        else:
            if hashlib.file_digest(other, "sha256").hexdigest() != digest:
                return False
            os.fsync(other.fileno())
    sync_folder(os.path.dirname(target))
    return True


def remove_source(file: BinaryIO, source: str) -> None:
    """Takes away the name of a file that stands under another one as a whole: nothing but what was read."""
    if not is_at(file, source):
        raise RefusedError("it changed while it was moved; what was read of it is in the quarantine as well")
    os.unlink(source)
