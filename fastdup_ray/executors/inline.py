"""Everything in this process, one thing after the other: for tests, debugging and ten pictures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.executors import Place, Result
from fastdup_ray.extract.extractor import Extractor, ExtractSpec
from fastdup_ray.system.memory import free_memory


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

    def most_memory(self) -> int:
        return free_memory()

    def call(self, place: Place, step: Callable[..., Result], *args: Any) -> Result:
        return step(*args)

    def map(self, step: Callable[..., Result], items: Sequence[tuple[Any, ...]], memory: int) -> Iterator[Result]:
        return (step(*item, self.threads) for item in items)

    def measured(self, stage: str, seconds: float) -> None:
        pass
