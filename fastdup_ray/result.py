"""What a run hands back: its outputs as Arrow tables."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.facts import Counts, RunSummary
from fastdup_ray.common.layout import INDEXED, SCORED, FileSet
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.errors import InputError
from fastdup_ray.outputs.formats import COMPONENTS, IMAGES, PAIRS
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.checked_json import fetch_listed
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.tables import (
    TableFormat,
    describe_other_run,
    escape_names,
    parse_numbers,
    read_csv,
    read_parquet,
)

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = {"distance": pa.float64(), "component_id": pa.int64()}
"""Columns of CSV files that hold numbers; all others hold text."""


@dataclass(frozen=True)
class RunResult:
    """The outputs of a run, read when they are asked for. summary: as in summary.json.

    files: which set of pictures it was about; after a scoring, the one that was scored. Each table is a `pa.Table`,
    with `to_pandas()` for those who have pandas; names that are not UTF-8 have their bytes as `\\xNN`. Each raises
    `DamagedError` where its file is not the one that the run wrote, by its digest in the summary.
    """

    work_dir: str
    summary: RunSummary
    files: FileSet = INDEXED

    @classmethod
    @accept_paths("work_dir")
    def open(cls, work_dir: str | os.PathLike[str], *, scored: bool = False) -> Self:
        """The result of a run that has finished in `work_dir`, or of the last scoring; `InputError` where none has."""
        files = SCORED if scored else INDEXED
        store = open_store(work_dir)
        try:
            return cls(store.location, read_summary(store, files), files)
        except FileNotFoundError:
            what = "scoring" if scored else "run"
            raise InputError(
                f"No finished {what} in {store.location!r}: name the work_dir of one, or run first."
            ) from None

    @property
    def counts(self) -> Counts:
        """Numbers of entries, images, bad ones, pairs (rows of similarity.csv), distinct_pairs ((a,b) and (b,a) once),
        outliers, exact_copies, and components of two images or more; after a scoring also of indexed images, and
        exact_copies are of those.
        """
        return self.summary["counts"]

    @property
    def images(self) -> pa.Table:
        """images.parquet, or test_images.parquet."""
        return self._parquet(self.files.name(layout.IMAGES), IMAGES)

    @property
    def similarity(self) -> pa.Table:
        """similarity.parquet: from, to, distance; of the indexed set, whatever was scored since, unless this is of a
        scoring.
        """
        kept = layout.TRAIN_SIMILARITY
        indexed = self.files is INDEXED and self._store.exists(kept)
        return self._parquet(layout.SIMILARITY, PAIRS, kept_as=kept if indexed else None)

    @property
    def components(self) -> pa.Table:
        """components.parquet, of the indexed set; `FileNotFoundError` after run_cc=0."""
        return self._parquet(layout.COMPONENTS, COMPONENTS)

    @property
    def outliers(self) -> pa.Table:
        """outliers.csv: from, to, distance, the farthest first."""
        return self._csv(self.files.name(layout.OUTLIERS_CSV), layout.PAIRS_HEADER)

    @property
    def exact_copies(self) -> pa.Table:
        """exact_copies.csv: filename, copy_of, kind (bytes or pixels)."""
        return self._csv(self.files.name(layout.EXACT_COPIES_CSV), layout.EXACT_COPIES_HEADER)

    @property
    def bad(self) -> pa.Table:
        """features.bad.csv: filename, error_code, message."""
        return self._csv(self.files.name(layout.BAD_CSV), layout.BAD_HEADER)

    @property
    def changes(self) -> pa.Table:
        """changes.csv: change, component_id, from, to, distance; `FileNotFoundError` without `incremental`."""
        return self._csv(layout.CHANGES_CSV, layout.CHANGES_HEADER)

    @property
    def invariant(self) -> pa.Table:
        """similarity_invariant.csv: from, to, distance, turn; `FileNotFoundError` without `invariant`."""
        return self._csv(layout.INVARIANT_CSV, layout.INVARIANT_HEADER)

    @property
    def label_conflicts(self) -> pa.Table:
        """label_conflicts.csv: from, to, distance, label_from, label_to; `FileNotFoundError` without `labels`."""
        return self._csv(self.files.name(layout.LABEL_CONFLICTS_CSV), layout.LABEL_CONFLICTS_HEADER)

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self._store.fetch(self.files.name(layout.REPORT))

    def to_arrow(self) -> pa.Table:
        """One row an image: images.parquet, of which file it is a copy (copy_of, copy_kind), and its component."""
        table, copies = self.images, self.exact_copies
        place = pc.index_in(table["filename"].cast(pa.large_string()), copies["filename"].combine_chunks())
        table = table.append_column("copy_of", copies["copy_of"].take(place))
        table = table.append_column("copy_kind", copies["kind"].take(place))
        if self.files is INDEXED and layout.COMPONENTS in self.summary["sha256"]:
            components = self.components.drop_columns(["__id"])
            if len(components) != len(table):
                raise describe_other_run(os.path.join(self.work_dir, layout.COMPONENTS))
            for name in components.column_names:
                table = table.append_column(name, components[name])
        return table

    def to_pandas(self) -> "pd.DataFrame":
        """The same as a data frame; needs pandas."""
        return self.to_arrow().to_pandas()

    @property
    def _store(self) -> Store:
        return open_store(self.work_dir)

    def _parquet(self, name: str, form: TableFormat, *, kept_as: str | None = None) -> pa.Table:
        return read_parquet(fetch_listed(self._store, name, self.summary, kept_as=kept_as), form)

    def _csv(self, name: str, header: tuple[str, ...]) -> pa.Table:
        path = fetch_listed(self._store, name, self.summary)
        table = read_csv(path, header)
        return pa.table({column: _column(path, table, column) for column in header})


def _column(path: Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    if name in _NUMBERS:
        return parse_numbers(path, table, name, _NUMBERS[name], nullable=True)
    column = table[name].cast(pa.large_binary()).combine_chunks()
    return pa.chunked_array([escape_names(column)], pa.large_string())
