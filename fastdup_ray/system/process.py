"""What the command needs of its process: names in UTF-8, and standard streams that can be written to."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


def prepare_process() -> None:
    """Make the locale, closed standard streams and readers that leave early harmless.

    May replace this process by one in Python's UTF-8 mode that does the same, so it has to come first.
    """
    _open_missing_descriptors()
    _enter_utf8_mode()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _make_text_stream(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _make_text_stream(sys.stderr, 2)


def is_terminal(stream: Any) -> bool:
    """Whether a person looks at a stream, which may be None, closed, or any object with a method `write`."""
    with suppress(AttributeError, ValueError):
        return bool(stream.isatty())
    return False


def _open_missing_descriptors() -> None:
    """Keep 0, 1 and 2 from becoming files of ours, into which libraries would write their messages."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free


def _enter_utf8_mode() -> None:
    """Start again where the locale is another: Arrow, faiss and the nodes of a cluster take names as UTF-8."""
    if sys.getfilesystemencoding() == "utf-8" or "utf8" in sys._xoptions or not sys.executable:
        return
    words = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execve(sys.executable, words, os.environ | {"PYTHONUTF8": "1"})


class _TextStream(io.TextIOWrapper):
    """A standard stream. Once its reader is gone, what is written to it is lost, and the command goes on.

    Other errors, such as a full disk, are raised once.
    """

    def write(self, text: str) -> int:
        if text != "":  # click asks with nothing what a stream takes, and passes over the answer
            with self._given_up_on_errors():
                return super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._given_up_on_errors():
            super().flush()

    @contextmanager
    def _given_up_on_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            super().flush()
            if not isinstance(error, BrokenPipeError):
                raise


def _make_text_stream(before: TextIO | None, descriptor: int) -> _TextStream:
    """The stream of a descriptor as `before` is, that writes what its encoding lacks as an escape."""
    unbuffered = getattr(before, "write_through", False)  # of `python -u`, and PYTHONUNBUFFERED
    return _TextStream(
        open(descriptor, "wb", buffering=0 if unbuffered else -1, closefd=False),
        encoding=getattr(before, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=getattr(before, "line_buffering", True),
        write_through=unbuffered,
    )
