"""The files of features: write, read, verify.

A feature shard has four: `.dat` (rows), `.dat.csv` (names), `.bad.csv` and, written last, `.json` with its range,
fingerprint, digests and entries.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.errors import DamagedError, MissingFileError, WorkDirError
from fastdup_ray.features.stored_embeddings import StoredEmbeddings
from fastdup_ray.inputs.manifest import ENTRIES, MANIFEST, add_missing_columns
from fastdup_ray.inputs.video import format_frame_suffix, get_frame_time, hash_frame
from fastdup_ray.storage import Store, open_file, open_store
from fastdup_ray.storage.checked_json import check_digest, hash_file, write_json
from fastdup_ray.storage.facts import read_facts
from fastdup_ray.storage.named_output import NamedOutput
from fastdup_ray.storage.tables import (
    encode_names,
    iter_csv,
    map_file,
    read_csv,
    read_parquet,
    write_columns,
    write_csv,
)

Names = pa.Array | pa.ChunkedArray
"""Paths and URIs as raw bytes, (n,)."""


@dataclass(frozen=True)
class FeatureSet:
    """rows: (r, d) float32, in their file. entries: `ENTRIES`. facts: fingerprint, d, list_sha256 and more."""

    embeddings: StoredEmbeddings
    entries: pa.Table
    facts: FeatureFacts


def write_shard(
    store: Store, stem: str, uris: Names, entries: pa.Table, blocks: Iterable[np.ndarray], facts: FeatureFacts
) -> None:
    """Puts the four files of a feature shard.

    uris: the entries' names. entries: `ENTRIES`. blocks: their rows in order, (r, d) float32 each.
    facts: min_offset, max_offset, d, fingerprint and whatever else is to stand in the JSON.
    """
    with store.create(stem + ".dat") as path:
        sha256 = {".dat": write_embeddings(path, blocks)}
    write_names(store, stem + ".dat.csv", name_embeddings(uris, entries))
    write_bad(store, stem + ".bad.csv", uris, entries)
    for suffix in (".dat.csv", ".bad.csv"):
        sha256[suffix] = hash_file(store.fetch(stem + suffix))
    write_json(store, stem + ".json", facts | {"sha256": sha256, "entries": entries.to_pydict()})


def open_shard(store: Store, stem: str) -> FeatureSet:
    """A feature shard whose digests and number of rows were checked; `DamagedError`, `FileNotFoundError`."""
    try:
        facts = read_facts(store, stem + ".json")
        entries = pa.table(facts.pop("entries"), ENTRIES)
        for suffix in facts["sha256"].keys() - {".dat"}:
            check_digest(store, stem + suffix, facts["sha256"][suffix])
        rows = _check_embeddings(store, stem + ".dat", facts["sha256"][".dat"], facts["d"], entries)
        return FeatureSet(rows, entries, facts)
    except (KeyError, TypeError, AttributeError, OverflowError, pa.ArrowException):
        raise DamagedError(f"{stem}.json is not of this version of fastdup_ray.") from None


def open_complete(store: Store, files: FileSet = INDEXED) -> FeatureSet | None:
    """features.dat (or the like) that a finished run made, checked; None where there is none; raises `DamagedError`."""
    return _open_described(store, files, layout.SUMMARY, layout.MANIFEST)


def open_merged(store: Store, files: FileSet = INDEXED) -> FeatureSet | None:
    """The same, but also of a run that died after it had merged: then files under shards/ describe features.dat."""
    try:
        merged = _open_described(store, files, layout.MERGED, layout.MERGED_MANIFEST)
    except DamagedError:
        merged = None
    return merged or open_complete(store, files)


def _open_described(store: Store, files: FileSet, description: str, manifest: str) -> FeatureSet | None:
    description, manifest, features = (files.name(name) for name in (description, manifest, layout.FEATURES))
    if not store.exists(description):
        return None
    try:
        facts = read_facts(store, description)
        if "list_sha256" not in facts:
            return None  # of features of the user's own
        check_digest(store, manifest, facts["sha256"][manifest])
        entries = add_missing_columns(read_parquet(store.fetch(manifest), MANIFEST))
        rows = _check_embeddings(store, features, facts["sha256"][features], facts["d"], entries)
        return FeatureSet(rows, entries, facts)
    except FileNotFoundError as error:
        raise DamagedError(str(error)) from None
    except KeyError:
        raise DamagedError(f"{description} is not of this version of fastdup_ray.") from None


def map_features(store: Store, name: str, d: int) -> np.ndarray:
    """A features file as (n, d) float32, read only as it is used; raises `DamagedError` where it ends within a row."""
    path = store.fetch(name)
    n, rest = divmod(path.stat().st_size, 4 * d)
    if rest:
        raise DamagedError(f"{path} is damaged: {path.stat().st_size:,} bytes are no rows of {d:,} numbers.")
    return np.memmap(path, "<f4", "r", shape=(n, d)) if n else np.empty((0, d), np.float32)


def check_finite(rows: np.ndarray) -> np.ndarray:
    """Return rows of a features file as float64; raises `DamagedError` where some of their numbers are none."""
    if not np.isfinite(rows).all():
        raise DamagedError("The features are damaged: some of their numbers are infinite, or none; run again.")
    return np.asarray(rows, np.float64)


def write_embeddings(path: Path, blocks: Iterable[np.ndarray]) -> str:
    """Writes (r, d) float32 blocks one after the other; returns the sha256 of the file."""
    with open(path, "wb") as file:
        return write_embedding_blocks(file, blocks)


def write_embedding_blocks(file: BinaryIO, blocks: Iterable[np.ndarray]) -> str:
    """Do the same to an open file."""
    digest = hashlib.sha256()
    for block in blocks:
        data = np.ascontiguousarray(block, "<f4")
        file.write(data)
        digest.update(data)
    return digest.hexdigest()


def write_names(store: Store, name: str, names: Names) -> None:
    """`index,filename`, one line a row of features."""
    write_csv(store, name, layout.FEATURES_HEADER, [np.arange(len(names)), names])


def read_names(path: Path) -> pa.ChunkedArray:
    """The names of a features file, as raw bytes; raises `DamagedError`."""
    table = read_csv(path, layout.FEATURES_HEADER)
    _check_count(path, table["index"], 0)
    return table["filename"].cast(pa.large_binary())


def _check_count(path: Path, index: pa.Array | pa.ChunkedArray, start: int) -> None:
    expected = pa.array(np.arange(start, start + len(index))).cast(pa.string()).cast(index.type)
    if not index.equals(pa.chunked_array([expected]) if isinstance(index, pa.ChunkedArray) else expected):
        raise DamagedError(f"{path} is damaged: its column index does not count from 0.")


def map_names(store: Store, name: str) -> pa.LargeBinaryArray:
    """The same of a features file's CSV, read block by block and mapped from then on; raises `DamagedError`."""
    path, data = store.fetch(name), store.scratch()
    offsets, n, size = store.scratch(), 0, 0
    offsets.write(np.zeros(1, np.int64))
    for block in iter_csv(path, layout.FEATURES_HEADER):
        _check_count(path, block["index"], n)
        names = block["filename"].cast(pa.large_binary())
        ends = np.frombuffer(names.buffers()[1], np.int64)[names.offset : names.offset + len(names) + 1]
        data.write(memoryview(names.buffers()[2])[ends[0] : ends[-1]])
        offsets.write(ends[1:] - ends[0] + size)
        n, size = n + len(names), size + int(ends[-1] - ends[0])
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), n, [None, map_file(offsets), map_file(data)])


