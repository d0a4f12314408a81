"""Feature files: write, read, verify.

A range of run mode 1 has four files: `.dat` (embeddings), `.dat.csv` (names), `.bad.csv` (bad images) and, written
last, `.json` with its bounds, fingerprint, digests and entries. A range without its `.json` does not exist.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import AnyArray, DoubleArray, EmbeddingArray, FloatArray, IntArray
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.errors import DamagedError
from fastdup_ray.features.names import Names, name_embeddings, write_bad, write_names
from fastdup_ray.features.stored_embeddings import StoredEmbeddings, StoredParts
from fastdup_ray.inputs.manifest import ENTRIES, MANIFEST, add_missing_columns
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import check_digest, hash_file, write_json
from fastdup_ray.storage.facts import read_facts
from fastdup_ray.storage.feature_parts import PartIndex, read_index
from fastdup_ray.storage.parquet_files import iter_parquet
from fastdup_ray.storage.tables import map_table

_ROWS_PER_BLOCK = 16_384
"""Embeddings that `read_unit_rows` holds as float64 at a time."""


@dataclass(frozen=True)
class EntrySet:
    """The entries of a part of a list, or of a whole one, and what is known of their embeddings.

    Attributes:
        entries: One row for each entry, with the columns `inputs.manifest.ENTRIES`. Those of features.dat are mapped
            from a scratch file, and take no memory of their own.
        facts: What is stored of the embeddings: fingerprint, d, list_sha256, sha256 and more.
        index: Where the embeddings are, if they are in parts.
    """

    entries: pa.Table
    facts: FeatureFacts
    index: PartIndex | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class FeatureSet(EntrySet):
    """Entries and their embeddings, which were checked.

    Attributes:
        embeddings: (n, d) float32, in their file, or in parts.
    """

    embeddings: StoredEmbeddings | StoredParts


def write_range(
    store: Store, stem: str, uris: Names, entries: pa.Table, blocks: Iterable[FloatArray], facts: FeatureFacts
) -> None:
    """Write the four files of a range.

    Args:
        store: The work_dir.
        stem: Common part of the four file names.
        uris: (m,) names of the entries.
        entries: m rows with the columns `ENTRIES`.
        blocks: Their embeddings in order, as (b, d) float32 arrays.
        facts: Content of the JSON file besides digests and entries: min_offset, max_offset, d, fingerprint and more.
    """
    with store.create(stem + ".dat") as path:
        sha256 = {".dat": write_embeddings(path, blocks)}
    write_names(store, stem + ".dat.csv", [name_embeddings(uris, entries)])
    write_bad(store, stem + ".bad.csv", [(uris, entries)])
    for suffix in (".dat.csv", ".bad.csv"):
        sha256[suffix] = hash_file(store.fetch(stem + suffix))
    write_json(store, stem + ".json", facts | {"sha256": sha256, "entries": entries.to_pydict()})


def open_range(store: Store, stem: str) -> FeatureSet:
    """Open a range of run mode 1, or a feature shard of an earlier version, and check the digests of its files.

    Args:
        store: The work_dir.
        stem: Common part of the four file names.

    Raises:
        DamagedError: A file was changed, or written by another version.
        FileNotFoundError: A file is missing.
    """
    try:
        own = _read_range(store, stem)
        for suffix in own.facts["sha256"].keys() - {".dat"}:
            check_digest(store, stem + suffix, own.facts["sha256"][suffix])
        return _check_embeddings(store, stem + ".dat", own.facts["sha256"][".dat"], own)
    except _OTHER_VERSION:
        raise _make_version_error(f"{stem}.json") from None


def read_range_entries(store: Store, stem: str) -> EntrySet:
    """Read the entries of a range as `open_range` does, but neither read nor check its other files."""
    try:
        return _read_range(store, stem)
    except _OTHER_VERSION:
        raise _make_version_error(f"{stem}.json") from None


_OTHER_VERSION = (KeyError, TypeError, AttributeError, OverflowError, pa.ArrowException)
"""What facts without their fields cause."""


def _read_range(store: Store, stem: str) -> EntrySet:
    facts = read_facts(store, stem + ".json")
    return EntrySet(_make_entries(facts.pop("entries")), facts)


def _make_entries(columns: dict[str, list[Any]]) -> pa.Table:
    """Return the entries of a shard; an earlier version had no column `taken`."""
    return pa.table({"taken": [None] * len(columns["uri"]), **columns}, ENTRIES)


def open_complete(store: Store, files: FileSet = INDEXED) -> FeatureSet | None:
    """Open features.dat of a finished run, and check its digest and that of its manifest.

    Args:
        store: The work_dir.
        files: Which set of images: the indexed one, the scored one, or the transforms.

    Returns:
        The feature set; None if there is no finished run, or if its features were saved by the user.

    Raises:
        DamagedError: A file is missing or was changed.
    """
    return _open_described(store, files, layout.SUMMARY, layout.MANIFEST)


def open_merged(store: Store, files: FileSet = INDEXED) -> FeatureSet | None:
    """Open features.dat of a finished run, or of one that was killed after the merge.

    After a merge, files in shards/ describe features.dat until the run is finished. See `open_complete` for the rest.
    """
    try:
        merged = _open_described(store, files, layout.MERGED, layout.MERGED_MANIFEST)
    except DamagedError:
        merged = None
    return merged or open_complete(store, files)


def read_complete_entries(store: Store, files: FileSet = INDEXED) -> EntrySet | None:
    """Read what `open_complete` opens, but neither read nor check the embeddings."""
    return _read_described(store, files, layout.SUMMARY, layout.MANIFEST)


def read_merged_entries(store: Store, files: FileSet = INDEXED) -> EntrySet | None:
    """Read what `open_merged` opens, and the embeddings only if their digest has to tell which entries they are of."""
    return (open_merged if store.exists(files.name(layout.MERGED)) else read_complete_entries)(store, files)


def _open_described(store: Store, files: FileSet, description: str, manifest: str) -> FeatureSet | None:
    own, features = _read_described(store, files, description, manifest), files.name(layout.FEATURES)
    if own is None:
        return None
    try:
        if own.index is not None:
            return FeatureSet(own.entries, own.facts, StoredParts.check(store, own.index), index=own.index)
        return _check_embeddings(store, features, own.facts["sha256"][features], own)
    except FileNotFoundError as error:
        raise DamagedError(str(error)) from None
    except KeyError:
        raise _make_version_error(files.name(description)) from None


def _read_described(store: Store, files: FileSet, description: str, manifest: str) -> EntrySet | None:
    description, manifest = files.name(description), files.name(manifest)
    if not store.exists(description):
        return None
    try:
        facts = read_facts(store, description)
        if "list_sha256" not in facts:
            return None  # the user saved these features
        path = check_digest(store, manifest, facts["sha256"][manifest])
        blocks = map(add_missing_columns, iter_parquet(path, MANIFEST))
        entries = map_table(blocks, ENTRIES, store.scratch())
        index = _read_index(store, files.name(layout.FEATURES_INDEX), entries, facts)
        return EntrySet(entries, facts, index=index)
    except FileNotFoundError as error:
        raise DamagedError(str(error)) from None
    except KeyError:
        raise _make_version_error(description) from None


def check_parts(store: Store, features_file: str, sha256: dict[str, str]) -> None:
    """Check the digests of embeddings in parts, and do nothing for those in one file.

    Args:
        store: The work_dir.
        features_file: Name of the features file that they stand for.
        sha256: Digests of the outputs of a run, by name.

    Raises:
        DamagedError: A part, or the index, is damaged.
        FileNotFoundError: One of them is missing.
    """
    index = layout.locate_index(features_file)
    if index in sha256:
        StoredParts.check(store, read_index(check_digest(store, index, sha256[index])))


def _read_index(store: Store, name: str, entries: pa.Table, facts: FeatureFacts) -> PartIndex | None:
    """Return where the embeddings of some entries are, if these are in parts."""
    if name not in facts["sha256"]:
        return None
    path = check_digest(store, name, facts["sha256"][name])
    index, n = read_index(path), count_embeddings(entries)
    if len(index) != n or index.d not in (0, facts["d"]):
        raise DamagedError(f"{path} is damaged: it has {len(index):,} embeddings of width {index.d:,}, not {n:,}.")
    return index


def _make_version_error(name: str) -> DamagedError:
    return DamagedError(f"{name} was not written by this version of fastdup_ray.")


def check_finite(embeddings: FloatArray) -> DoubleArray:
    """Return embeddings of a features file as float64.

    Args:
        embeddings: (b, d) float32.

    Returns:
        (b, d) float64.

    Raises:
        DamagedError: A value is infinite or NaN.
    """
    if not np.isfinite(embeddings).all():
        raise DamagedError("The features are damaged: some values are infinite or NaN; run again.")
    return np.asarray(embeddings, np.float64)


def read_unit_rows(features: EmbeddingArray, rows: IntArray) -> FloatArray:
    """Read rows of a features file, block by block, as embeddings of unit length.

    Args:
        features: (n, d) float32.
        rows: (m,) int64.

    Returns:
        (m, d) float32; a row of zeros stays one.

    Raises:
        DamagedError: One of them is not finite.
    """
    embeddings = np.empty((len(rows), features.shape[1]), np.float32)
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        block = check_finite(features[rows[start : start + _ROWS_PER_BLOCK]])
        embeddings[start : start + _ROWS_PER_BLOCK] = block / np.maximum(
            np.linalg.norm(block, axis=1, keepdims=True), 1e-12
        )
    return embeddings


def write_embeddings(path: Path, blocks: Iterable[AnyArray]) -> str:
    """Write embeddings to a file: float32, little endian, row-major, without a header.

    Args:
        path: The file.
        blocks: Arrays of shape (b, d), which are written one after the other.

    Returns:
        The SHA-256 of the file, in hex.
    """
    with open(path, "wb") as file:
        return write_embedding_blocks(file, blocks)


def write_embedding_blocks(file: IO[bytes], blocks: Iterable[AnyArray]) -> str:
    """Write embeddings to an open file, as `write_embeddings` does."""
    digest = hashlib.sha256()
    for block in blocks:
        data = np.ascontiguousarray(block, "<f4").data
        file.write(data)
        digest.update(data)
    return digest.hexdigest()


def _check_embeddings(store: Store, name: str, sha256: str, own: EntrySet) -> FeatureSet:
    shape = count_embeddings(own.entries), own.facts["d"]
    return FeatureSet(own.entries, own.facts, StoredEmbeddings.check(store, name, sha256, shape))


def count_embeddings(entries: pa.Table) -> int:
    """Return the number of embeddings of some entries."""
    return int(pc.sum(entries["rows"]).as_py() or 0)
