"""Everything in this process, one thing after the other: for tests, debugging and ten pictures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.executors import Result, StepTarget
from fastdup_ray.extract.extractor import Extractor, ExtractSpec
from fastdup_ray.system.memory import measure_free_memory


class InlineExecutor:
    """See `fastdup_ray.executors.Executor`."""

    actors = 1

    def __init__(self, threads: int):
        self.threads = threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        pass

    def extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        return map(Extractor(spec).extract, shards)

    def reserve(self, memory: int, *, gpu: bool = False) -> None:
        pass

    def max_step_memory(self) -> int:
        return measure_free_memory()

    def call(self, place: StepTarget, step: Callable[..., Result], *args: Any) -> Result:
        return step(*args)

    def map(self, step: Callable[..., Result], items: Sequence[tuple[Any, ...]], memory: int) -> Iterator[Result]:
        return (step(*item, self.threads) for item in items)

    def record_stage(self, stage: str, seconds: float) -> None:
        pass
