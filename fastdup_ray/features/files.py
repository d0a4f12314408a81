"""Feature files: write, read, verify.

A range of run mode 1 has four files: `.dat` (embeddings), `.dat.csv` (names), `.bad.csv` (bad images) and, written
last, `.json` with its bounds, fingerprint, digests and entries. A range without its `.json` does not exist.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import AnyArray, DoubleArray, FloatArray, IntArray
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.errors import DamagedError, MissingFileError, WorkDirError
from fastdup_ray.features.stored_embeddings import StoredEmbeddings
from fastdup_ray.inputs.manifest import ENTRIES, MANIFEST, add_missing_columns
from fastdup_ray.inputs.video import format_frame_suffix, get_frame_time, hash_frame
from fastdup_ray.s3 import DEFAULT_ACCESS, Access
from fastdup_ray.storage import Store, open_file, open_store
from fastdup_ray.storage.checked_json import check_digest, hash_file, write_json
from fastdup_ray.storage.facts import read_facts
from fastdup_ray.storage.named_output import NamedOutput
from fastdup_ray.storage.tables import (
    encode_names,
    iter_csv,
    iter_parquet,
    map_file,
    map_table,
    open_csv,
    read_csv,
    write_columns,
)

Names: TypeAlias = pa.Array | pa.ChunkedArray
"""(n,) paths and URIs as raw bytes (`large_binary`)."""


@dataclass(frozen=True)
class EntrySet:
    """The entries of a part of a list, or of a whole one, and what is known of their embeddings.

    Attributes:
        entries: One row for each entry, with the columns `inputs.manifest.ENTRIES`. Those of features.dat are mapped
            from a scratch file, and take no memory of their own.
        facts: What is stored of the embeddings: fingerprint, d, list_sha256, sha256 and more.
    """

    entries: pa.Table
    facts: FeatureFacts


@dataclass(frozen=True)
class FeatureSet(EntrySet):
    """Entries and their embeddings, which were checked.

    Attributes:
        embeddings: (n, d) float32, in their file.
    """

    embeddings: StoredEmbeddings


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
        return EntrySet(map_table(blocks, ENTRIES, store.scratch()), facts)
    except FileNotFoundError as error:
        raise DamagedError(str(error)) from None
    except KeyError:
        raise _make_version_error(description) from None


def _make_version_error(name: str) -> DamagedError:
    return DamagedError(f"{name} was not written by this version of fastdup_ray.")


def map_features(store: Store, name: str, d: int) -> FloatArray:
    """Map a features file into memory.

    Args:
        store: The work_dir.
        name: The features file.
        d: Width of an embedding.

    Returns:
        (n, d) float32, read only.

    Raises:
        DamagedError: The size is not a multiple of that of an embedding.
        FileNotFoundError: There is no such file.
    """
    path = store.fetch(name)
    n, rest = divmod(path.stat().st_size, 4 * d)
    if rest:
        raise DamagedError(
            f"{path} is damaged: {path.stat().st_size:,} bytes are not a whole number of embeddings of width {d:,}."
        )
    return np.memmap(path, "<f4", "r", shape=(n, d)) if n else np.empty((0, d), np.float32)


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


def write_names(store: Store, name: str, blocks: Iterable[Names]) -> None:
    """Write the CSV file with the names of embeddings, block by block: `index,filename`."""
    start = 0
    with open_csv(store, name, csv_columns.FEATURES_HEADER) as write:
        for names in blocks:
            write([np.arange(start, start + len(names)), names])
            start += len(names)


def read_names(path: Path) -> pa.ChunkedArray:
    """Read the names of embeddings from a CSV file that `write_names` wrote.

    Returns:
        (n,) names as raw bytes.

    Raises:
        DamagedError: It has another header, or its indices do not count from 0.
    """
    table = read_csv(path, csv_columns.FEATURES_HEADER)
    _check_count(path, table["index"], 0)
    return table["filename"].cast(pa.large_binary())


def _check_count(path: Path, index: pa.Array | pa.ChunkedArray, start: int) -> None:
    expected = pa.array(np.arange(start, start + len(index))).cast(pa.large_string()).cast(index.type)
    if not index.equals(pa.chunked_array([expected]) if isinstance(index, pa.ChunkedArray) else expected):
        raise DamagedError(f"{path} is damaged: its column index does not count up from 0.")


def map_names(store: Store, name: str) -> pa.LargeBinaryArray:
    """Read the names of embeddings as `read_names` does, but keep them in unnamed files that are mapped into memory.

    Args:
        store: The work_dir.
        name: The CSV file.

    Returns:
        (n,) names as raw bytes.

    Raises:
        DamagedError: It has another header, or its indices do not count from 0.
    """
    path, data = store.fetch(name), store.scratch()
    offsets, n, size = store.scratch(), 0, 0
    offsets.write(np.zeros(1, np.int64).data)
    for block in iter_csv(path, csv_columns.FEATURES_HEADER):
        _check_count(path, block["index"], n)
        names = block["filename"].cast(pa.large_binary())
        ends = np.frombuffer(names.buffers()[1], np.int64)[names.offset : names.offset + len(names) + 1]
        data.write(memoryview(names.buffers()[2])[ends[0] : ends[-1]])
        offsets.write((ends[1:] - ends[0] + size).data)
        n, size = n + len(names), size + int(ends[-1] - ends[0])
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), n, [None, map_file(offsets), map_file(data)])


def write_bad(store: Store, name: str, blocks: Iterable[tuple[Names, pa.Table]]) -> None:
    """Write the CSV file with the bad entries: `filename,error_code,message`.

    Args:
        store: The work_dir.
        name: The file.
        blocks: Names of entries, and the columns error_code and error_message of `ENTRIES`.
    """
    with open_csv(store, name, csv_columns.BAD_HEADER) as write:
        for uris, entries in blocks:
            bad = pc.is_valid(entries["error_code"])
            some = entries.filter(bad)
            write([uris.filter(bad), some["error_code"], some["error_message"]])


def name_embeddings(uris: Names, entries: pa.Table) -> Names:
    """Name each embedding after its entry; a frame of a video gets its time as a suffix.

    Args:
        uris: (m,) names of the entries.
        entries: m rows with the columns `ENTRIES`.

    Returns:
        (n,) names of the embeddings.
    """
    names = uris.take(_index_entries(entries))
    frames, times = _find_frames(entries)
    if len(frames) == 0:
        return names
    suffixes = np.full(len(names), b"", object)
    suffixes[frames] = [format_frame_suffix(time).encode() for time in times]
    return pc.binary_join_element_wise(names, pa.array(suffixes, names.type), pa.scalar(b"", names.type))


def expand_entries(entries: pa.Table) -> pa.Table:
    """Repeat each entry for each of its embeddings.

    A frame of a video gets a digest of its own, since two frames of one video are not exact duplicates.

    Args:
        entries: m rows with the columns `ENTRIES`.

    Returns:
        n rows with the columns `ENTRIES`, one for each embedding.
    """
    table = entries.take(_index_entries(entries))
    frames, times = _find_frames(entries)
    if len(frames) == 0:
        return table
    sha256 = np.array(table["sha256"].to_pylist(), object)
    sha256[frames] = [hash_frame(digest, time) for digest, time in zip(sha256[frames], times, strict=True)]
    return table.set_column(ENTRIES.get_field_index("sha256"), "sha256", pa.array(sha256, table["sha256"].type))


def _index_entries(entries: pa.Table) -> pa.Array:
    """Return, for each embedding, the index of its entry."""
    return pa.array(np.repeat(np.arange(entries.num_rows), entries["rows"].to_numpy()))


def _find_frames(entries: pa.Table) -> tuple[IntArray, list[int]]:
    """Return the indices of those embeddings that are frames of videos, and the time of each in milliseconds."""
    count, fps = entries["rows"].to_numpy(), pc.fill_null(entries["fps"], 0.0).to_numpy()
    first = np.cumsum(count) - count
    videos = np.flatnonzero((fps > 0) & (count > 0))
    frames = [np.arange(first[video], first[video] + count[video]) for video in videos]
    times = [get_frame_time(index, float(fps[video])) for video in videos for index in range(count[video])]
    return np.concatenate([np.empty(0, np.int64), *frames]), times


def _check_embeddings(store: Store, name: str, sha256: str, own: EntrySet) -> FeatureSet:
    shape = count_embeddings(own.entries), own.facts["d"]
    return FeatureSet(own.entries, own.facts, StoredEmbeddings.check(store, name, sha256, shape))


def count_embeddings(entries: pa.Table) -> int:
    """Return the number of embeddings of some entries."""
    return int(pc.sum(entries["rows"]).as_py() or 0)


def infer_dimensions(path: Path, n: int) -> int:
    """Infer the width of the embeddings in a features file from its size.

    Args:
        path: The features file.
        n: Number of embeddings, from its CSV file.

    Returns:
        The width d; 0 if there are no embeddings.

    Raises:
        DamagedError: The size is not a multiple of n float32 values.
    """
    size = path.stat().st_size
    if n == 0 and size == 0:
        return 0
    if n == 0 or size == 0 or size % (4 * n):
        raise DamagedError(f"{path} is damaged: its {size:,} bytes do not fit the {n:,} names in {path.name}.csv.")
    return size // (4 * n)


@accept_paths("filename")
def load_binary_feature(filename: str | os.PathLike[str] = layout.FEATURES) -> tuple[list[str], FloatArray]:
    """Load the embeddings of a features file and their names.

    Args:
        filename: Path or URI of the features file, or of the folder with features.dat. The names are read from the CSV
            file beside it, `<filename>.csv`; the width d follows from the size of the file and the number of names.

    Returns:
        n names, and the embeddings as (n, d) float32.

    Raises:
        FileNotFoundError: One of the two files is missing.
        DamagedError: The two files do not fit each other.
    """
    return read_features(filename, DEFAULT_ACCESS)


def read_features(location: str | os.PathLike[str], access: Access) -> tuple[list[str], np.ndarray]:
    """Return the names and the embeddings of a features file, as `load_binary_feature` does."""
    store, file = open_file(location, layout.FEATURES, access)
    for needed in (file, file + ".csv"):
        if not store.is_file(needed):
            path_or_uri = os.path.join(store.location, needed)
            raise MissingFileError(f"{path_or_uri} does not exist; name the features file of a finished run.")
    path = store.fetch(file)
    names = [os.fsdecode(name) for name in read_names(store.fetch(file + ".csv")).to_pylist()]
    d = infer_dimensions(path, len(names))
    return names, np.fromfile(path, "<f4").reshape(len(names), d)


load_binary = load_binary_features = load_binary_feature  # the specification has all three names


@accept_paths("save_path")
def save_binary_feature(
    save_path: str | os.PathLike[str],
    filenames: Sequence[str],
    features: npt.ArrayLike,
    overwrite: bool = False,  # noqa: FBT001, FBT002 (public API: may be given by position)
) -> None:
    """Save your own embeddings to a folder, for run mode 2.

    Args:
        save_path: Folder or s3:// URI; features.dat and features.dat.csv are written to it.
        filenames: n names, one for each embedding.
        features: (n, d) embeddings; stored as float32.
        overwrite: Replace the results of a run, or other files with these names. Features of an earlier call are
            replaced in any case.

    Raises:
        WorkDirError: The folder has results of a run or other files with these names, or cannot be written.
        ValueError: The number of names and embeddings differs.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != len(filenames):
        raise ValueError(f"features must have the shape ({len(filenames)}, d), one row per name, not {features.shape}.")
    store = open_store(save_path)
    described = (layout.SUMMARY, layout.MANIFEST)  # they describe the features that are replaced
    if not overwrite and any(map(store.exists, described)):
        raise WorkDirError(
            f"{store.location!r} has the results of a run; choose another folder, or replace them with overwrite=True."
        )
    both = layout.FEATURES, layout.FEATURES_CSV
    overwrite = overwrite or all(map(store.is_file, both))
    embeddings, names = (NamedOutput(os.path.join(store.location, name), overwrite=overwrite) for name in both)
    with embeddings.open() as file, names.open() as names_file:  # both are written before the first is replaced
        write_embedding_blocks(file, [features])
        write_columns(names_file, csv_columns.FEATURES_HEADER, [np.arange(len(filenames)), encode_names(filenames)])
    for name in described:
        store.remove(name)
