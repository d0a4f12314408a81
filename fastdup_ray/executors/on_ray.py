"""The same work on Ray: a laptop's own, or the cluster that is running. The only file that knows Ray."""

import logging
import os
import resource
import socket
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Self

import ray
from ray._common.utils import get_ray_address_file
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fastdup_ray.config import RunConfig
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode, FastdupError, WorkDirError, WorkerError
from fastdup_ray.executors import Place, Result, cores
from fastdup_ray.extract.extractor import Extractor, ExtractSpec, quarantine
from fastdup_ray.extract.lanes import Watchdog
from fastdup_ray.records import Shard, ShardReceipt
from fastdup_ray.storage import open_store

log = logging.getLogger(__name__)

IN_FLIGHT = 2
"""Shards given to an actor at once: one at work, one waiting, so that it never idles."""

TRIES = 2
"""Actors that may die over the same shard before it is split, or over the same picture before it is bad."""

PARTS = 16
"""Into how many a shard is split whose actors die: the guilty picture among 1,024 is alone after three times."""

STEP_TRIES = 3

GRACE = 10.0
"""Seconds beyond what one picture may take, after which an actor that does nothing but hold its lock ends itself."""

OBJECT_STORE_BYTES = 256 << 20
"""Of a Ray of our own. Pictures and features never pass through it; the neighbours of 10 million images do."""


class RayExecutor:
    """See `fastdup_ray.executors.Executor`. Starts a Ray of its own where none is running, and stops only that one."""

    def __init__(self, config: RunConfig, work_dir: str):
        self._config, self._work_dir = config, work_dir
        self._own_ray = False
        self._index_actor: Any = None

    def __enter__(self) -> Self:
        if not ray.is_initialized():
            self._own_ray = True
            _connect_or_start(cores(self._config), verbose=self._config.verbose)
        try:
            _refuse_unshared(self._work_dir)
            if self._config.compute == "gpu" and not _gpus():
                raise ConfigError("compute='gpu' is not possible: this Ray has no GPU; start it where one is.")
        except BaseException:
            self.__exit__()
            raise
        self._start_index_actor()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        if self._index_actor is not None:
            ray.kill(self._index_actor)
        if self._own_ray:
            ray.shutdown()

    @property
    def actors(self) -> int:
        if self._config.num_actors:
            return self._config.num_actors
        if self._config.compute == "gpu":
            return _gpus()
        cpus = int(ray.cluster_resources().get("CPU", 1))
        return min(cpus, self._config.num_threads * len(_nodes())) if self._config.num_threads > 0 else cpus

    def extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        return _Crew(spec, self.actors).work_off(shards)

    def call(self, place: Place, step: Callable[..., Result], *args: Any) -> Result:
        if place == "final":
            return _result(ray.remote(num_cpus=1, max_retries=STEP_TRIES)(step).remote(*args))
        for attempt in range(1, STEP_TRIES + 1):
            try:
                return _result(self._index_actor.run.remote(step, *args))
            except WorkerError as error:
                if attempt == STEP_TRIES:
                    raise
                log.warning("The index actor died (%s); its step is done again.", error)
                self._start_index_actor()
        raise AssertionError("unreachable")

    def _start_index_actor(self) -> None:
        # Without a core of its own: it starts, and then waits, while the extract actors have them all.
        self._index_actor = ray.remote(num_cpus=0)(_IndexActor).remote()


class _IndexActor:
    def run(self, step: Callable[..., Result], *args: Any) -> Result:
        return step(*args)


class _ExtractActor:
    """An extractor in a process of its own, whose memory is bounded, and which ends when a decoder stops it whole."""

    def __init__(self, spec: ExtractSpec):
        self._spec = spec

    def ready(self) -> None:
        """Loads the model: what dies meanwhile dies of its surroundings, not of a picture."""
        self._extractor = Extractor(self._spec, Watchdog(self._spec.timeout + GRACE))
        _bound_memory(self._spec.memory << 20)

    def extract(self, shard: Shard) -> ShardReceipt:
        return self._extractor.extract(shard)


