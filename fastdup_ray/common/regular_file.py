"""Open the files that a user names: regular files only, without ever waiting for somebody to open their other end."""

import errno
import io
import os
import stat
from typing import BinaryIO, TextIO


class NotRegularError(OSError):
    """A name is that of a pipe, a socket or a device."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read bytes from.

    Raises:
        OSError: It cannot be opened, or is a folder; `NotRegularError` where it is a pipe, a socket or a device.
    """
    return open(path, "rb", opener=_open_checked)


def open_regular_text(path: str | os.PathLike[str], encoding: str) -> TextIO:
    """Do the same for text. Bytes that its encoding lacks become surrogates, line ends stay as they are."""
    return io.TextIOWrapper(open_regular(path), encoding=encoding, errors="surrogateescape", newline="")


def _open_checked(path: str, flags: int) -> int:
    # Without O_NONBLOCK a pipe that nobody writes to would keep us, without O_NOCTTY a terminal would send us signals.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            what = "it is a pipe; save its content as a file" if stat.S_ISFIFO(mode) else "it is not a regular file"
            raise NotRegularError(errno.EINVAL, what, path)
        os.set_blocking(descriptor, True)  # some files of /proc have nothing to read yet
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
