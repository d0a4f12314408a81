"""Work beside the main thread, which is never waited for in vain.

The threads of a `ThreadPoolExecutor` are waited for when Python ends, and each has a place in the pool until it comes
back: one that reads from a silent pipe, or a server that sends a byte a second, would keep the process for ever.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")

JOIN_SECONDS = 1.0
"""Seconds that a thread gets to see that nobody wants its result any more."""


def start(function: Callable[..., Result], *args: Any) -> Future[Result]:
    """Run `function(*args)` in a thread of its own, which does not keep the process."""
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
    """Run `function(stop)` in a thread while the body runs, and leave it behind where it does not come back.

    Args:
        function: Returns soon after the event `stop` is set, unless it waits for something.
    """
    stop = threading.Event()
    future = start(function, stop)
    try:
        yield future
    finally:
        stop.set()
        wait([future], JOIN_SECONDS)
