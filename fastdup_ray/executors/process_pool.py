"""The extract actors of a run on this machine: child processes that are kept busy, and replaced if they die."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import wait
from typing import Self

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.errors import WorkerError
from fastdup_ray.executors.attempts import MAX_STARTS, Attempt, count_death, explain_deaths
from fastdup_ray.executors.child_process import ChildProcess
from fastdup_ray.executors.extract_process import ExtractProcess
from fastdup_ray.extract.extractor import ExtractSpec, deliver_quarantined

log = logging.getLogger(__name__)

IMAGES_PER_START = 64
"""Waiting images for which another process is started: reading them takes about as long as the start."""

WAITING = 4
"""Shards that wait for each process, so that the number of waiting images tells how many processes are worth it."""


class ProcessPool:
    """Child processes that read shards, and what to do if they die: as on Ray, the image at fault is bad.

    It starts processes when it runs, and keeps them from one run to the next. They end with the context.
    """

    def __init__(self, spec: ExtractSpec, most: int, take_started: Callable[[], ChildProcess | None]) -> None:
        """Prepare a pool.

        Args:
            spec: Of each extractor.
            most: Processes at the same time.
            take_started: Returns a process that was started already, if there is one.
        """
        self._spec, self._most, self._take_started = spec, most, take_started
        self._processes: list[ExtractProcess] = []
        self._queue: deque[Attempt] = deque()
        self._never_ready = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        while self._processes:
            self._processes.pop().end()

    def run(self, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        """Yield a receipt for each of `shards`, or for each part if a shard had to be split.

        Raises:
            WorkerError: Processes die before they are ready.
            BaseException: What an extractor raised.
        """
        fresh = map(Attempt, shards)
        while True:
            self._queue.extend(islice(fresh, max(0, self._most * WAITING - len(self._queue))))
            self._scale_up()
            self._assign_shards()
            awaited = {each.connection: each for each in self._processes if each.at_work or not each.is_ready}
            if not self._queue and not any(each.at_work for each in awaited.values()):
                return
            for connection in wait(list(awaited)):
                yield from self._handle_message(awaited[connection])  # type: ignore[index]  # only connections

    def _scale_up(self) -> None:
        waiting = sum(len(attempt.shard.refs) for attempt in self._queue)
        free = sum(process.at_work is None for process in self._processes)
        worth = waiting // IMAGES_PER_START or int(not self._processes)
        wanted = min(worth - free, len(self._queue) - free, self._most - len(self._processes))
        for _ in range(wanted):
            self._processes.append(ExtractProcess(self._spec, self._take_started() or ChildProcess()))

    def _assign_shards(self) -> None:
        for process in self._processes:
            if process.is_ready and process.at_work is None and self._queue:
                process.assign(self._queue.popleft())

    def _handle_message(self, process: ExtractProcess) -> Iterator[ShardReceipt]:
        try:
            receipt = process.receive()
        except (EOFError, MemoryError) as error:
            yield from self._handle_death(process, error)
            return
        if receipt is None:
            self._never_ready = 0
            return
        process.at_work = None
        yield receipt
        if receipt.worn:
            self._processes.remove(process)
            process.end()

    def _handle_death(self, process: ExtractProcess, error: EOFError | MemoryError) -> Iterator[ShardReceipt]:
        self._processes.remove(process)
        reason, attempt = process.end(), process.at_work
        out_of_memory = isinstance(error, MemoryError)
        if attempt is None:
            self._never_ready += 1
            if self._never_ready >= MAX_STARTS:
                raise WorkerError(f"Extract processes die as they start: {reason}.")
            return
        log.warning("An extract process died (%s); it is replaced.", "out of memory" if out_of_memory else reason)
        self._queue.appendleft(attempt)
        if count_death(self._queue, attempt):
            yield deliver_quarantined(self._spec, attempt.shard, explain_deaths(out_of_memory=out_of_memory))
