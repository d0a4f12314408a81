"""The good images of a run."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
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

BEGINNING = 8
"""Bytes of a digest by which those that stand alone are told from those that may not."""


@dataclass(frozen=True)
class Images:
    """The good images, one a row of features.dat; the first two are mapped from files.

    names: (n,) raw bytes. entries: `manifest.ENTRIES`, the entry that each row is of, in batches. labels: (n,) text,
    null where a picture has none; None where none were given. reference: (n,) bool, of a `--reference` input; None
    likewise.
    """

    names: pa.Array | pa.ChunkedArray
    entries: pa.Table
    labels: pa.Array | None = None
    reference: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def first_of_bytes(self) -> np.ndarray:
        """(n,) int64: the first image with the same bytes, -1 where the digest is not known."""
        return self.first_in(self)

    def first_in(self, known: "Images") -> np.ndarray:
        """(n,) int64: of each image the first of `known` with the same bytes; -1 where there is none."""
        first, mine = np.full(len(self), -1), self._digest_beginnings()
        if known is self:
            alone = self.entries["sha256"].is_valid().to_numpy()
            first[alone] = np.flatnonzero(alone)
            ranked = np.sort(mine)
            rows = among = _find_rows(mine, ranked[1:][ranked[1:] == ranked[:-1]])
        else:
            theirs = known._digest_beginnings()
            rows, among = _find_rows(mine, np.sort(theirs)), _find_rows(theirs, np.sort(mine))
        wanted, there = (
            take_rows(images.entries.select(["sha256"]), some)["sha256"].combine_chunks()
            for images, some in ((self, rows), (known, among))
        )
        place = pc.index_in(wanted, there, skip_nulls=True)
        found = place.is_valid().to_numpy(False)
        first[rows[found]] = among[place.filter(place.is_valid()).to_numpy()]
        return first

    def _digest_beginnings(self) -> np.ndarray:
        """(n,) uint64: of the digests, as far as they are known; equal for equal digests, and for few others."""
        parts = [_get_beginnings(chunk) for chunk in self.entries["sha256"].chunks]
        return np.concatenate([np.empty(0, np.uint64), *parts])


def _find_rows(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The rows of `values` that are among `known`, which rise."""
    rows = [np.empty(0, np.int64)]
    for start in range(0, len(values) if len(known) else 0, ROWS_PER_BLOCK):
        block = values[start : start + ROWS_PER_BLOCK]
        place = np.searchsorted(known, block).clip(max=len(known) - 1)
        rows.append(start + np.flatnonzero(known[place] == block))
    return np.concatenate(rows)


def _get_beginnings(digests: pa.Array) -> np.ndarray:
    text = digests.cast(pa.large_binary()).fill_null(b"")
    end, nothing = (pa.scalar(value, pa.large_binary()) for value in (bytes(BEGINNING), b""))
    cut = pc.binary_slice(pc.binary_join_element_wise(text, end, nothing), 0, BEGINNING)
    return np.frombuffer(cut.buffers()[2], np.uint64, len(cut))


def map_images(store: Store, features_file: str, files: FileSet) -> Images:
    """The images of a features file of the set `files`, in its order; raises `DamagedError`."""
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
    reference = pa.array(reference_mask(config.reference, images.names, uris)) if config.reference else None
    return replace(images, labels=read_labels(config.labels, images.names, uris), reference=reference)


def _read_described(manifest: Path) -> Iterator[pa.Table]:
    for block in iter_parquet(manifest, MANIFEST):
        if pc.any(pc.less(block["rows"], 0)).as_py():
            raise describe_other_run(manifest)
        yield expand_entries(add_missing_columns(block))


def _make_unknown(names: pa.Array) -> Iterator[pa.Table]:
    """Of features of one's own, of which nothing but the names is known."""
    for start in range(0, len(names), ROWS_PER_BLOCK):
        uris = escape_names(names[start : start + ROWS_PER_BLOCK])
        nulls = {field.name: pa.nulls(len(uris), field.type) for field in ENTRIES}
        yield pa.table(nulls | {"uri": uris}, ENTRIES)
