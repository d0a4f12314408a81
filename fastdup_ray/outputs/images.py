"""The images of a run, one for each embedding, and which of them have the same bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.layout import FileSet
from fastdup_ray.config import RunConfig
from fastdup_ray.features import expand_entries, map_names
from fastdup_ray.inputs.labels import read_labels
from fastdup_ray.inputs.manifest import ENTRIES, MANIFEST, add_missing_columns
from fastdup_ray.inputs.references import reference_mask
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import (
    ROWS_PER_BLOCK,
    describe_other_run,
    escape_names,
    iter_parquet,
    map_table,
    take_rows,
)

UnsignedArray: TypeAlias = npt.NDArray[np.uint64]

BEGINNING = 8
"""Bytes of a digest that are compared first: most images differ in them from all others."""


@dataclass(frozen=True)
class Images:
    """The n images of a features file, in its order; names and entries are mapped from files.

    Attributes:
        names: (n,) raw bytes.
        entries: Table of `manifest.ENTRIES` with n rows, in batches: the entry of each image.
        labels: (n,) text, null for images without a label; None if the run has no labels.
        reference: (n,) bool, whether an image is from a `reference` input; None if there are no such inputs.
    """

    names: pa.Array | pa.ChunkedArray
    entries: pa.Table
    labels: pa.Array | None = None
    reference: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def first_of_bytes(self) -> IntArray:
        """(n,) index of the first image with the same bytes, -1 if the digest is unknown."""
        return self.first_in(self)

    def first_in(self, others: "Images") -> IntArray:
        """Return (n,) index of the first of `others` with the same bytes, -1 for none."""
        first, mine = np.full(len(self), -1), self._digest_beginnings()
        if others is self:
            has_digest = self.entries["sha256"].is_valid().to_numpy()
            first[has_digest] = np.flatnonzero(has_digest)
            ranked = np.sort(mine)
            rows = among = _find_rows(mine, ranked[1:][ranked[1:] == ranked[:-1]])
        else:
            theirs = others._digest_beginnings()
            rows, among = _find_rows(mine, np.sort(theirs)), _find_rows(theirs, np.sort(mine))
        digests, candidates = (
            take_rows(images.entries.select(["sha256"]), some)["sha256"].combine_chunks()
            for images, some in ((self, rows), (others, among))
        )
        match = pc.index_in(digests, candidates, skip_nulls=True)
        first[rows[match.is_valid().to_numpy(zero_copy_only=False)]] = among[match.filter(match.is_valid()).to_numpy()]
        return first

    def _digest_beginnings(self) -> UnsignedArray:
        """Return up to n of the known digests' first 8 bytes: equal for equal digests, and for few others."""
        parts = [_get_beginnings(chunk) for chunk in self.entries["sha256"].chunks]
        return np.concatenate([np.empty(0, np.uint64), *parts])


def _find_rows(values: UnsignedArray, among: UnsignedArray) -> IntArray:
    """Return the rows of `values` that are in the sorted `among`."""
    rows = [np.empty(0, np.int64)]
    for start in range(0, len(values) if len(among) else 0, ROWS_PER_BLOCK):
        block = values[start : start + ROWS_PER_BLOCK]
        position = np.searchsorted(among, block).clip(max=len(among) - 1)
        rows.append(start + np.flatnonzero(among[position] == block))
    return np.concatenate(rows)


def _get_beginnings(digests: pa.Array) -> UnsignedArray:
    text = digests.cast(pa.large_binary()).fill_null(b"")
    end, nothing = (pa.scalar(value, pa.large_binary()) for value in (bytes(BEGINNING), b""))
    cut = pc.binary_slice(pc.binary_join_element_wise(text, end, nothing), 0, BEGINNING)
    return np.frombuffer(cut.buffers()[2], np.uint64, len(cut))


def map_images(store: Store, features_file: str, files: FileSet) -> Images:
    """Return the images of a features file, without labels and references.

    Args:
        store: The work_dir.
        features_file: Name of the features file.
        files: The file set that it belongs to.

    Raises:
        DamagedError: The files are damaged, or of another run.
    """
    names = map_names(store, features_file + ".csv")
    described = features_file == files.name(layout.FEATURES) and store.exists(files.name(layout.MANIFEST))
    path = store.fetch(files.name(layout.MANIFEST)) if described else None
    entries = map_table(_read_described(path) if path else _make_unknown(names), ENTRIES, store.scratch())
    if len(entries) != len(names):
        raise describe_other_run(path or features_file)
    return Images(names, entries)


def load_images(store: Store, features_file: str, files: FileSet, config: RunConfig | None = None) -> Images:
    """Return `map_images` with labels and references.

    Args:
        store: The work_dir.
        features_file: Name of the features file.
        files: The file set that it belongs to.
        config: Names the labels and references; without it there are none.

    Raises:
        DamagedError: The files are damaged, or of another run.
    """
    images = map_images(store, features_file, files)
    if config is None:
        return images
    uris = images.entries["uri"].cast(pa.large_binary()) if config.labels or config.reference else None
    reference = None
    if config.reference:
        reference = pa.array(reference_mask(config.reference, images.names, uris, access=store.access))
    return replace(images, labels=read_labels(config.labels, images.names, uris, store.access), reference=reference)


def _read_described(manifest: Path) -> Iterator[pa.Table]:
    for block in iter_parquet(manifest, MANIFEST):
        if pc.any(pc.less(block["rows"], 0)).as_py():
            raise describe_other_run(manifest)
        yield expand_entries(add_missing_columns(block))


def _make_unknown(names: pa.Array) -> Iterator[pa.Table]:
    """Yield entries with names only, for features that no run made."""
    for start in range(0, len(names), ROWS_PER_BLOCK):
        uris = escape_names(names[start : start + ROWS_PER_BLOCK])
        nulls = {field.name: pa.nulls(len(uris), field.type) for field in ENTRIES}
        yield pa.table(nulls | {"uri": uris}, ENTRIES)
