"""What a plan is made from: the outputs of a finished run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from fastdup_ray.curation.plan_file import ImageFacts
from fastdup_ray.curation.provenance import SeenImages
from fastdup_ray.errors import InputError
from fastdup_ray.features import check_finite, map_features, read_names
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.outputs.run_digest import digest_images
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import fetch_listed
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.tables import describe_other_run, parse_rows, read_csv, read_parquet

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
    source: IntArray
    target: IntArray
    features: FloatArray
    config: dict[str, Any]
    digest: str

    @property
    def seen(self) -> SeenImages:
        return SeenImages(self.digest, self.names, self.images)

    def facts(self, rows: Sequence[int]) -> list[ImageFacts]:
        """Return what a plan says of images, by which they are known again."""
        return self.seen.facts(rows)

    def is_fully_seen(self) -> BoolArray:
        """(n,) bool: whether the embedding of an image can speak for the whole of its file.

        It cannot where the file holds more than the model saw, or where that is not known (features of one's own,
        outputs of an earlier version), and where what it saw is almost of one color.
        """
        if not {"unseen", "contrast"}.issubset(self.images.column_names):
            return np.zeros(self.images.num_rows, bool)
        whole = pc.equal(self.images["unseen"], "")
        drawn = pc.greater_equal(self.images["contrast"], FLAT)
        fully_seen: BoolArray = pc.and_(whole, drawn).fill_null(fill_value=False).to_numpy()
        return fully_seen

    def name(self, row: int) -> str:
        """Bytes that are not UTF-8 as surrogates."""
        return os.fsdecode(self.names[row].as_py())

    def cosines(self, first: IntArray | int, second: IntArray) -> DoubleArray:
        """(m,) float64, 6 decimals: the cosine of each row of `second` with that of `first`, or with the one."""
        blocks = [slice(start, start + _BLOCK) for start in range(0, len(second), _BLOCK)]
        first = np.broadcast_to(first, second.shape)
        return np.concatenate([np.empty(0), *(self._compute_cosines(first[block], second[block]) for block in blocks)])

    def _compute_cosines(self, first: IntArray, second: IntArray) -> DoubleArray:
        a, b = (check_finite(self.features[rows]) for rows in (first, second))
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosines: DoubleArray = np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)
        return np.round(cosines, 6)


def read_finished_run(store: Store) -> FinishedRun:
    """Reads a work_dir; raises `InputError` where no run has finished there, `DamagedError`."""
    kept = layout.TRAIN_SIMILARITY_CSV
    similarity = kept if store.exists(kept) else layout.SIMILARITY_CSV
    if not all(map(store.exists, (layout.SUMMARY, layout.CONFIG, layout.IMAGES, similarity))):
        raise InputError(f"No finished run in {store.location!r}: name the work_dir of one, or run first.")
    summary = read_summary(store)
    features_file = summary.get("features_file", layout.FEATURES)
    names = read_names(fetch_listed(store, features_file + ".csv", summary)).combine_chunks()
    images = read_parquet(fetch_listed(store, layout.IMAGES, summary), IMAGES)
    path = fetch_listed(store, layout.SIMILARITY_CSV, summary, kept_as=similarity)
    pairs = read_csv(path, layout.PAIRS_HEADER)
    fetch_listed(store, features_file, summary)
    features = map_features(store, features_file, summary["d"])
    fetch_listed(store, layout.CONFIG, summary)
    if not len(names) == images.num_rows == len(features):
        raise describe_other_run(store.fetch(layout.IMAGES))
    source, target = (parse_rows(path, pairs[name], names) for name in ("from", "to"))
    return FinishedRun(images, names, source, target, features, read_config(store), digest_images(store))
