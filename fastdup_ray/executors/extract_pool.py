"""The extract actors of one run on Ray: a pool that keeps them busy and replaces those that die."""

import logging
import resource
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError, RayError, RayTaskError

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.errors import BadImageError, ErrorCode, FastdupError, WorkerError
from fastdup_ray.executors.ray_results import end_actor, find_cause, get_last_line, is_node_lost, wait_any
from fastdup_ray.executors.worker_counts import Placement, make_no_gpu_error
from fastdup_ray.extract.extractor import Extractor, ExtractSpec, write_quarantined
from fastdup_ray.extract.worker_threads import Watchdog

log = logging.getLogger(__name__)

IN_FLIGHT = 2
"""Shards assigned to an actor: one at work and one waiting, so that it never idles."""

MAX_ATTEMPTS = 2
"""Actors that may die over one shard before it is split, or over one image before that is marked bad."""

SUSPECT_PARTS = 16
"""Parts into which a shard is split if its actors die: an image among 1,024 is alone after three splits."""

MAX_STARTS = 3
"""Actors in a row that may die before one is ready."""

START_SECONDS = 10.0
"""Seconds beyond the timeout of an image after which an actor ends itself if a decoder holds the interpreter's lock."""


class _ExtractActor:
    """An extractor in its own process, with limited memory. The process ends itself if a decoder blocks all of it."""

    def __init__(self, spec: ExtractSpec) -> None:
        self._spec = spec

    def ready(self) -> None:
        """Load the model. If the process dies here, no image is the cause."""
        self._extractor = Extractor(self._spec, Watchdog(self._spec.timeout + START_SECONDS))
        _bound_memory(self._spec.memory << 20)

    def extract(self, shard: Shard) -> ShardReceipt:
        return self._extractor.extract(shard)


