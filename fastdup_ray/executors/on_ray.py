"""The same work on Ray: a laptop's own, or the cluster that is running."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import ray

from fastdup_ray import s3
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError, WorkerError
from fastdup_ray.executors import Place, Result, cores, metrics
from fastdup_ray.executors.answers import result
from fastdup_ray.executors.crew import Crew
from fastdup_ray.executors.ray_cluster import connect_or_start, gpus, nodes, refuse_unshared
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.records import Shard, ShardReceipt

log = logging.getLogger(__name__)

STEP_TRIES = 3


class RayExecutor:
    """See `fastdup_ray.executors.Executor`. Starts a Ray of its own where none is running, and stops only that one."""

    def __init__(self, config: RunConfig, work_dir: str):
        self._config, self._work_dir = config, work_dir
        self._own_ray = False
        self._index_actor: Any = None

    def __enter__(self) -> Self:
        if not ray.is_initialized():
            self._own_ray = True
            connect_or_start(cores(self._config), verbose=self._config.verbose)
        try:
            refuse_unshared(self._work_dir)
            if self._config.compute == "gpu" and not gpus():
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
            return gpus()
        cpus = int(ray.cluster_resources().get("CPU", 1))
        return min(cpus, self._config.num_threads * len(nodes())) if self._config.num_threads > 0 else cpus

    def extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        for receipt in Crew(spec, self.actors).work_off(shards):
            metrics.count(receipt)
            yield receipt

    def measured(self, stage: str, seconds: float) -> None:
        metrics.count_stage(stage, seconds)

    def call(self, place: Place, step: Callable[..., Result], *args: Any) -> Result:
        access = s3.settled()
        if place == "final":
            return result(ray.remote(num_cpus=1, max_retries=STEP_TRIES)(_done).remote(access, step, *args))
        for attempt in range(1, STEP_TRIES + 1):
            try:
                return result(self._index_actor.run.remote(access, step, *args))
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
    def run(self, access: s3.Access, step: Callable[..., Result], *args: Any) -> Result:
        return _done(access, step, *args)


def _done(access: s3.Access, step: Callable[..., Result], *args: Any) -> Result:
    s3.use(access)
    return step(*args)