def write_bad(store: Store, name: str, uris: Names, entries: pa.Table) -> None:
    """The bad ones among the entries."""
    bad = pc.is_valid(entries["error_code"])
    table = entries.filter(bad)
    write_csv(store, name, layout.BAD_HEADER, [uris.filter(bad), table["error_code"], table["error_message"]])


def name_embeddings(uris: Names, entries: pa.Table) -> Names:
    """The name of each row: that of its entry, of a video's frame with its time."""
    names = uris.take(_index_entries(entries))
    rows, times = _find_frames(entries)
    if len(rows) == 0:
        return names
    suffixes = np.full(len(names), b"", object)
    suffixes[rows] = [format_frame_suffix(time).encode() for time in times]
    return pc.binary_join_element_wise(names, pa.array(suffixes, names.type), pa.scalar(b"", names.type))


def expand_entries(entries: pa.Table) -> pa.Table:
    """The entry of each row; the sha256 of a frame is its own: two frames of one video are no copies."""
    table = entries.take(_index_entries(entries))
    rows, times = _find_frames(entries)
    if len(rows) == 0:
        return table
    sha256 = np.array(table["sha256"].to_pylist(), object)
    sha256[rows] = [hash_frame(digest, time) for digest, time in zip(sha256[rows], times, strict=True)]
    return table.set_column(ENTRIES.get_field_index("sha256"), "sha256", pa.array(sha256, table["sha256"].type))


