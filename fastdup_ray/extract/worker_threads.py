"""Worker threads that can be abandoned: a hung decoder cannot be interrupted."""

import atexit
import faulthandler
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from typing import Any, Self, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

TICK = 0.2
"""Seconds between two checks for items that take too long."""

JOIN_SECONDS = 5.0
"""Seconds that a thread has to finish its item once its work is no longer wanted."""

LONGEST_TICK = 5 * TICK
"""Seconds of a longer interval between two checks that count as work. In the rest of it the process was stopped, or a
decoder held Python's global lock, so that no thread could run."""


class StopThread(Exception):
    """Raised inside a thread to end its job, whose result is no longer wanted."""


class Watchdog:
    """A timer that kills this process unless it is reset every `limit` seconds.

    For a process that can be replaced, such as an actor. A decoder that holds Python's global lock stops all Python
    threads, and with them every timer written in Python. The timer of `faulthandler` runs in a C thread, which does not
    need the lock; it does not advance while the machine sleeps.

    Use it as a context manager: the timer starts on entry and is cancelled on exit.

    Args:
        limit: Seconds without a reset after which the process is killed.
    """

    def __init__(self, limit: float) -> None:
        self._limit, self._last_reset = limit, 0.0
        # Where the process began without a standard error, descriptor 2 is any file that was opened later.
        self._log = sys.__stderr__ or os.open(os.devnull, os.O_WRONLY)

    def __enter__(self) -> Self:
        self.reset()
        return self

    def __exit__(self, *exc_info: object) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._last_reset = 0.0

    def reset(self) -> None:
        """Start the timer again, at most once every `TICK` seconds.

        Raises:
            MemoryError: There is too little memory for the timer's thread.
        """
        if time.monotonic() - self._last_reset >= TICK:
            try:
                faulthandler.dump_traceback_later(self._limit, exit=True, file=self._log)
            except RuntimeError:  # raised when its thread cannot be started
                raise MemoryError("too little memory for another thread") from None
            self._last_reset = time.monotonic()


class Clock:
    """Seconds for which this process ran; it does not advance while the process is stopped or the machine sleeps."""

    def __init__(self) -> None:
        self._seconds, self._last = 0.0, time.monotonic()

    def now(self) -> float:
        """Return the seconds since the clock was made."""
        return self._seconds + min(time.monotonic() - self._last, LONGEST_TICK)

    def tick(self) -> None:
        """Advance the clock; has to be called every `TICK` seconds."""
        self._seconds, self._last = self.now(), time.monotonic()


class AbandonableThread(threading.Thread):
    """A daemon thread that takes jobs from a queue and runs them in a copy of the context of its creator.

    A job consists of items, each with its own time limit: the work calls `start_item` before each item and `end_item`
    after the last one. Once `stop` was called, `start_item` raises `StopThread` and the thread takes no further job.

    Attributes:
        jobs: The queue of jobs; None ends the thread.
        job: The job at work.
        item: The item at work.
    """

    def __init__(
        self,
        jobs: "queue.SimpleQueue[Any]",
        results: "queue.SimpleQueue[tuple[AbandonableThread, Any, Any]]",
        work: Callable[["AbandonableThread", Any], Any],
        clock: Clock,
    ) -> None:
        super().__init__(daemon=True)
        self.jobs, self._results, self._work, self._clock = jobs, results, work, clock
        self.job: Any = None
        self.item: Any = None
        self._since: float | None = None
        self._stopped = False
        self._variables = copy_context()  # Thread has a `_context` of its own since Python 3.14

    def start_item(self, item: object) -> None:
        """Start the time limit of the next item, or of the same one again.

        Raises:
            StopThread: The thread was stopped.
        """
        if self._stopped:
            raise StopThread
        self.item, self._since = item, self._clock.now()

    def end_item(self) -> None:
        """End the time limit of the item at work."""
        self._since = None

    def stop(self) -> None:
        """Ask the thread to end at its next item."""
        self._stopped = True

    def is_overdue(self, timeout: float) -> bool:
        """Return whether the item at work has taken more than `timeout` seconds."""
        since = self._since
        return since is not None and self._clock.now() - since > timeout

    def run(self) -> None:
        """Run jobs until the thread is stopped or takes None from the queue."""
        while not self._stopped and (job := self.jobs.get()) is not None:
            self.job = job
            try:
                result = self._variables.run(self._work, self, job)
            except BaseException as error:
                result = error
            self._results.put((self, job, result))


_ACTIVE: set[AbandonableThread] = set()


def run_jobs(
    jobs: Iterable[Job],
    work: Callable[[AbandonableThread, Job], Result],
    threads: int,
    timeout: float,
    on_timeout: Callable[[Any], None],
    tick: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Job, Result]]:
    """Run jobs on several threads; abandon a thread whose item takes too long.

    An abandoned thread is replaced, and the replacement repeats its job.

    Args:
        jobs: The arguments of `work`.
        work: Called with the thread that runs it and a job; calls `start_item` of the thread for each item.
        threads: Number of threads.
        timeout: Seconds of a `Clock` that one item may take.
        on_timeout: Called with each item that took longer, before its job is repeated.
        tick: Called at least every `TICK` seconds, unless something stops all threads of the process.

    Yields:
        Each job with its result, in the order of completion.

    Raises:
        MemoryError: There is too little memory for another thread.
        BaseException: Whatever `work` raises.
    """
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[AbandonableThread, Any, Any]] = queue.SimpleQueue()
    left = 0
    for job in jobs:
        waiting.put(job)
        left += 1
    workers: set[AbandonableThread] = set()
    clock = Clock()
    try:
        while len(workers) < min(threads, left):
            workers.add(_start(AbandonableThread(waiting, results, work, clock)))
        while left:
            tick()
            clock.tick()
            try:
                thread, job, result = results.get(timeout=TICK)
            except queue.Empty:
                pass
            else:
                if thread in workers:
                    if isinstance(result, BaseException):
                        raise result
                    left -= 1
                    yield job, result
            for thread in [thread for thread in workers if thread.is_overdue(timeout)]:
                workers.remove(thread)
                thread.stop()
                _ACTIVE.discard(thread)
                on_timeout(thread.item)
                waiting.put(thread.job)
                workers.add(_start(AbandonableThread(waiting, results, work, clock)))
    finally:
        _join_threads(workers)


def _join_threads(workers: set[AbandonableThread]) -> None:
    """Wait for threads: Python aborts if one is still in a decoder or in the model when the interpreter ends."""
    for thread in workers:
        thread.stop()
    for thread in workers:
        thread.jobs.put(None)  # only once all are stopped: any of them may take it
    end = time.monotonic() + JOIN_SECONDS
    for thread in workers:
        if thread.is_alive():  # it may never have been started
            thread.join(max(0.0, end - time.monotonic()))
        _ACTIVE.discard(thread)


@atexit.register
def _join_all() -> None:
    """Wait for the threads of a `run_jobs` that was not closed, such as one that Ctrl-C interrupted."""
    _join_threads(_ACTIVE.copy())


def _start(thread: AbandonableThread) -> AbandonableThread:
    _ACTIVE.add(thread)
    try:
        thread.start()
    except RuntimeError:  # raised when there is no memory for the thread's stack
        _ACTIVE.discard(thread)
        raise MemoryError("too little memory for another thread") from None
    return thread
