"""Work that waits for others, such as requests, done several at a time and in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def call_ahead(calls: Iterable[Callable[[], Result]], at_once: int) -> Iterator[Result]:
    """Call functions in threads, no more than `at_once` ahead of the results that are taken.

    Args:
        calls: What to call.
        at_once: Threads; with 1 there are none.

    Yields:
        The results, in the order of the calls.
    """
    if at_once == 1:
        yield from (call() for call in calls)
        return
    with ThreadPoolExecutor(at_once) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for call in calls:
                waiting.append(pool.submit(call))
                if len(waiting) == at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
