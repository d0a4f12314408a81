"""The process of the command: names in UTF-8, and standard streams that can always be written to."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


def prepare_process() -> None:
    """Prepare the process for any locale, for closed standard streams, and for readers that end early.

    This may restart the process in Python's UTF-8 mode, so call it before anything else.
    """
    _open_missing_descriptors()
    _enter_utf8_mode()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _make_text_stream(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _make_text_stream(sys.stderr, 2)


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal. It may be None, closed, or any object with a method `write`."""
    with suppress(AttributeError, ValueError):
        return bool(stream.isatty())
    return False


def _open_missing_descriptors() -> None:
    """Open the descriptors 0, 1 and 2 if they are closed: otherwise libraries would write messages into our files."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor


def _enter_utf8_mode() -> None:
    """Restart in UTF-8 mode if the locale is not UTF-8: Arrow, faiss and other nodes take names as UTF-8."""
    if sys.getfilesystemencoding() == "utf-8" or "utf8" in sys._xoptions or not sys.executable:
        return
    words = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execve(sys.executable, words, os.environ | {"PYTHONUTF8": "1"})


class _TextStream(io.TextIOWrapper):
    """A standard stream that discards output once its reader is gone, so that the command can continue.

    Other errors, such as a full disk, are raised once.
    """

    def write(self, text: str) -> int:
        if text != "":  # click probes a stream by writing nothing, and ignores the result
            with self._discard_after_errors():
                return super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._discard_after_errors():
            super().flush()

    @contextmanager
    def _discard_after_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            super().flush()
            if not isinstance(error, BrokenPipeError):
                raise


def _make_text_stream(before: TextIO | None, descriptor: int) -> _TextStream:
    """Return a stream like `before`, which writes characters that it cannot encode as escapes."""
    unbuffered = getattr(before, "write_through", False)  # set by `python -u` and PYTHONUNBUFFERED
    return _TextStream(
        open(descriptor, "wb", buffering=0 if unbuffered else -1, closefd=False),
        encoding=getattr(before, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=getattr(before, "line_buffering", True),
        write_through=unbuffered,
    )
