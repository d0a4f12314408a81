"""The executor for one machine without Ray: steps run in this process, images are decoded in child processes."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Self

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.config import RunConfig
from fastdup_ray.executors.inline import InlineExecutor
from fastdup_ray.executors.process_pool import ProcessPool
from fastdup_ray.executors.worker_counts import Node, place_extractors
from fastdup_ray.extract.extractor import ExtractSpec


class LocalExecutor(InlineExecutor):
    """An `Executor` in this process, except that a decoder which crashes or hangs takes down only a child process.

    Attributes:
        actors: Child processes at the same time, at most.
        threads: Threads of each.
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config.cores)
        gpus = int(config.compute == "gpu")  # a single process has it
        placement = place_extractors(config, [Node(config.cores, gpus)])
        self.actors, self.threads = placement.actors, placement.cores
        self._to_close = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._to_close.close()

    def extract(self, spec: ExtractSpec, shards: Iterable[Shard]) -> Iterator[ShardReceipt]:
        receipts: Generator[ShardReceipt, None, None] = ProcessPool(spec, self.actors).run(shards)
        return self._to_close.enter_context(closing(receipts))
