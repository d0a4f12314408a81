"""What results are exported from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from fastdup_ray.common.arrays import split_array
from fastdup_ray.common.locations import to_absolute
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.errors import ConfigError
from fastdup_ray.export.dropped_images import DroppedImages
from fastdup_ray.inputs.annotations import Annotations
from fastdup_ray.result import RunResult
from fastdup_ray.storage.tables import take_rows

_BLOCK = 10_000
"""Images that become Python objects at a time."""


@dataclass(frozen=True)
class ExportSource:
    """A finished run, and what is to be exported of it.

    Attributes:
        run: The run.
        result: Its result.
        dropped: The images that the plan drops.
        end: What the names of a list end with.
        annotations_path: Path or URI of an annotation file; None for that of the run.
    """

    run: FinishedRun
    result: RunResult
    dropped: DroppedImages
    end: bytes = b"\n"
    annotations_path: str | None = None

    def iter_kept(self) -> Iterator[bytes]:
        """Yield the raw name of each image that is not dropped, in the order of the run."""
        return (name for name, _ in self.iter_facts([]))

    def iter_facts(self, columns: Sequence[str]) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Yield the same, with some columns of images.parquet; those that the run does not have are left out."""
        is_kept = np.ones(len(self.run.names), bool)
        is_kept[self.dropped.row[self.dropped.row >= 0]] = False
        table = self.run.images.select([name for name in columns if name in self.run.images.column_names])
        for rows in split_array(np.flatnonzero(is_kept), _BLOCK):
            names = self.run.names.take(pa.array(rows)).to_pylist()
            facts = take_rows(table, rows).to_pylist() if table.column_names else [{}] * len(names)
            yield from zip(names, facts, strict=True)

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