def _index_entries(entries: pa.Table) -> pa.Array:
    return pa.array(np.repeat(np.arange(entries.num_rows), entries["rows"].to_numpy()))


def _find_frames(entries: pa.Table) -> tuple[np.ndarray, list[int]]:
    """Which rows are frames of videos, and the milliseconds of each."""
    count, fps = entries["rows"].to_numpy(), pc.fill_null(entries["fps"], 0.0).to_numpy()
    first = np.cumsum(count) - count
    videos = np.flatnonzero((fps > 0) & (count > 0))
    rows = [np.arange(first[video], first[video] + count[video]) for video in videos]
    times = [get_frame_time(index, float(fps[video])) for video in videos for index in range(count[video])]
    return np.concatenate([np.empty(0, np.int64), *rows]), times


def _check_embeddings(store: Store, name: str, sha256: str, d: int, entries: pa.Table) -> StoredEmbeddings:
    return StoredEmbeddings.check(store, name, sha256, (pc.sum(entries["rows"]).as_py() or 0, d))


def infer_dimensions(path: Path, n: int) -> int:
    """D of a features file of n rows, by its size; raises `DamagedError`."""
    size = path.stat().st_size
    if n == 0 and size == 0:
        return 0
    if n == 0 or size == 0 or size % (4 * n):
        raise DamagedError(f"{path} is damaged: {size} bytes do not divide among the {n} names of {path.name}.csv.")
    return size // (4 * n)


@accept_paths("filename")
def load_binary_feature(filename: str | os.PathLike = layout.FEATURES) -> tuple[list[str], np.ndarray]:
    """The n names and the (n, d) float32 matrix of a features file; d is its size by the rows of its CSV.

    `filename`: the features file, or the folder that has it. The CSV lies beside it under the same name plus `.csv`.
    Raises `FileNotFoundError`, and `DamagedError` where the two do not fit.
    """
    store, file = open_file(filename, layout.FEATURES)
    for needed in (file, file + ".csv"):
        if not store.is_file(needed):
            place = os.path.join(store.location, needed)
            raise MissingFileError(f"{place} does not exist; name the features file of a finished run.")
    path = store.fetch(file)
    names = [os.fsdecode(name) for name in read_names(store.fetch(file + ".csv")).to_pylist()]
    d = infer_dimensions(path, len(names))
    return names, np.fromfile(path, "<f4").reshape(len(names), d)


load_binary = load_binary_features = load_binary_feature  # the specification has all three names


@accept_paths("save_path")
def save_binary_feature(
    save_path: str | os.PathLike[str], filenames: Sequence[str], features: np.ndarray, overwrite: bool = False
) -> None:
    """Write features of your own into a folder, for run mode 2.

    Args:
        save_path: the folder or s3:// URI.
        filenames: n names.
        features: (n, d), a row for each name; stored as float32.
        overwrite: replace whatever is there, and forget the run that it is of. Without it only features that no run
            describes are replaced, such as those of an earlier call.

    Raises:
        WorkDirError: where the folder has the results of a run, or other files of these names, or cannot be written.
        ValueError: where names and rows do not fit.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != len(filenames):
        raise ValueError(f"features should be ({len(filenames)}, d), one row for each name, not {features.shape}.")
    store = open_store(save_path)
    described = (layout.SUMMARY, layout.MANIFEST)  # they describe the features that are replaced
    if not overwrite and any(map(store.exists, described)):
        raise WorkDirError(
            f"{store.location!r} has the results of a run: name another folder, or replace its features with "
            "overwrite=True."
        )
    both = layout.FEATURES, layout.FEATURES_CSV
    overwrite = overwrite or all(map(store.is_file, both))
    rows, names = (NamedOutput(os.path.join(store.location, name), overwrite=overwrite) for name in both)
    with rows.open() as rows_file, names.open() as names_file:  # both are written before the first is replaced
        write_embedding_blocks(rows_file, [features])
        write_columns(names_file, layout.FEATURES_HEADER, [np.arange(len(filenames)), encode_names(filenames)])
    for name in described:
        store.remove(name)
