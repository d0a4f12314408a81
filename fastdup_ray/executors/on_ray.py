"""The same work on Ray: a laptop's own, or the cluster that is running. The only file that knows Ray."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import ray
from ray.exceptions import RayActorError, RayTaskError

from fastdup_ray.config import RunConfig
from fastdup_ray.errors import FastdupError, WorkerError
from fastdup_ray.executors import Place, Result, cores
from fastdup_ray.extract.extractor import Extractor, ExtractSpec
from fastdup_ray.records import Shard, ShardReceipt

IN_FLIGHT = 2
"""Shards given to an actor at once: one at work, one waiting, so that it never idles."""

OBJECT_STORE_BYTES = 256 << 20
"""Of a Ray of our own. Pictures and features never pass through it; the neighbours of 10 million images do."""


class RayExecutor:
    """See `fastdup_ray.executors.Executor`. Starts a Ray of its own where none is running, and stops only that one."""

    def __init__(self, config: RunConfig):
        self._config = config
        self._own_ray = False
        self._index_actor: Any = None

    def __enter__(self) -> Self:
        if not ray.is_initialized():
            self._own_ray = True
            _connect_or_start(cores(self._config), verbose=self._config.verbose)
        return self

    def __exit__(self, *exc_info: Any) -> None:
        if self._index_actor is not None:
            ray.kill(self._index_actor)
        if self._own_ray:
            ray.shutdown()

    @property
    def actors(self) -> int:
        return self._config.num_actors or int(ray.cluster_resources().get("CPU", 1))

    def extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        shards = iter(shards)
        actor_class = ray.remote(num_cpus=1)(Extractor)
        idle = [actor for actor in (actor_class.remote(spec) for _ in range(self.actors)) for _ in range(IN_FLIGHT)]
        running: dict[ray.ObjectRef, Any] = {}
        try:
            while True:
                while idle and (shard := next(shards, None)) is not None:
                    actor = idle.pop(0)
                    running[actor.extract.remote(shard)] = actor
                if not running:
                    return
                done, _ = ray.wait(list(running), num_returns=1)
                idle.append(running.pop(done[0]))
                yield _result(done[0])
        finally:
            for actor in {*idle, *running.values()}:
                ray.kill(actor)

    def call(self, place: Place, step: Callable[..., Result], *args: Any) -> Result:
        if place == "final":
            return _result(ray.remote(num_cpus=1)(step).remote(*args))
        if self._index_actor is None:
            self._index_actor = ray.remote(num_cpus=1)(_IndexActor).remote()
        return _result(self._index_actor.run.remote(step, *args))


class _IndexActor:
    def run(self, step: Callable[..., Result], *args: Any) -> Result:
        return step(*args)


def _result(ref: ray.ObjectRef) -> Any:
    """What the worker returned; its own errors as they were raised there."""
    try:
        return ray.get(ref)
    except RayTaskError as error:
        if isinstance(error.cause, FastdupError):
            raise error.cause from None
        raise
    except RayActorError as error:
        last_line = next(line for line in reversed(str(error).splitlines()) if line.strip())
        raise WorkerError(f"A worker died: {last_line.strip()}") from None


def _connect_or_start(threads: int, *, verbose: bool) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet = {"logging_level": logging.INFO if verbose else logging.ERROR, "log_to_driver": verbose}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        ray.init(
            address="local",
            num_cpus=threads,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **quiet,
        )
