"""What results are exported from."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from fastdup_ray.common.locations import to_absolute
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.plan_file import PlanRow
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs.annotations import Annotations
from fastdup_ray.result import RunResult

_BLOCK = 10_000
"""Images that become Python objects at a time."""


@dataclass(frozen=True)
class ExportSource:
    """A finished run, and what is to be exported of it.

    Attributes:
        run: The run.
        result: Its result.
        plan: Says what is dropped.
        end: What the names of a list end with.
        annotations_path: Path or URI of an annotation file; None for that of the run.
    """

    run: FinishedRun
    result: RunResult
    plan: list[PlanRow]
    end: bytes = b"\n"
    annotations_path: str | None = None

    @cached_property
    def dropped(self) -> frozenset[bytes]:
        """Raw names of the images that the plan drops."""
        return frozenset(os.fsencode(row.filename) for row in self.plan if row.is_dropped)

    def iter_kept(self) -> Iterator[tuple[int, bytes]]:
        """Yield the index and the raw name of each image that is not dropped, in the order of the run."""
        for start in range(0, len(self.run.names), _BLOCK):
            for index, name in enumerate(self.run.names.slice(start, _BLOCK).to_pylist(), start):
                if name not in self.dropped:
                    yield index, name

    @cached_property
    def root(self) -> str | None:
        """The input of the run, as absolute path or URI; None if it had several."""
        location = self.run.config.get("input_dir")
        return to_absolute(location) if isinstance(location, str) else None

    @cached_property
    def annotations(self) -> Annotations | None:
        """The annotation file, with names relative to the input of the run; None if there is none.

        Raises:
            ConfigError: The run has several inputs.
        """
        path = self.annotations_path or self.run.config.get("annotations")
        if not path:
            return None
        if self.root is None:
            raise ConfigError(
                f"Invalid value for annotations: {path!r} (the run has several inputs, and names in the file are "
                "relative to one)."
            )
        return Annotations(to_absolute(path), self.root, self.run.access)
