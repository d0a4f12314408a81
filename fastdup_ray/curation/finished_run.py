"""The outputs of a finished run that a plan is made from."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.keepers import find_references
from fastdup_ray.analysis.same_bytes import find_first_of_bytes, name_unknown
from fastdup_ray.analysis.verified_pairs import VERIFIED, VerifiedPairs
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.arrays import BoolArray, DoubleArray, EmbeddingArray, IntArray, split_pairs
from fastdup_ray.common.facts import StoredConfig
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.curation.plan_row import ImageFacts
from fastdup_ray.curation.provenance import SeenImages
from fastdup_ray.features import check_finite, find_images
from fastdup_ray.outputs.exact_copies import read_exact_copies
from fastdup_ray.outputs.finished_run import RunReader, read_component_ids
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.outputs.run_identity import digest_images
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, describe_other_run, take_rows

FLAT = 8.0
"""Contrast (standard deviation of the gray values, 0 to 127.5) below which an image is almost of one color: a blank
page, a dark frame, a sheet with one line of text. Two such images can differ and still have a cosine of 1."""

Links: TypeAlias = tuple[IntArray, IntArray]
"""Some pairs of images: (m,) int64 indices of the one and of the other image of each."""

_BLOCK = 16_384
"""Pairs of embeddings at a time: 75 MB of float64 for each side."""


@dataclass(frozen=True)
class FinishedRun:
    """The n images of an indexed set, and what a run found out about them.

    Attributes:
        images: Table of images.parquet, mapped from a file.
        names: (n,) raw bytes, mapped as well.
        iter_pairs: Returns the pairs of similarity.csv, block by block.
        first_of_bytes: (n,) int64, the first image with the same bytes; itself where they are not known. It may be
            mapped from a file.
        features: (n, d) float32, mapped from files.
        config: Content of config.json.
        digest: See `SeenImages`.
        scratch: Opens a temporary file.
        access: How buckets are accessed.
        verified: The verified pairs of the run; None if it has none.
        find_components: Returns the `component_id` of images at (m,) int64 indices; None with run_cc=0.
    """

    images: pa.Table
    names: pa.Array
    iter_pairs: Callable[[], Iterable[Links]]
    first_of_bytes: IntArray
    features: EmbeddingArray
    config: StoredConfig
    digest: str
    scratch: Scratch
    access: Access = DEFAULT_ACCESS
    verified: VerifiedPairs | None = None
    find_components: Callable[[IntArray], IntArray] | None = None

    @property
    def seen(self) -> SeenImages:
        """What the run saw of the images."""
        return SeenImages(self.digest, self.names, self.images)

    def facts(self, rows: Sequence[int] | IntArray) -> list[ImageFacts]:
        """Return for each of the images at `rows` what identifies it in a plan."""
        return self.seen.facts(rows)

    def find_fully_seen(self) -> BoolArray:
        """Return (n,) bool: whether the embedding of an image represents the whole of its file.

        It does not if the file holds more than the model saw, if that is unknown (features of the user's own, outputs
        of an earlier version), or if the image is almost of one color.
        """
        is_seen, start = make_array(self.images.num_rows, bool, self.scratch), 0
        if {"unseen", "contrast"}.issubset(self.images.column_names):
            for part in self.images.select(["unseen", "contrast"]).to_batches():
                seen = pc.and_(pc.equal(part["unseen"], ""), pc.greater_equal(part["contrast"], FLAT))
                is_seen[start : start + len(part)] = pc.fill_null(seen, pa.scalar(value=False))
                start += len(part)
        return is_seen

    def find_references(self, rows: IntArray) -> BoolArray:
        """Return (m,) bool: whether the images at m rows are of reference inputs, which are never removed."""
        if "reference" not in self.images.column_names:
            return np.zeros(len(rows), bool)
        return find_references(take_rows(self.images.select(["reference"]), rows))

    def iter_same_bytes(self) -> Iterator[Links]:
        """Yield the images that have the same bytes as an earlier one, and the first of these, block by block."""
        for start in range(0, len(self.first_of_bytes), ROWS_PER_BLOCK):
            first = self.first_of_bytes[start : start + ROWS_PER_BLOCK]
            repeats = np.flatnonzero(first != np.arange(start, start + len(first)))
            yield start + repeats, first[repeats]

    def name(self, row: int) -> str:
        """Return the name of an image; bytes that are not UTF-8 are surrogates."""
        raw: bytes = self.names[row].as_py()
        return os.fsdecode(raw)

    def cosines(self, first: IntArray, second: IntArray) -> DoubleArray:
        """Return (m,) float64 cosines, 6 decimals, of m images with m others."""
        blocks = [slice(start, start + _BLOCK) for start in range(0, len(second), _BLOCK)]
        return np.concatenate([np.empty(0), *(self._compute_cosines(first[block], second[block]) for block in blocks)])

    def _compute_cosines(self, first: IntArray, second: IntArray) -> DoubleArray:
        a, b = (check_finite(self.features[rows]) for rows in (first, second))
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosines: DoubleArray = np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)
        return np.round(cosines, 6)


def read_finished_run(store: Store) -> FinishedRun:
    """Read the outputs of a finished run.

    Raises:
        InputError: No run has finished in the work_dir.
        DamagedError: An output is damaged, or of another run.
    """
    run = RunReader.open(store, needed=(layout.CONFIG, layout.IMAGES, layout.SIMILARITY_CSV))
    run.fetch(run.features_file + ".csv")
    names, images = run.map_names(), run.map_parquet(layout.IMAGES, IMAGES)
    features = run.map_features()
    run.fetch(layout.CONFIG)
    if not len(names) == images.num_rows == len(features):
        raise describe_other_run(store.fetch(layout.IMAGES))
    pairs = run.fetch(layout.SIMILARITY_CSV)
    source, target = find_images(pairs, csv_columns.PAIRS_HEADER, ["from", "to"], names, store.scratch)
    first, verified = find_first_of_bytes(images["sha256"], store.scratch), None
    if run.config.get("verify") not in (None, "off"):
        table, contents = run.map_parquet(layout.VERIFIED, VERIFIED), read_exact_copies(store, INDEXED, names, names)
        verified = VerifiedPairs(table, first, contents.contents(len(names), store.scratch))
    find_components = None
    if layout.COMPONENTS in run.summary["sha256"]:
        find_components = read_component_ids(run.fetch(layout.COMPONENTS), store.scratch).__getitem__
    return FinishedRun(
        images,
        names,
        partial(split_pairs, source, target, ROWS_PER_BLOCK),
        name_unknown(first, store.scratch),
        features,
        run.config,
        digest_images(store),
        store.scratch,
        store.access,
        verified,
        find_components,
    )
