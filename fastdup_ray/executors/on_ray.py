"""The executor on Ray: the running cluster, or a Ray of this process alone."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from types import TracebackType
from typing import Any, Self

import ray

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.executors import Result, StepTarget, metrics
from fastdup_ray.executors.extract_pool import ExtractPool
from fastdup_ray.executors.index_actor import IndexActor, call_with_retries, run_step
from fastdup_ray.executors.ray_cluster import (
    can_autoscale,
    check_resources,
    connect_or_start,
    list_present_nodes,
    refuse_unshared,
)
from fastdup_ray.executors.ray_results import NoRoomError
from fastdup_ray.executors.tasks import map_tasks
from fastdup_ray.executors.worker_counts import (
    Placement,
    TaskSlots,
    can_share,
    place_extractors,
    place_index,
    place_tasks,
)
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.storage import Store

NO_LIMIT = 1 << 62
"""Bytes of memory if an autoscaler may add nodes, whose size is unknown."""


class RayExecutor:
    """An `Executor` on Ray. It starts a Ray of its own if none is running, and stops only that one."""

    def __init__(self, config: RunConfig, store: Store) -> None:
        self._config, self._store = config, store
        self._index = IndexActor()
        self._placed: Placement | None = None
        self._final_memory = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if not ray.is_initialized():
                stack.enter_context(connect_or_start(self._config.cores, verbose=self._config.verbose))
            stack.callback(self._index.stop)
            check_resources(memory=self._config.run_mode in (0, 2))
            refuse_unshared(self._store)
            self._place()
            self._to_close = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._to_close.__exit__(kind, error, traceback)

    @property
    def actors(self) -> int:
        return self._place().actors

    @property
    def threads(self) -> int:
        return self._place().cores

    def extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        return self._close_at_exit(self._extract(spec, shards))

    def _extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Generator[ShardReceipt, None, None]:
        with closing(ExtractPool(spec, self._place).run(shards)) as receipts:
            for receipt in receipts:
                metrics.count_shard(receipt)
                yield receipt

    def _close_at_exit(self, work: Generator[Result, None, None]) -> Iterator[Result]:
        """Close `work` while Ray runs, so that it ends its actors then.

        Otherwise the error of a failed run keeps the generator alive. When that is collected, its `ray.kill` would go
        to a later Ray of this process, or start one.
        """
        return self._to_close.enter_context(closing(work))

    def reserve(self, memory: int, *, gpu: bool = False, target: StepTarget = "index") -> None:
        if target == "final":
            self._final_memory = memory
        else:
            self._index.reserve(place_index(memory, list_present_nodes(), gpu=gpu, grows=can_autoscale()))

    def max_step_memory(self) -> int:
        return NO_LIMIT if can_autoscale() else max((node.memory for node in list_present_nodes()), default=0)

    def call(self, target: StepTarget, step: Callable[..., Result], *args: Any) -> Result:
        if target == "index":
            return self._index.call(step, *args)
        *others, last = place_index(self._final_memory, list_present_nodes(), gpu=False, grows=can_autoscale())
        for memory, _ in others:
            with suppress(NoRoomError):
                return self._call_final(memory, step, *args)
        return self._call_final(last[0], step, *args)

    def _call_final(self, memory: int, step: Callable[..., Result], *args: Any) -> Result:
        self._make_room(memory)
        resources: dict[str, Any] = {"num_cpus": 1, "memory": memory or None}
        task: Any = ray.remote(max_retries=0, **resources)(run_step)
        result: Result = call_with_retries(lambda: task.remote(step, *args))
        return result

    def _make_room(self, memory: int) -> None:
        """End the idle index actor if what it reserves may keep a task from its memory: it would wait for ever."""
        if not can_share(memory, self._index.reserved, list_present_nodes()):
            self._index.stop()

    def map(self, step: Callable[..., Result], items: Sequence[tuple[Any, ...]], memory: int) -> Iterator[Result]:
        def place() -> TaskSlots:
            return place_tasks(len(items), memory, list_present_nodes(), grows=can_autoscale())

        self._make_room(memory)
        return self._close_at_exit(map_tasks(step, items, memory, place))

    def record_stage(self, stage: str, seconds: float) -> None:
        metrics.count_stage(stage, seconds)

    def _place(self) -> Placement:
        """Place the extractors on the nodes that are there now."""
        try:
            self._placed = place_extractors(self._config, list_present_nodes(), grows=can_autoscale())
        except ConfigError:
            if self._placed is None:
                raise  # otherwise the nodes that were there may return
        return self._placed
