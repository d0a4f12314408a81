"""Who does the work: three verbs, `extract` (map shards over extractors), `call` (one step) and `map` (a step over many
items), nothing else.

What is done stands in plain functions and classes that know nothing of this.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol, Self, TypeVar

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.config import RunConfig
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.storage import Store

Result = TypeVar("Result")
StepTarget = Literal["index", "final"]
"""The one actor that merges, indexes and searches; or the one task that writes the outputs."""


class Executor(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: Any) -> None: ...

    @property
    def actors(self) -> int:
        """How many extractors work at once."""

    @property
    def threads(self) -> int:
        """Of each extractor."""

    def extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        """A receipt for each shard, in the order in which they end."""

    def reserve(self, memory: int, *, gpu: bool = False) -> None:
        """The steps at `index` will take so many bytes, and could use a GPU: have them done where these are."""

    def max_step_memory(self) -> int:
        """Bytes that one step can have at most, wherever it is done."""

    def call(self, place: StepTarget, step: Callable[..., Result], *args: Any) -> Result:
        """`step(*args)`, done at `place`. A step can be done again: it leaves whole files or none."""

    def map(self, step: Callable[..., Result], items: Sequence[tuple[Any, ...]], memory: int) -> Iterator[Result]:
        """`step(*item, threads)` for each item, in the order in which they end; few are under way at a time.

        memory: bytes that each takes. threads: as many as are its own there. A step whose worker dies is done again,
        alone: it leaves whole files or none. Raises `ConfigError` where no node has the memory.
        """

    def record_stage(self, stage: str, seconds: float) -> None:
        """A stage of the run took so long: for those who watch."""


def make_executor(config: RunConfig, store: Store) -> Executor:
    """The executor that `config.executor` names, for work on a work_dir."""
    if config.executor == "inline":
        from fastdup_ray.executors.inline import InlineExecutor

        return InlineExecutor(config.cores)
    from fastdup_ray.executors.own_ray import import_ray

    import_ray()  # before anything else does
    from fastdup_ray.executors.on_ray import RayExecutor

    return RayExecutor(config, store)
