"""Threads that can be given up: a decoder that does not come back cannot be stopped, only left behind."""

import atexit
import faulthandler
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from typing import Any, Self

TICK = 0.2
"""Seconds between two looks at the clocks."""

JOIN_SECONDS = 5.0
"""Seconds that a thread gets to come to the end of its item, when no more is wanted of it."""


LONGEST_TICK = 5 * TICK
"""Seconds that count of a longer time between two such looks: nobody worked then, or a decoder held all threads up."""


class StopThread(Exception):
    """Ends the work of a lane of which no more is wanted."""


class Watchdog:
    """Ends this process when nobody pats it for `limit` seconds: for one that can be replaced, such as an actor.

    A decoder that holds Python's global lock stops all threads, and with them every clock that Python looks at. The
    clock of `faulthandler` runs in a thread that needs no lock; it stands still while the machine sleeps.
    """

    def __init__(self, limit: float):
        self._limit, self._patted = limit, 0.0
        # Where the process began without a standard error, descriptor 2 is any file that was opened later.
        self._log = sys.__stderr__ or os.open(os.devnull, os.O_WRONLY)

    def __enter__(self) -> Self:
        self.reset()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._patted = 0.0

    def reset(self) -> None:
        if time.monotonic() - self._patted >= TICK:
            try:
                faulthandler.dump_traceback_later(self._limit, exit=True, file=self._log)
            except RuntimeError:  # it needs a thread, and that some memory
                raise MemoryError("too little memory for another thread") from None
            self._patted = time.monotonic()


class Clock:
    """Seconds that this process was at work. It stands still while the process is stopped, or the machine sleeps."""

    def __init__(self) -> None:
        self._seconds, self._last = 0.0, time.monotonic()

    def now(self) -> float:
        return self._seconds + min(time.monotonic() - self._last, LONGEST_TICK)

    def tick(self) -> None:
        """Has to be called every `TICK` seconds."""
        self._seconds, self._last = self.now(), time.monotonic()


class AbandonableThread(threading.Thread):
    """One thread that takes up jobs, in the context of who starts it. Work calls `on(item)` for each item of a job.

    Once `stop` was called `on` raises `Stopped`, and no other job is taken up.
    """

    def __init__(
        self,
        jobs: queue.SimpleQueue,
        done: queue.SimpleQueue,
        work: Callable[["AbandonableThread", Any], Any],
        clock: Clock,
    ):
        super().__init__(daemon=True)
        self.jobs, self._done, self._work, self._clock = jobs, done, work, clock
        self.job: Any = None
        self.item: Any = None
        self._since: float | None = None
        self._stopped = False
        self._context = copy_context()

    def start_item(self, item: Any) -> None:
        if self._stopped:
            raise StopThread
        self.item, self._since = item, self._clock.now()

    def end_item(self) -> None:
        self._since = None

    def stop(self) -> None:
        self._stopped = True

    def is_overdue(self, timeout: float) -> bool:
        since = self._since
        return since is not None and self._clock.now() - since > timeout

    def run(self) -> None:
        while not self._stopped and (job := self.jobs.get()) is not None:
            self.job = job
            try:
                result = self._context.run(self._work, self, job)
            except BaseException as error:
                result = error
            self._done.put((self, job, result))


_ACTIVE: set[AbandonableThread] = set()


def run_jobs(
    jobs: Iterable[Any],
    work: Callable[[AbandonableThread, Any], Any],
    lanes: int,
    timeout: float,
    late: Callable[[Any], None],
    tick: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Any, Any]]:
    """(job, work(lane, job)) for each of `jobs`, as they end, on `lanes` threads.

    Where one item takes longer than `timeout` seconds of a `Clock`, its thread is given up, `late(item)` is told, and
    another thread does the job again. `tick()` is called at least every `TICK` seconds, unless something holds all
    threads up.
    Raises what `work` raises, and `MemoryError` where there is none for another thread.
    """
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    done: queue.SimpleQueue = queue.SimpleQueue()
    left = 0
    for job in jobs:
        waiting.put(job)
        left += 1
    crew: set[AbandonableThread] = set()
    clock = Clock()
    try:
        while len(crew) < min(lanes, left):
            crew.add(_start(AbandonableThread(waiting, done, work, clock)))
        while left:
            tick()
            clock.tick()
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
            for lane in [lane for lane in crew if lane.is_overdue(timeout)]:
                crew.remove(lane)
                lane.stop()
                _ACTIVE.discard(lane)
                late(lane.item)
                waiting.put(lane.job)
                crew.add(_start(AbandonableThread(waiting, done, work, clock)))
    finally:
        _join_threads(crew)


def _join_threads(crew: set[AbandonableThread]) -> None:
    """Waits for the threads: one that is still in a decoder or in the model when Python ends aborts the process."""
    for lane in crew:
        lane.stop()
    for lane in crew:
        lane.jobs.put(None)  # after all are stopped, as it may be another one that takes it
    end = time.monotonic() + JOIN_SECONDS
    for lane in crew:
        if lane.is_alive():  # it may not have been started
            lane.join(max(0.0, end - time.monotonic()))
        _ACTIVE.discard(lane)


@atexit.register
def _join_all() -> None:
    """Those of a `work_off` that nobody closed: Ctrl-C comes to whoever waits for it, too."""
    _join_threads(_ACTIVE.copy())


def _start(lane: AbandonableThread) -> AbandonableThread:
    _ACTIVE.add(lane)
    try:
        lane.start()
    except RuntimeError:  # what Python says where a thread's stack does not fit into memory
        _ACTIVE.discard(lane)
        raise MemoryError("too little memory for another thread") from None
    return lane
