"""The executor without Ray: one step after the other in this process, for tests, debugging and small sets."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.executors import Result, StepTarget
from fastdup_ray.extract.extractor import Extractor, ExtractSpec
from fastdup_ray.system.memory import measure_free_memory


class InlineExecutor:
    """An `Executor` in this process.

    Attributes:
        actors: Always 1.
        threads: Threads of the extractor and of each step.
    """

    actors = 1

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        return map(Extractor(spec).extract, shards)

    def reserve(self, memory: int, *, gpu: bool = False) -> None:
        pass

    def max_step_memory(self) -> int:
        return measure_free_memory()

    def call(self, target: StepTarget, step: Callable[..., Result], *args: Any) -> Result:  # noqa: ARG002 - all run here
        return step(*args)

    def map(
        self,
        step: Callable[..., Result],
        items: Sequence[tuple[Any, ...]],
        memory: int,  # noqa: ARG002 - it has what this process has
    ) -> Iterator[Result]:
        return (step(*item, self.threads) for item in items)

    def record_stage(self, stage: str, seconds: float) -> None:
        pass
