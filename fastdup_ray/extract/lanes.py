"""Threads that can be given up: a decoder that does not come back cannot be stopped, only left behind."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

TICK = 0.2
"""Seconds between two looks at the clocks."""


class Lane(threading.Thread):
    """One thread that takes up jobs. Work calls `on(item)` as it takes up each item of a job."""

    def __init__(self, jobs: queue.SimpleQueue, done: queue.SimpleQueue, work: Callable[["Lane", Any], Any]):
        super().__init__(daemon=True)
        self._jobs, self._done, self._work = jobs, done, work
        self.job: Any = None
        self.item: Any = None
        self._since: float | None = None

    def on(self, item: Any) -> None:
        self.item, self._since = item, time.monotonic()

    def off(self) -> None:
        self._since = None

    def overdue(self, timeout: float) -> bool:
        since = self._since
        return since is not None and time.monotonic() - since > timeout

    def run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self.job = job
            try:
                result = self._work(self, job)
            except BaseException as error:
                result = error
            self._done.put((self, job, result))


def work_off(
    jobs: Iterable[Any], work: Callable[[Lane, Any], Any], lanes: int, timeout: float, late: Callable[[Any], None]
) -> Iterator[tuple[Any, Any]]:
    """(job, work(lane, job)) for each of `jobs`, as they end, on `lanes` threads.

    Where one item takes longer than `timeout` seconds, its thread is given up, `late(item)` is told, and another
    thread does the job again. Raises what `work` raises.
    """
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    done: queue.SimpleQueue = queue.SimpleQueue()
    left = 0
    for job in jobs:
        waiting.put(job)
        left += 1
    crew = {Lane(waiting, done, work) for _ in range(min(lanes, left))}
    for lane in crew:
        lane.start()
    while left:
        try:
            lane, job, result = done.get(timeout=TICK)
        except queue.Empty:
            pass
        else:
            if lane in crew:
                if isinstance(result, BaseException):
                    raise result
                left -= 1
                yield job, result
        for lane in [lane for lane in crew if lane.overdue(timeout)]:
            crew.remove(lane)
            late(lane.item)
            waiting.put(lane.job)
            crew.add(another := Lane(waiting, done, work))
            another.start()
    for _ in crew:
        waiting.put(None)
