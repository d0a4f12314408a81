"""The extract actor: an extractor in a separate process, on Ray or as a child of this one."""

import resource
from pathlib import Path

from fastdup_ray.common.records import Shard, ShardReceipt
from fastdup_ray.extract.extractor import Extractor, ExtractSpec
from fastdup_ray.extract.worker_threads import Watchdog
from fastdup_ray.system.garbage import pause_collection

START_SECONDS = 10.0
"""Seconds beyond the timeout of an image after which an actor ends itself if a decoder holds the interpreter's lock."""


class ExtractActor:
    """An extractor in its own process, with limited memory. The process ends itself if a decoder blocks all of it."""

    def __init__(self, spec: ExtractSpec) -> None:
        self._spec = spec

    def ready(self) -> None:
        """Load the model. If the process dies here, no image is the cause."""
        with pause_collection():
            self._extractor = Extractor(self._spec, Watchdog(self._spec.timeout + START_SECONDS))
        _bound_memory(self._spec.memory << 20)

    def extract(self, shard: Shard) -> ShardReceipt:
        """Write the feature shard of a shard of the list; raise `MemoryError` if that takes too much memory."""
        return self._extractor.extract(shard)


def _bound_memory(more: int) -> None:
    """Limit this process to `more` bytes beyond what it has now; then Python raises `MemoryError`."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; elsewhere RLIMIT_DATA does not count mapped memory
        now = next(
            int(line.split()[1]) << 10
            for line in status.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith("VmData")
        )
        resource.setrlimit(resource.RLIMIT_DATA, (now + more, resource.getrlimit(resource.RLIMIT_DATA)[1]))
