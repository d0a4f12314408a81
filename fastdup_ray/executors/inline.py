"""The executor for tests and debugging: everything in this process, one step after the other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.executors import Result, StepTarget
from fastdup_ray.extract.extractor import Extractor, ExtractSpec
from fastdup_ray.system.memory import measure_free_memory


class InlineExecutor:
    """An `Executor` in this process. An image that crashes its decoder ends the process.

    Attributes:
        actors: Always 1.
        threads: Threads of the extractor.
    """

    actors = 1

    def __init__(self, cores: int) -> None:
        """Make an executor.

        Args:
            cores: Threads of each step.
        """
        self.threads = self._cores = cores

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        return map(Extractor(spec).extract, shards)

    def reserve(self, memory: int, *, gpu: bool = False, target: StepTarget = "index") -> None:
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
        return (step(*item, self._cores) for item in items)

    def record_stage(self, stage: str, seconds: float) -> None:
        pass
