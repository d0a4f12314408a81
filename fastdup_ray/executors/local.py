"""The executor for one machine without Ray: steps run in this process, images are decoded in child processes."""

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib import import_module
from typing import Self

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.config import RunConfig
from fastdup_ray.executors.child_process import FirstChild
from fastdup_ray.executors.inline import InlineExecutor
from fastdup_ray.executors.process_pool import ProcessPool
from fastdup_ray.executors.worker_counts import Node, place_extractors
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.system.garbage import pause_collection

LATE = ("scipy.sparse.csgraph", "networkx", "jinja2")
"""Modules that steps import when they need them; they are imported while child processes work. More of them made a run
slower."""


class LocalExecutor(InlineExecutor):
    """An `Executor` in this process, except that a decoder which crashes or hangs takes down only a child process.

    Attributes:
        actors: Child processes at the same time, at most.
        threads: Threads of each.
    """

    def __init__(self, config: RunConfig, first: FirstChild) -> None:
        super().__init__(config.cores)
        self._first = first
        self._late = LATE if config.run_mode != 1 else ()
        gpus = int(config.compute == "gpu")  # a single process has it
        placement = place_extractors(config, [Node(config.cores, gpus)])
        self.actors, self.threads = placement.actors, placement.cores
        self._to_close = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._to_close.close()

    def extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        return self._to_close.enter_context(closing(self._extract(spec, shards)))

    def _extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Generator[ShardReceipt, None, None]:
        with _import_beside(self._late), ProcessPool(spec, self.actors, self._first.take) as pool:
            yield from pool.run(shards)


@contextmanager
def _import_beside(modules: Iterable[str]) -> Iterator[None]:
    """Import modules in a thread that ends with the context, since two threads may not import parts of one package."""

    def work() -> None:
        with suppress(ImportError), pause_collection():  # the step that needs it says so
            for module in modules:
                import_module(module)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
