"""Signals that end a command: SIGINT (Ctrl-C), SIGTERM (stops jobs and containers), SIGHUP (the terminal is closed).

The first signal raises `KeyboardInterrupt` in the main thread, so that locks, temporary files and Ray are cleaned up. A
watcher thread ends the process if this takes too long, or at another signal: code that does not return to Python (a
decoder, a search), or that waits for another thread, never sees the exception.
"""

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

EXIT_CODE = 130
MESSAGE = "Interrupted. Run the same command to resume."

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

GRACE = 8.0
"""Seconds for the cleanup, after which the process is ended. Container runtimes wait for 10."""

REPEAT = 1.0
"""Seconds in which a second signal is ignored, since `timeout` sends each signal twice."""


class Interruption:
    """Handles the signals of this process.

    Attributes:
        seen: Whether one of `SIGNALS` was received.
    """

    def __init__(self) -> None:
        self.seen = False
        self._raised = False
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._wakeup = -1
        self._is_printed = threading.Lock()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def start(self) -> None:
        """Install the handlers. Signals that this process ignores (nohup) stay ignored."""
        for number, handler in self._handlers.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._interrupt)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="interruption", daemon=True).start()

    def stop(self) -> None:
        """Restore the previous handlers."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._writer)  # ends the watcher thread

    def print_once(self) -> None:
        """Print that the command was interrupted, unless it was printed already."""
        if self._is_printed.acquire(blocking=False):
            with suppress(AttributeError, OSError, ValueError):  # standard error is closed
                print(MESSAGE, file=sys.stderr, flush=True)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self.seen = True
        if not self._raised:  # a second exception would interrupt the cleanup
            self._raised = True
            raise KeyboardInterrupt

    def _watch(self) -> None:
        """Wait for a signal, then for the end of the grace period or another signal, and end the process.

        Python writes the number of each signal to the pipe as it arrives, even if the main thread is busy, or a library
        such as Ray has replaced the handlers.
        """
        with open(self._reader, "rb", buffering=0) as signals:
            while not self.seen:
                if not (number := signals.read(1)):
                    return
                self.seen = number[0] in SIGNALS
            signal.alarm(0)  # while Ray starts, its handler runs first, and asks to be aborted in 3 seconds
            first = time.monotonic()
            while (left := first + GRACE - time.monotonic()) > 0:
                if select.select([signals], [], [], left)[0]:
                    number = signals.read(1)
                    if not number:
                        return
                    if number[0] in SIGNALS and time.monotonic() > first + REPEAT:
                        break
                    signal.alarm(0)
        self.print_once()
        os._exit(EXIT_CODE)


def leave() -> NoReturn:
    """End this process after an interruption, once everything is cleaned up.

    The interpreter is not torn down: threads of Ray that were interrupted as they started crash in it now and then.
    """
    atexit._run_exitfuncs()  # there is no public way
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # it is closed
            stream.flush()
    os._exit(EXIT_CODE)


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Let signals end a command cleanly, or by force if the cleanup takes too long.

    Any exception of an interrupted command becomes `SystemExit(EXIT_CODE)`, after one line on standard error. The
    watcher thread continues until the process ends. Outside the main thread, where Python cannot handle signals,
    nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interruption = Interruption()
    try:
        interruption.start()
        yield
    except BaseException as error:
        if not interruption.seen and not isinstance(error, KeyboardInterrupt):
            raise
        interruption.print_once()
        sys.exit(EXIT_CODE)
    finally:
        if not interruption.seen:
            interruption.stop()
