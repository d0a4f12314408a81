"""The extract actors of one run on Ray: a pool that keeps them busy and replaces those that die."""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError, RayError, RayTaskError

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.errors import FastdupError, WorkerError
from fastdup_ray.executors.attempts import MAX_STARTS, Attempt, count_death, explain_deaths
from fastdup_ray.executors.extract_actor import ExtractActor
from fastdup_ray.executors.ray_results import end_actor, find_cause, get_last_line, is_node_lost, wait_any
from fastdup_ray.executors.worker_counts import Placement, make_no_gpu_error
from fastdup_ray.extract.extractor import ExtractSpec, deliver_quarantined

log = logging.getLogger(__name__)

IN_FLIGHT = 2
"""Shards assigned to an actor: one at work and one waiting, so that it never idles."""


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
    assigned: "dict[ray.ObjectRef[Any], Attempt]" = field(default_factory=dict)
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
        self._queue: deque[Attempt] = deque()
        self._never_ready = 0

    def run(self, shards: Iterable[Shard]) -> Generator[ShardReceipt, None, None]:
        """Yield a receipt for each of `shards`, or for each part if a shard had to be split.

        Raises:
            WorkerError: Actors die before they are ready, or no node has a core for one.
            ConfigError: No node has a GPU for one.
        """
        fresh = (Attempt(shard) for shard in shards)
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
            actor: Any = kind(ExtractActor).remote(replace(self._spec, threads=now.cores))
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

    def _release(self, worker: _Worker) -> list[Attempt]:
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
        if count_death(self._queue, at_work):
            yield deliver_quarantined(self._spec, at_work.shard, explain_deaths(out_of_memory=_is_out_of_memory(error)))

    def _explain_no_room(self) -> FastdupError:
        if self._spec.gpu:
            return make_no_gpu_error("no node of this Ray has a GPU, and its autoscaler adds none")
        return WorkerError("No node of this Ray has a free core for an extract actor, and its autoscaler adds none.")


def _is_out_of_memory(error: RayError) -> bool:
    # A MemoryError of the actor itself, or Ray's message if it killed the worker to protect the node.
    return isinstance(error, RayTaskError) or "running low on memory" in str(error)
