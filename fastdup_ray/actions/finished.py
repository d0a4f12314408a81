"""What a plan is made from: the outputs of a finished run."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray import layout
from fastdup_ray.actions.provenance import SeenImages, digest_images
from fastdup_ray.errors import DamagedError, InputError
from fastdup_ray.features import map_features, read_names
from fastdup_ray.sealed import check_digest, fetch_listed, read_json
from fastdup_ray.storage import Store
from fastdup_ray.tables import read_csv, read_parquet

FLAT = 8.0
"""Contrast (standard deviation of the grey values, 0 to 127.5) below which an image is almost of one color: a blank
page, a dark frame, a sheet with one line of text. Two of them may be as similar as can be and differ."""

_BLOCK = 16_384
"""Rows of which cosines are taken at a time: 75 MB of numbers each."""


@dataclass(frozen=True)
class FinishedRun:
    """n images of an indexed set.

    images: images.parquet. names: (n,) raw bytes. source, target: (m,) int64 rows of the pairs of similarity.csv.
    features: (n, d) float32, read as it is used. config: as in config.json. digest: see `SeenImages`.
    """

    images: pa.Table
    names: pa.Array
    source: np.ndarray
    target: np.ndarray
    features: np.ndarray
    config: dict[str, Any]
    digest: str

    @property
    def seen(self) -> SeenImages:
        return SeenImages(self.digest, self.names, self.images)

    def facts(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what a plan says of images, by which they are known again."""
        return self.seen.facts(rows)

    def shows_all(self) -> np.ndarray:
        """(n,) bool: whether the embedding of an image can speak for the whole of its file.

        It cannot where the file holds more than the model saw, or where that is not known (features of one's own,
        outputs of an earlier version), and where what it saw is almost of one color.
        """
        if "unseen" not in self.images.column_names:
            return np.zeros(self.images.num_rows, bool)
        whole = pc.equal(self.images["unseen"], "")
        drawn = pc.greater_equal(self.images["contrast"], FLAT)
        return pc.and_(whole, drawn).fill_null(False).to_numpy()

    def name(self, row: int) -> str:
        """Bytes that are not UTF-8 as surrogates."""
        return os.fsdecode(self.names[row].as_py())

    def cosines(self, first: np.ndarray | int, second: np.ndarray) -> np.ndarray:
        """(m,) float64, 6 decimals: the cosine of each row of `second` with that of `first`, or with the one."""
        blocks = [slice(start, start + _BLOCK) for start in range(0, len(second), _BLOCK)]
        first = np.broadcast_to(first, second.shape)
        return np.concatenate([np.empty(0), *(self._cosines(first[block], second[block]) for block in blocks)])

    def _cosines(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        a, b = (np.asarray(self.features[rows], np.float64) for rows in (first, second))
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return np.round(np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0), 6)


def read_finished(store: Store) -> FinishedRun:
    """Reads a work_dir; raises `InputError` where no run has finished there, `DamagedError`."""
    try:
        summary = read_json(store, layout.SUMMARY)
        features_file = summary["features_file"]
        names = read_names(fetch_listed(store, features_file + ".csv", summary)).combine_chunks()
        images = read_parquet(fetch_listed(store, layout.IMAGES, summary))
        kept, listed = layout.TRAIN_SIMILARITY_CSV, summary["sha256"][layout.SIMILARITY_CSV]
        similarity = check_digest(store, kept if store.exists(kept) else layout.SIMILARITY_CSV, listed)
        pairs = read_csv(similarity, layout.PAIRS_HEADER)
        fetch_listed(store, features_file, summary)
        features = map_features(store, features_file, summary["d"])
        config = json.loads(fetch_listed(store, layout.CONFIG, summary).read_bytes())
        digest = digest_images(store)
    except (FileNotFoundError, KeyError):
        raise InputError(f"No finished run in {store.location!r}: name the work_dir of one, or run first.") from None
    ends = [_rows_of(pairs[name], names) for name in ("from", "to")]
    if not len(names) == images.num_rows == len(features) or any((rows < 0).any() for rows in ends):
        raise DamagedError(f"The outputs in {store.location!r} are not of one run: run again.")
    return FinishedRun(images, names, *ends, features, config, digest)


def _rows_of(column: pa.ChunkedArray, names: pa.Array) -> np.ndarray:
    return pc.index_in(column.cast(pa.large_binary()), names).fill_null(-1).to_numpy().astype(np.int64)
