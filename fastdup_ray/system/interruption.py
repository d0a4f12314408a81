"""What ends a command early: Ctrl-C, SIGTERM (which stops jobs and containers), SIGHUP (the terminal is gone).

The first signal raises `KeyboardInterrupt` in the main thread, so that locks, temporary files and Ray are cleaned up on
the way out. A thread watches over that: code that does not come back to Python (a decoder, a search), and code that
waits for another thread, never sees an exception.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_CODE = 130
MESSAGE = "Interrupted. Run the same command to resume."

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

GRACE = 8.0
"""Seconds to clean up in, after which the process ends as it is. Who stops a container waits for 10."""

REPEAT = 1.0
"""Seconds in which a second signal counts as the first one again: `timeout` sends each twice."""


class Interruption:
    """The signals of this process.

    Attributes:
        seen: Whether one came that asks the process to end.
    """

    def __init__(self) -> None:
        self.seen = False
        self._raised = False
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._wakeup = -1
        self._is_told = threading.Lock()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def start(self) -> None:
        """Take over the signals. Those that this process was told to ignore (nohup) stay ignored."""
        for number, handler in self._handlers.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._interrupt)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="interruption", daemon=True).start()

    def stop(self) -> None:
        """Give the signals back."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._writer)  # the end of the thread

    def tell(self) -> None:
        """Print once that the command was interrupted."""
        if self._is_told.acquire(blocking=False):
            with suppress(AttributeError, OSError, ValueError):  # nobody reads standard error any more
                print(MESSAGE, file=sys.stderr, flush=True)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        if not self._raised:  # a second exception would break off what the first one cleans up
            self._raised = True
            raise KeyboardInterrupt

    def _watch(self) -> None:
        """Wait for a signal, then for the end of the grace or another signal, and end the process.

        Python writes the number of each signal to the pipe as it arrives, whatever the main thread is busy with, and
        whoever has put a handler of its own in place, as Ray does.
        """
        with open(self._reader, "rb", buffering=0) as signals:
            while not self.seen:
                if not (number := signals.read(1)):
                    return
                self.seen = number[0] in SIGNALS
            first = time.monotonic()
            while (left := first + GRACE - time.monotonic()) > 0:
                if select.select([signals], [], [], left)[0]:
                    number = signals.read(1)
                    if not number:
                        return
                    if number[0] in SIGNALS and time.monotonic() > first + REPEAT:
                        break
        self.tell()
        os._exit(EXIT_CODE)


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Run a command, which a signal ends in order, or by force where that takes too long.

    What an interrupted command raises, whatever it is, becomes `SystemExit(EXIT_CODE)` after one line on standard
    error. The watch goes on until the process ends. Elsewhere than in the main thread, where Python cannot take signals
    over, nothing is changed.
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
        interruption.tell()
        sys.exit(EXIT_CODE)
    finally:
        if not interruption.seen:
            interruption.stop()
