"""The extract actors of one run on Ray."""

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
from fastdup_ray.executors.placement import Placement, make_no_gpu_error
from fastdup_ray.executors.ray_results import end_actor, find_cause, get_last_line, is_node_lost, wait_any
from fastdup_ray.extract.extractor import Extractor, ExtractSpec, write_quarantined
from fastdup_ray.extract.worker_threads import Watchdog

log = logging.getLogger(__name__)

IN_FLIGHT = 2
"""Shards given to an actor at once: one at work, one waiting, so that it never idles."""

MAX_ATTEMPTS = 2
"""Actors that may die over the same shard before it is split, or over the same picture before it is bad."""

SUSPECT_PARTS = 16
"""Into how many a shard is split whose actors die: the guilty picture among 1,024 is alone after three times."""

MAX_STARTS = 3
"""Actors that may die one after the other before any is ready."""

START_SECONDS = 10.0
"""Seconds beyond what one picture may take, after which an actor that does nothing but hold its lock ends itself."""


class _ExtractActor:
    """An extractor in a process of its own, whose memory is bounded, and which ends when a decoder stops it whole."""

    def __init__(self, spec: ExtractSpec):
        self._spec = spec

    def ready(self) -> None:
        """Loads the model: what dies meanwhile dies of its surroundings, not of a picture."""
        self._extractor = Extractor(self._spec, Watchdog(self._spec.timeout + START_SECONDS))
        _bound_memory(self._spec.memory << 20)

    def extract(self, shard: Shard) -> ShardReceipt:
        return self._extractor.extract(shard)


def _bound_memory(more: int) -> None:
    """Lets this process write to at most `more` bytes beyond what it has now; then Python raises `MemoryError`."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; elsewhere RLIMIT_DATA says nothing of mapped memory
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
    """An extract actor, and what it was given, oldest first; the first is at work.

    starting: resolves when the actor is ready; None once it is. cores: that it has. alone: when it was asked for.
    """

    actor: Any
    starting: ray.ObjectRef | None
    given: dict[ray.ObjectRef, _Attempt] = field(default_factory=dict)
    cores: int = 1
    alone: bool = False


class ExtractPool:
    """The extract actors of one run: keeps them busy, replaces the dead, and finds the pictures that killed them.

    Only who is ready is given work: an actor may wait for a free core as long as the others need for everything.
    place: how many there may be, and what each gets, as the nodes are at the moment.
    """

    def __init__(self, spec: ExtractSpec, place: Callable[[], Placement]):
        self._spec, self._place = spec, place
        self._members: list[_Worker] = []
        self._queue: deque[_Attempt] = deque()
        self._never_ready = 0

    def run(self, shards: Iterable[Shard]) -> Generator[ShardReceipt, None, None]:
        """A receipt for each of `shards`, and for each part of one that had to be split."""
        fresh = (_Attempt(shard) for shard in shards)
        try:
            while True:
                now = self._place()
                most = now.actors + now.waiting
                self._queue.extend(islice(fresh, max(0, most * IN_FLIGHT - len(self._queue))))
                self._scale_up(now, most)
                self._assign_shards()
                if not self._queue and not any(member.given for member in self._members):
                    return
                awaited = {ref: member for member in self._members for ref in member.given}
                awaited |= {member.starting: member for member in self._members if member.starting is not None}
                done = wait_any(list(awaited))
                yield from self._handle_result(awaited[done], done)
        finally:
            for member in self._members:
                end_actor(member.actor)

    def _scale_up(self, now: Placement, most: int) -> None:
        """As many as may be, and as there is something to do for; no node comes for more than that."""
        starting = [member for member in self._members if member.starting is not None]
        for member in starting[len(self._queue) :]:
            self._release(member)
        for _ in range(min(most - len(self._members), len(self._queue) - len(starting))):
            kind = ray.remote(num_cpus=now.cores, num_gpus=now.gpus, scheduling_strategy="SPREAD", max_restarts=0)
            actor = kind(_ExtractActor).remote(replace(self._spec, threads=now.cores))
            self._members.append(_Worker(actor, actor.ready.remote(), cores=now.cores, alone=not self._members))

    def _assign_shards(self) -> None:
        while self._queue:
            ready = [member for member in self._members if member.starting is None]
            member = min(ready, key=lambda member: len(member.given), default=None)
            if member is None or len(member.given) >= IN_FLIGHT:
                return
            attempt = self._queue.popleft()
            member.given[member.actor.extract.remote(attempt.shard)] = attempt

    def _handle_result(self, member: _Worker, ref: ray.ObjectRef) -> Iterator[ShardReceipt]:
        try:
            receipt = ray.get(ref)
        except RayError as error:
            if isinstance(error, RayTaskError) and not isinstance(error.cause, MemoryError):
                raise find_cause(error) from None
            yield from self._handle_death(member, error)
        else:
            if ref == member.starting:
                member.starting = None
                self._never_ready = 0
                if member.cores < self._place().cores:  # it was asked for before its node was known
                    self._release(member)
                return
            del member.given[ref]
            yield receipt
            if receipt.worn:
                self._release(member)

    def _release(self, member: _Worker) -> list[_Attempt]:
        """Takes a member out; what it was given goes back, and is returned."""
        self._members.remove(member)
        end_actor(member.actor)
        left = list(member.given.values())
        self._queue.extendleft(reversed(left))
        return left

    def _handle_death(self, member: _Worker, error: RayError) -> Iterator[ShardReceipt]:
        left = self._release(member)
        lost = is_node_lost(error)
        if isinstance(error, ActorUnschedulableError):
            if member.alone:
                raise self._explain_no_room()
            return  # others are at work, or one that is alone is asked for next
        if member.starting is not None:
            self._never_ready += not lost
            if self._never_ready >= MAX_STARTS:
                raise WorkerError(f"Extract actors die as they start: {get_last_line(error)}")
            return
        log.warning("An extract actor died (%s); it is replaced.", get_last_line(error))
        if not left or lost:  # a node that goes says nothing of the picture that was at work
            return
        at_work = left[0]
        at_work.failures += 1
        if at_work.failures < MAX_ATTEMPTS:
            return
        self._queue.remove(at_work)
        if len(at_work.shard.refs) > 1:
            self._queue.extendleft(_split_suspects(at_work.shard))
        else:
            yield write_quarantined(self._spec, at_work.shard, _is_deadly(error))

    def _explain_no_room(self) -> FastdupError:
        if self._spec.gpu:
            return make_no_gpu_error("no node of this Ray has a GPU, and its autoscaler has none to add")
        return WorkerError("No node of this Ray has a core for an extract actor, and its autoscaler has none to add.")


def _split_suspects(shard: Shard) -> Iterator[_Attempt]:
    """The parts of a shard that killed its actors. One more death tells which; a lone picture gets its full tries."""
    for part in shard.split(SUSPECT_PARTS):
        yield _Attempt(part, failures=0 if len(part.refs) == 1 else MAX_ATTEMPTS - 1)


def _is_deadly(error: RayError) -> BadImageError:
    # The actor's own word, or what Ray says where it killed the worker for the node's sake.
    if isinstance(error, RayTaskError) or "running low on memory" in str(error):
        return BadImageError(ErrorCode.OUT_OF_MEMORY, f"it took {MAX_ATTEMPTS} actors out of memory")
    return BadImageError(
        ErrorCode.CRASHED, f"it took {MAX_ATTEMPTS} actors down, or stopped them whole until they ended"
    )
