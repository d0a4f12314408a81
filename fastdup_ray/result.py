"""What a run hands back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fastdup_ray import layout
from fastdup_ray.storage import open_store


@dataclass(frozen=True)
class RunResult:
    """The outputs of a run, read when they are asked for. summary: as in summary.json."""

    work_dir: str
    summary: dict[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of entries, images, bad ones, pairs (rows of similarity.csv), distinct_pairs ((a,b) and (b,a) once),
        outliers, exact_copies, and components of two images or more."""
        return self.summary["counts"]

    @property
    def images(self) -> pa.Table:
        """images.parquet."""
        return self._table(layout.IMAGES)

    @property
    def similarity(self) -> pa.Table:
        """similarity.parquet: from, to, distance."""
        return self._table(layout.SIMILARITY)

    @property
    def components(self) -> pa.Table:
        """components.parquet; `FileNotFoundError` after run_cc=0."""
        return self._table(layout.COMPONENTS)

    @property
    def report(self) -> Path:
        """The HTML page."""
        return open_store(self.work_dir).fetch(layout.REPORT)

    def _table(self, name: str) -> pa.Table:
        return pq.read_table(open_store(self.work_dir).fetch(name))
