"""What a run hands back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fastdup_ray import layout
from fastdup_ray.layout import INDEXED, PictureSet
from fastdup_ray.storage import open_store


@dataclass(frozen=True)
class RunResult:
    """The outputs of a run, read when they are asked for. summary: as in summary.json.

    files: which set of pictures it was about; after a scoring, the one that was scored.
    """

    work_dir: str
    summary: dict[str, Any]
    files: PictureSet = INDEXED

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of entries, images, bad ones, pairs (rows of similarity.csv), distinct_pairs ((a,b) and (b,a) once),
        outliers, exact_copies, and components of two images or more; after a scoring also of indexed images, and
        exact_copies are of those."""
        return self.summary["counts"]

    @property
    def images(self) -> pa.Table:
        """images.parquet, or test_images.parquet."""
        return self._table(self.files.of(layout.IMAGES))

    @property
    def similarity(self) -> pa.Table:
        """similarity.parquet: from, to, distance."""
        return self._table(layout.SIMILARITY)

    @property
    def components(self) -> pa.Table:
        """components.parquet, of the indexed set; `FileNotFoundError` after run_cc=0."""
        return self._table(layout.COMPONENTS)

    @property
    def report(self) -> Path:
        """The HTML page."""
        return open_store(self.work_dir).fetch(self.files.of(layout.REPORT))

    def _table(self, name: str) -> pa.Table:
        return pq.read_table(open_store(self.work_dir).fetch(name))