@dataclass(eq=False)
class _Attempt:
    shard: Shard
    failures: int = 0


@dataclass(eq=False)
class _Member:
    """An extract actor, and what it was given, oldest first; the first is at work.

    starting: resolves when the actor is ready; None once it is.
    """

    actor: Any
    starting: ray.ObjectRef | None
    given: dict[ray.ObjectRef, _Attempt] = field(default_factory=dict)


class _Crew:
    """The extract actors of one run: keeps them busy, replaces the dead, and finds the pictures that killed them.

    Only who is ready is given work: an actor may wait for a free core as long as the others need for everything.
    """

    def __init__(self, spec: ExtractSpec, size: int):
        self._spec, self._size = spec, size
        self._members: list[_Member] = []
        self._queue: deque[_Attempt] = deque()
        self._never_ready = 0

    def work_off(self, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        """A receipt for each of `shards`, and for each part of one that had to be split."""
        fresh = (_Attempt(shard) for shard in shards)
        try:
            while True:
                self._queue.extend(islice(fresh, max(0, self._size * IN_FLIGHT - len(self._queue))))
                self._hire()
                self._hand_out()
                if not self._queue and not any(member.given for member in self._members):
                    return
                awaited = {ref: member for member in self._members for ref in member.given}
                awaited |= {member.starting: member for member in self._members if member.starting is not None}
                done = _first_done(list(awaited))
                yield from self._taken_in(awaited[done], done)
        finally:
            for member in self._members:
                ray.kill(member.actor)

    def _hire(self) -> None:
        """As many as may be, and as there is something to do for."""
        starting = sum(member.starting is not None for member in self._members)
        for _ in range(min(self._size - len(self._members), len(self._queue) - starting)):
            actor = ray.remote(num_cpus=1, num_gpus=int(self._spec.gpu))(_ExtractActor).remote(self._spec)
            self._members.append(_Member(actor, actor.ready.remote()))

    def _hand_out(self) -> None:
        while self._queue:
            ready = [member for member in self._members if member.starting is None]
            member = min(ready, key=lambda member: len(member.given), default=None)
            if member is None or len(member.given) >= IN_FLIGHT:
                return
            attempt = self._queue.popleft()
            member.given[member.actor.extract.remote(attempt.shard)] = attempt

    def _taken_in(self, member: _Member, ref: ray.ObjectRef) -> Iterator[ShardReceipt]:
        try:
            receipt = ray.get(ref)
        except RayError as error:
            if isinstance(error, RayTaskError) and not isinstance(error.cause, MemoryError):
                raise _cause(error) from None
            yield from self._after_death(member, error)
        else:
            if ref == member.starting:
                member.starting = None
                self._never_ready = 0
                return
            del member.given[ref]
            yield receipt
            if receipt.worn:
                self._dismiss(member)

    def _dismiss(self, member: _Member) -> list[_Attempt]:
        """Takes a member out; what it was given goes back, and is returned."""
        self._members.remove(member)
        ray.kill(member.actor)
        left = list(member.given.values())
        self._queue.extendleft(reversed(left))
        return left

    def _after_death(self, member: _Member, error: RayError) -> Iterator[ShardReceipt]:
        left = self._dismiss(member)
        if member.starting is not None:
            self._never_ready += 1
            if self._never_ready >= STEP_TRIES:
                raise WorkerError(f"Extract actors die as they start: {_last_line(error)}")
            return
        log.warning("An extract actor died (%s); it is replaced.", _last_line(error))
        if not left:
            return
        at_work = left[0]
        at_work.failures += 1
        if at_work.failures < TRIES:
            return
        self._queue.remove(at_work)
        if len(at_work.shard.refs) > 1:
            self._queue.extendleft(_suspects(at_work.shard))
        else:
            yield quarantine(self._spec, at_work.shard, _deadly(error))


def _suspects(shard: Shard) -> Iterator[_Attempt]:
    """The parts of a shard that killed its actors. One more death tells which; a lone picture gets its full tries."""
    for part in shard.split(PARTS):
        yield _Attempt(part, failures=0 if len(part.refs) == 1 else TRIES - 1)


def _deadly(error: RayError) -> BadImageError:
    # The actor's own word, or what Ray says where it killed the worker for the node's sake.
    if isinstance(error, RayTaskError) or "running low on memory" in str(error):
        return BadImageError(ErrorCode.OUT_OF_MEMORY, f"it took {TRIES} actors out of memory")
    return BadImageError(ErrorCode.CRASHED, f"it took {TRIES} actors down, or stopped them whole until they ended")


def _first_done(refs: list[ray.ObjectRef]) -> ray.ObjectRef:
    while True:  # Python hears of Ctrl-C only between two calls
        if done := ray.wait(refs, num_returns=1, timeout=1.0)[0]:
            return done[0]


def _result(ref: ray.ObjectRef) -> Any:
    """What the worker returned; its own errors as they were raised there."""
    try:
        return ray.get(_first_done([ref]))
    except RayTaskError as error:
        raise _cause(error) from None
    except RayError as error:
        raise WorkerError(f"A worker died: {_last_line(error)}") from None


def _cause(error: RayTaskError) -> BaseException:
    return error.cause if isinstance(error.cause, FastdupError | OSError) else error


def _last_line(error: Exception) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def _nodes() -> list[dict[str, Any]]:
    """Those that are alive and have cores to work with."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def _gpus() -> int:
    return int(ray.cluster_resources().get("GPU", 0))


def _refuse_unshared(work_dir: str) -> None:
    """`WorkDirError` where a node of the cluster does not see what this process puts into the work_dir."""
    nodes = _nodes()
    if len(nodes) < 2:
        return
    store, name = open_store(work_dir), f".probe-{uuid.uuid4().hex}"
    with store.create(name) as path:
        path.touch()
    try:
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            seen = ray.remote(num_cpus=0, scheduling_strategy=there)(_sees).remote(work_dir, name)
            if not _result(seen):
                raise WorkDirError(
                    f"Node {node['NodeManagerAddress']} of the cluster does not share work_dir {work_dir!r}; "
                    "name a folder that all nodes share."
                )
    finally:
        store.remove(name)


def _sees(work_dir: str, name: str) -> bool:
    return open_store(work_dir).exists(name)


def _bound_memory(more: int) -> None:
    """Lets this process write to at most `more` bytes beyond what it has now; then Python raises `MemoryError`."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; elsewhere RLIMIT_DATA says nothing of mapped memory
        now = next(int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (now + more, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _connect_or_start(threads: int, *, verbose: bool) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet = {"logging_level": logging.INFO if verbose else logging.ERROR, "log_to_driver": verbose}
    if address := _running_cluster():
        ray.init(address=address, **quiet)
    else:
        ray.init(
            address="local",
            num_cpus=threads,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **quiet,
        )


def _running_cluster() -> str | None:
    """The address of the cluster that RAY_ADDRESS or `ray start` named; None where a Ray of our own is to be started.

    `ray.init(address="auto")` would also take the Ray that another run has started for itself alone, and a cluster that
    is gone keeps it waiting for a minute, after which it ends the process.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named == "local":
        return None
    if named and named != "auto":
        if "://" not in named and not _answers(named):
            raise WorkerError(f"No Ray answers at RAY_ADDRESS={named}: start it, or unset RAY_ADDRESS.")
        return named
    started = Path(get_ray_address_file(None))
    address = started.read_text().strip() if started.exists() else ""
    return address if address and _answers(address) else None


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except (OSError, ValueError):
        return False