def _bound_memory(more: int) -> None:
    """Limit this process to `more` bytes beyond what it has now; then Python raises `MemoryError`."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; elsewhere RLIMIT_DATA does not count mapped memory
        now = next(
            int(line.split()[1]) << 10
            for line in status.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith("VmData")
        )
        resource.setrlimit(resource.RLIMIT_DATA, (now + more, resource.getrlimit(resource.RLIMIT_DATA)[1]))


@dataclass(eq=False)
class _Attempt:
    shard: Shard
    failures: int = 0


@dataclass(eq=False)
class _Worker:
    """An extract actor and the shards assigned to it.

    Attributes:
        actor: The handle.
        starting: Resolves when the actor is ready; None afterwards.
        assigned: By the reference to the receipt, oldest first. The first is at work.
        cores: That it reserves.
        was_alone: Whether there was no other actor when it was requested.
    """

    actor: Any
    starting: "ray.ObjectRef[Any] | None"
    assigned: "dict[ray.ObjectRef[Any], _Attempt]" = field(default_factory=dict)
    cores: int = 1
    was_alone: bool = False


class ExtractPool:
    """The extract actors of one run: keeps them busy, replaces those that die, and finds the images that killed them.

    Only actors that are ready get work, since one may wait for a free core as long as the run lasts.
    """

    def __init__(self, spec: ExtractSpec, place: Callable[[], Placement]) -> None:
        """Prepare a pool; it starts actors when it runs.

        Args:
            spec: Of each extractor.
            place: Returns how many actors there may be, and what each gets, as the nodes are now.
        """
        self._spec, self._place = spec, place
        self._workers: list[_Worker] = []
        self._queue: deque[_Attempt] = deque()
        self._never_ready = 0

    def run(self, shards: Iterable[Shard]) -> Generator[ShardReceipt, None, None]:
        """Yield a receipt for each of `shards`, or for each part if a shard had to be split.

        Raises:
            WorkerError: Actors die before they are ready, or no node has a core for one.
            ConfigError: No node has a GPU for one.
        """
        fresh = (_Attempt(shard) for shard in shards)
        try:
            while True:
                now = self._place()
                limit = now.actors + now.waiting
                self._queue.extend(islice(fresh, max(0, limit * IN_FLIGHT - len(self._queue))))
                self._scale_up(now, limit)
                self._assign_shards()
                if not self._queue and not any(worker.assigned for worker in self._workers):
                    return
                awaited = {ref: worker for worker in self._workers for ref in worker.assigned}
                awaited |= {worker.starting: worker for worker in self._workers if worker.starting is not None}
                done = wait_any(list(awaited))
                yield from self._handle_result(awaited[done], done)
        finally:
            for worker in self._workers:
                end_actor(worker.actor)

    def _scale_up(self, now: Placement, limit: int) -> None:
        """Start actors up to `limit`, but no more than there are shards for, so that no node is added in vain."""
        starting = [worker for worker in self._workers if worker.starting is not None]
        for worker in starting[len(self._queue) :]:
            self._release(worker)
        for _ in range(min(limit - len(self._workers), len(self._queue) - len(starting))):
            kind = ray.remote(num_cpus=now.cores, num_gpus=now.gpus, scheduling_strategy="SPREAD", max_restarts=0)
            actor: Any = kind(_ExtractActor).remote(replace(self._spec, threads=now.cores))
            self._workers.append(_Worker(actor, actor.ready.remote(), cores=now.cores, was_alone=not self._workers))

    def _assign_shards(self) -> None:
        while self._queue:
            ready = [worker for worker in self._workers if worker.starting is None]
            worker = min(ready, key=lambda worker: len(worker.assigned), default=None)
            if worker is None or len(worker.assigned) >= IN_FLIGHT:
                return
            attempt = self._queue.popleft()
            worker.assigned[worker.actor.extract.remote(attempt.shard)] = attempt

    def _handle_result(self, worker: _Worker, ref: "ray.ObjectRef[Any]") -> Iterator[ShardReceipt]:
        try:
            receipt = ray.get(ref)
        except RayError as error:
            if isinstance(error, RayTaskError) and not isinstance(error.cause, MemoryError):
                raise find_cause(error) from None
            yield from self._handle_death(worker, error)
        else:
            if ref == worker.starting:
                worker.starting = None
                self._never_ready = 0
                if worker.cores < self._place().cores:  # it was requested before the size of its node was known
                    self._release(worker)
                return
            del worker.assigned[ref]
            yield receipt
            if receipt.worn:
                self._release(worker)

    def _release(self, worker: _Worker) -> list[_Attempt]:
        """End an actor; put its shards back into the queue, and return them."""
        self._workers.remove(worker)
        end_actor(worker.actor)
        unfinished = list(worker.assigned.values())
        self._queue.extendleft(reversed(unfinished))
        return unfinished

    def _handle_death(self, worker: _Worker, error: RayError) -> Iterator[ShardReceipt]:
        unfinished = self._release(worker)
        lost = is_node_lost(error)
        if isinstance(error, ActorUnschedulableError):
            if worker.was_alone:
                raise self._explain_no_room()
            return  # others are at work, or the next one is requested alone
        if worker.starting is not None:
            self._never_ready += not lost
            if self._never_ready >= MAX_STARTS:
                raise WorkerError(f"Extract actors die as they start: {get_last_line(error)}")
            return
        log.warning("An extract actor died (%s); it is replaced.", get_last_line(error))
        if not unfinished or lost:  # a lost node is not the fault of an image
            return
        at_work = unfinished[0]
        at_work.failures += 1
        if at_work.failures < MAX_ATTEMPTS:
            return
        self._queue.remove(at_work)
        if len(at_work.shard.refs) > 1:
            self._queue.extendleft(_split_suspects(at_work.shard))
        else:
            yield write_quarantined(self._spec, at_work.shard, _explain_deaths(error))

    def _explain_no_room(self) -> FastdupError:
        if self._spec.gpu:
            return make_no_gpu_error("no node of this Ray has a GPU, and its autoscaler adds none")
        return WorkerError("No node of this Ray has a free core for an extract actor, and its autoscaler adds none.")


def _split_suspects(shard: Shard) -> Iterator[_Attempt]:
    """Yield the parts of a shard that killed its actors. One more death splits a part; a lone image gets all tries."""
    for part in shard.split(SUSPECT_PARTS):
        yield _Attempt(part, failures=0 if len(part.refs) == 1 else MAX_ATTEMPTS - 1)


def _explain_deaths(error: RayError) -> BadImageError:
    # A MemoryError of the actor itself, or Ray's message if it killed the worker to protect the node.
    if isinstance(error, RayTaskError) or "running low on memory" in str(error):
        return BadImageError(ErrorCode.OUT_OF_MEMORY, f"decoding ran out of memory {MAX_ATTEMPTS} times")
    return BadImageError(ErrorCode.CRASHED, f"decoding crashed or hung the worker process {MAX_ATTEMPTS} times")
