"""Work beside the main thread, which is never waited for in vain."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

FAREWELL = 1.0
"""Seconds that a thread gets to see that nobody wants its result any more."""


@contextmanager
def in_background(function: Callable[[threading.Event], Result]) -> Iterator[Future[Result]]:
    """Run `function(stop)` in a thread while the body runs, and leave it behind where it does not come back.

    The threads of a `ThreadPoolExecutor` are waited for when Python ends: one that reads from a silent pipe would keep
    the process for ever.

    Args:
        function: Returns soon after the event `stop` is set, unless it waits for something.
    """
    stop, future = threading.Event(), Future()

    def work() -> None:
        try:
            future.set_result(function(stop))
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield future
    finally:
        stop.set()
        thread.join(FAREWELL)
