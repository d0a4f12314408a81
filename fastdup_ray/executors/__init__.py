"""Executors: they decide where the stages of a run work, on Ray or on this machine.

`Executor` is a context manager with eight members. Three do work: `extract` reads shards of the list, `call` runs one
step, `map` runs one step over many items. `reserve` and `max_step_memory` are about the memory of steps, `actors` and
`threads` about the size of the extraction, and `record_stage` is for monitoring. The work itself is in plain functions
and classes that do not know where they run.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

from fastdup_ray.config import RunConfig
from fastdup_ray.executors.choice import ExecutorChoice

if TYPE_CHECKING:  # `child_process` is imported before these
    from fastdup_ray.common.records import Shard, ShardReceipt
    from fastdup_ray.executors.child_process import FirstChild
    from fastdup_ray.extract.extractor import ExtractSpec
    from fastdup_ray.storage import Store

Result = TypeVar("Result")
StepTarget = Literal["index", "final"]
"""`index`: the one actor that merges, builds the index and searches. `final`: a task that writes the outputs."""


class Executor(Protocol):
    """Where the stages of a run work.

    A step is a function that leaves whole files or none, so that it can be repeated after its worker has died.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    @property
    def actors(self) -> int:
        """Number of extractors that work at the same time."""

    @property
    def threads(self) -> int:
        """Threads of each extractor."""

    def extract(self, spec: "ExtractSpec", shards: "Iterable[Shard]") -> "Iterator[ShardReceipt]":
        """Extract shards.

        Args:
            spec: How to.
            shards: What to read; taken as workers become free.

        Yields:
            A receipt for each shard, in the order of completion.
        """

    def reserve(self, memory: int, *, gpu: bool = False, target: StepTarget = "index") -> None:
        """Let further steps run on a node with enough room; the actor for `index` steps moves there.

        Args:
            memory: Bytes that the steps will need.
            gpu: The steps can use a GPU, if there is one.
            target: Which steps.
        """

    def max_step_memory(self) -> int:
        """Return the bytes that one step can have at most, on any node."""

    def call(self, target: StepTarget, step: Callable[..., Result], *args: Any) -> Result:
        """Run `step(*args)` at `target`, and return its result."""

    def map(self, step: Callable[..., Result], items: Sequence[tuple[Any, ...]], memory: int) -> Iterator[Result]:
        """Run `step(*item, threads)` for each item, a few at a time; `threads` is what each may use.

        Args:
            step: The step.
            items: Its arguments.
            memory: Bytes that each call needs.

        Yields:
            The results, in the order of completion.

        Raises:
            ConfigError: No node has that much memory.
        """

    def record_stage(self, stage: str, seconds: float) -> None:
        """Report to monitoring that a stage of the run has ended."""


def make_executor(config: RunConfig, store: "Store", choice: ExecutorChoice, first: "FirstChild") -> Executor:
    """Return an executor for work on a work_dir.

    Args:
        config: Of the run.
        store: The work_dir.
        choice: Which executor.
        first: The first child process; it is ended if the executor needs none.
    """
    if choice.executor != "local":
        first.end()
    if choice.executor == "inline":
        from fastdup_ray.executors.inline import InlineExecutor

        return InlineExecutor(config.cores)
    if choice.executor == "local":
        from fastdup_ray.executors.local import LocalExecutor

        return LocalExecutor(config, first)
    from fastdup_ray.executors.own_ray import import_ray

    import_ray()  # before anything else imports it
    from fastdup_ray.executors.on_ray import RayExecutor

    return RayExecutor(config, store)
