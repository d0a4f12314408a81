"""The stages of a run: how long each takes, and what is shown meanwhile."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from fastdup_ray.common.events import log_event
from fastdup_ray.config import RunConfig
from fastdup_ray.executors import Executor
from fastdup_ray.runs.progress import show_stage

LINES = {
    "list": "Listing the input",
    "unchanged": "Checking the results of the last run",
    "neighbors": "Searching for neighbors",
    "invariant": "Searching for mirrored and rotated duplicates",
    "outputs": "Writing the results",
}
"""What a terminal shows during a stage; the others show bars, and lines for their parts."""


class Stages:
    """Times the stages of a run and logs their durations.

    Attributes:
        seconds: Wall time of each stage that has ended. Their sum is the time since the run began.
    """

    def __init__(self, config: RunConfig) -> None:
        self.seconds: dict[str, float] = {}
        self._config, self._begin = config, time.monotonic()
        self._executor: Executor | None = None

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Time a stage, which the context is."""
        start = time.monotonic()
        try:
            with show_stage(LINES[stage], self._config) if stage in LINES else nullcontext():
                yield
        finally:
            self._end(stage, time.monotonic() - start)

    def end_start(self, executor: Executor | None) -> None:
        """End the stage `start`: all that has been done so far and is no other stage.

        Args:
            executor: To report the stages to; None for a run that needs none.
        """
        if executor:
            for stage, seconds in self.seconds.items():
                executor.record_stage(stage, seconds)
        self._executor = executor
        self._end("start", time.monotonic() - self._begin - sum(self.seconds.values()))

    def _end(self, stage: str, seconds: float) -> None:
        seconds = self.seconds[stage] = round(seconds, 3)
        log_event(stage, f"{seconds:.1f} s", seconds=seconds)
        if self._executor:
            self._executor.record_stage(stage, seconds)
