"""Open files that the user named: regular files only, so that opening never blocks."""

import errno
import io
import os
import stat
from typing import BinaryIO, TextIO


class NotRegularError(OSError):
    """A path is that of a pipe, socket or device."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading bytes.

    Raises:
        NotRegularError: It is a pipe, socket or device.
        OSError: It is a folder, or cannot be opened.
    """
    return open(path, "rb", opener=_open_checked)


def open_regular_text(path: str | os.PathLike[str], encoding: str) -> TextIO:
    """Open a regular file for reading text, as `open_regular` does.

    Bytes that are invalid in the encoding become surrogates (`surrogateescape`); line ends are not translated.
    """
    return io.TextIOWrapper(open_regular(path), encoding=encoding, errors="surrogateescape", newline="")


def _open_checked(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a pipe without a writer blocks; without O_NOCTTY, a terminal may send signals.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            what = "it is a pipe; save its content as a file" if stat.S_ISFIFO(mode) else "it is not a regular file"
            raise NotRegularError(errno.EINVAL, what, path)
        os.set_blocking(descriptor, True)  # some files in /proc would return nothing otherwise
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
