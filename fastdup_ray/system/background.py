"""Background threads that never keep the process alive.

Python waits for the threads of a `ThreadPoolExecutor` when it exits, and each occupies a slot of the pool until it
returns. A thread that reads from a silent pipe, or from a server that sends one byte a second, would block both.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")

JOIN_SECONDS = 1.0
"""Seconds that a thread has to notice the event `stop` before it is abandoned."""


def start(function: Callable[..., Result], *args: Any) -> Future[Result]:
    """Run `function(*args)` in a new daemon thread, and return its future."""
    future: Future[Result] = Future()

    def work() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


@contextmanager
def start_in_background(function: Callable[[threading.Event], Result]) -> Iterator[Future[Result]]:
    """Run `function(stop)` in a thread while the context lasts, and abandon it if it does not return in time.

    Args:
        function: A function that returns soon after the event `stop` is set, unless it is blocked.

    Yields:
        The future of its result.
    """
    stop = threading.Event()
    future = start(function, stop)
    try:
        yield future
    finally:
        stop.set()
        wait([future], JOIN_SECONDS)
