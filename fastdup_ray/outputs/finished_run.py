"""The outputs of a finished run or scoring: the one place that opens them again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import EmbeddingArray, IntArray
from fastdup_ray.common.facts import RunSummary, StoredConfig
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.common.mapped_arrays import write_and_map
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.errors import InputError
from fastdup_ray.features import map_names
from fastdup_ray.outputs.formats import COMPONENTS
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import fetch_listed
from fastdup_ray.storage.csv_files import read_csv
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.feature_rows import map_listed_features
from fastdup_ray.storage.parquet_files import TableFormat, iter_parquet, map_parquet, read_parquet


@dataclass(frozen=True)
class RunReader:
    """A run or a scoring in a work_dir, and its outputs by name.

    `fetch`, `read_csv`, `read_parquet` and `map_parquet` check the digest of a file, and raise `DamagedError` if it is
    not the one that the run wrote, or `MissingFileError` if the run wrote none.

    Attributes:
        store: The work_dir.
        summary: What summary.json says; or what it will say, while the last outputs are still being written.
        files: The file set of the run, or of the scoring.
    """

    store: Store
    summary: RunSummary
    files: FileSet = INDEXED

    @classmethod
    def open(cls, store: Store, files: FileSet = INDEXED, needed: Sequence[str] = ()) -> Self:
        """Open the run, or the last scoring, in a work_dir.

        Args:
            store: The work_dir.
            files: `INDEXED` for the run, `SCORED` for the scoring.
            needed: Names of outputs without which there is nothing to read: modes 1 and 2 leave some of them out.

        Raises:
            InputError: No run or scoring has finished there, or it has none of `needed`.
            DamagedError: summary.json is damaged.
        """
        try:
            if all(store.exists(locate_output(store, name, files)) for name in needed):
                return cls(store, read_summary(store, files), files)
        except FileNotFoundError:
            pass
        what = "run" if files is INDEXED else "scoring"
        raise InputError(f"No finished {what} in {store.location!r}: name the work_dir of one, or run first.")

    @cached_property
    def config(self) -> StoredConfig:
        """The content of config.json."""
        return read_config(self.store, self.files)

    @property
    def features_file(self) -> str:
        """The name of the features file. Mode 2 takes one of any name."""
        if self.files is not INDEXED:
            return self.files.name(layout.FEATURES)
        return self.summary.get("features_file", layout.FEATURES)

    def map_names(self) -> pa.LargeBinaryArray:
        """Return the raw names of the n images, mapped from a file; the digest is not checked."""
        return map_names(self.store, self.features_file + ".csv")

    def map_features(self) -> EmbeddingArray:
        """Return the (n, d) embeddings, mapped from their files, whose digests are checked."""
        return map_listed_features(self.store, self.features_file, self.summary)

    def locate(self, name: str) -> str:
        """Return the name that an output of this run has now, see `locate_output`."""
        return locate_output(self.store, name, self.files)

    def fetch(self, name: str) -> Path:
        """Return a local path of an output."""
        return fetch_listed(self.store, name, self.summary, kept_as=self.locate(name))

    def read_csv(self, name: str, header: Sequence[str]) -> pa.Table:
        """Return a CSV file as raw bytes, see `storage.csv_files.read_csv`."""
        return read_csv(self.fetch(name), header)

    def read_parquet(self, name: str, form: TableFormat) -> pa.Table:
        """Return a Parquet file, see `storage.parquet_files.read_parquet`."""
        return read_parquet(self.fetch(name), form)

    def map_parquet(self, name: str, form: TableFormat) -> pa.Table:
        """Return the same as `read_parquet`, mapped from a file that is not compressed."""
        return map_parquet(self.fetch(name), form, self.store.scratch())


def read_component_ids(path: Path, scratch: Scratch) -> IntArray:
    """Return the (n,) int64 `component_id` of each image from components.parquet, mapped from a temporary file."""
    return write_and_map(
        (block["component_id"].to_numpy() for block in iter_parquet(path, COMPONENTS)), np.int64, scratch()
    )


def locate_output(store: Store, name: str, files: FileSet = INDEXED) -> str:
    """Return the name that an output of a run has now.

    A scoring writes its pairs to similarity.csv and similarity.parquet, and renames those of the indexed set.
    """
    backup = layout.TRAIN_BACKUP.get(name) if files is INDEXED else None
    return backup if backup is not None and store.exists(backup) else name
