"""The images of a run, one for each embedding, and which of them have the same bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.pairs import NameOrder
from fastdup_ray.analysis.same_bytes import find_first_in, find_first_of_bytes
from fastdup_ray.common import layout
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.records import Pairs
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.config import RunConfig
from fastdup_ray.features import expand_entries, map_names
from fastdup_ray.inputs import get_annotations
from fastdup_ray.inputs.labels import read_labels
from fastdup_ray.inputs.manifest import ENTRIES, MANIFEST, add_missing_columns
from fastdup_ray.inputs.references import reference_mask
from fastdup_ray.storage import Store
from fastdup_ray.storage.parquet_files import iter_parquet
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, describe_other_run, escape_names, map_table


@dataclass(frozen=True)
class Images:
    """The n images of a features file, in its order; names and entries are mapped from files.

    Attributes:
        names: (n,) raw bytes.
        entries: Table of `manifest.ENTRIES` with n rows, in batches: the entry of each image.
        labels: (n,) text, null for images without a label; None if the run has no labels.
        reference: (n,) bool, whether an image is from a `reference` input; None if there are no such inputs.
        scratch: Opens a temporary file.
    """

    names: pa.Array | pa.ChunkedArray
    entries: pa.Table
    labels: pa.Array | None = None
    reference: pa.Array | None = None
    scratch: Scratch = TemporaryFile

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def first_of_bytes(self) -> IntArray:
        """(n,) index of the first image with the same bytes, -1 if the digest is unknown; it may be mapped, too."""
        return find_first_of_bytes(self.entries["sha256"], self.scratch)

    @cached_property
    def order(self) -> NameOrder:
        """The order of the images by their names."""
        return NameOrder.from_names(self.names, self.scratch)

    def first_in(self, others: "Images") -> IntArray:
        """Return (n,) index of the first of `others` with the same bytes, -1 for none."""
        return find_first_in(self.entries["sha256"], others.entries["sha256"])


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
    return Images(names, entries, scratch=store.scratch)


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
    labels = read_labels(config.labels, images.names, uris, store.access)
    if labels is None and (annotations := get_annotations(config)) is not None:
        labels = annotations.read_labels(images.names)
    return replace(images, labels=labels, reference=reference)


def name_pairs(sources: Images, targets: Images, pairs: Pairs) -> list[pa.Array]:
    """Return the names of both images of each pair."""
    return [sources.names.take(pa.array(pairs.source)), targets.names.take(pa.array(pairs.target))]


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
