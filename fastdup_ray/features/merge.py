"""Merge many feature sets into one, in the order of the list."""

import shutil
import sys
from itertools import pairwise
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.errors import DamagedError, InputError
from fastdup_ray.features.embedding_blocks import iter_embedding_blocks, renumber
from fastdup_ray.features.files import FeatureSet, open_range, write_embeddings, write_range
from fastdup_ray.features.lookup import LookupResult
from fastdup_ray.features.names import Names, name_embeddings, read_names, write_bad, write_names
from fastdup_ray.features.parts import add_parts, remove_other_features
from fastdup_ray.inputs.manifest import ENTRIES
from fastdup_ray.inputs.video import format_frame_suffix
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file, write_json
from fastdup_ray.storage.csv_files import read_csv
from fastdup_ray.storage.feature_parts import write_index
from fastdup_ray.storage.parquet_files import open_parquet


def merge_sets(
    store: Store, lookup: LookupResult, facts: FeatureFacts, files: FileSet = INDEXED, largest: int = sys.maxsize
) -> dict[str, str]:
    """Write features.dat, or parts and their index, with the names, the bad lists and manifest.parquet.

    These files may replace files that the embeddings are read from. So the new manifest and the digests are written to
    shards/ first: at whatever point the run is killed, either the old or the new embeddings are described.

    Args:
        store: The work_dir.
        lookup: The entries, and where their embeddings are. No entry may be missing.
        facts: What describes the features besides digests: fingerprint, d, list_sha256 and more.
        files: Set of images, which decides the file names.
        largest: Bytes of embeddings up to which they are one file.

    Returns:
        The SHA-256 of features.dat or of the index, in hex, by name.

    Raises:
        LostEmbeddingsError: A file with embeddings is gone.
    """
    manifest, features, index = map(files.name, (layout.MERGED_MANIFEST, layout.FEATURES, layout.FEATURES_INDEX))
    n = sum(pc.sum(block.entries["rows"]).as_py() or 0 for block in lookup.blocks(["rows"]))
    parts = None if 4 * n * facts["d"] <= largest else add_parts(store, lookup, facts, files)
    with store.create(features if parts is None else index) as path:
        if parts is None:
            digests = {features: write_embeddings(path, iter_embedding_blocks(lookup))}
        else:
            write_index(path, parts)
            digests = {index: hash_file(path)}
        with open_parquet(store, manifest, ENTRIES) as write:
            for entries in renumber(block.entries for block in lookup.blocks()):
                write(entries)
        sha256 = digests | {manifest: hash_file(store.fetch(manifest))}
        write_json(store, files.name(layout.MERGED), facts | {"sha256": sha256})
    remove_other_features(store, files, parts)
    _copy(store, manifest, files.name(layout.MANIFEST))
    names = (name_embeddings(*block) for block in lookup.named_blocks(["rows", "fps"]))
    write_names(store, files.name(layout.FEATURES_CSV), names)
    bad, twin = files.name(layout.BAD_CSV), files.name(layout.BAD_CSV_TWIN)
    write_bad(store, bad, lookup.named_blocks(["error_code", "error_message"]))
    _copy(store, bad, twin)
    return digests


def _copy(store: Store, name: str, other: str) -> None:
    with store.create(other) as path:
        shutil.copyfile(store.fetch(name), path)


def merge_range(store: Store, start: int, stop: int, lookup: LookupResult, facts: FeatureFacts) -> None:
    """Write the files of a range of run mode 1.

    Args:
        store: The work_dir.
        start: Offset of the first entry in the list.
        stop: Offset behind the last entry.
        lookup: The entries, and where their embeddings are. No entry may be missing.
        facts: What describes the features besides digests and the range.

    Raises:
        LostEmbeddingsError: A file with embeddings is gone.
    """
    facts = facts | {"min_offset": start, "max_offset": stop}
    (entries,) = renumber([lookup.entries])
    uris = lookup.get_names(0, len(lookup))
    write_range(store, layout.format_range_stem(start, stop), uris, entries, iter_embedding_blocks(lookup), facts)


def open_ranges(store: Store) -> list[FeatureSet]:
    """Open the ranges that run mode 1 left in a work_dir, and check that they cover the list.

    Returns:
        The ranges by offset; none if there are none.

    Raises:
        InputError: There is a gap or an overlap, or a range is of another list, model or bounding box.
        DamagedError: A file was changed.
        FileNotFoundError: A file is missing.
    """
    names = (name for name in store.names("") if "/" not in name and name.endswith(".json"))
    stems = sorted(name.removesuffix(".json") for name in names if layout.parse_range(name))
    ranges = [open_range(store, stem) for stem in stems]
    if not ranges:
        return []
    first = ranges[0].facts
    for stem, part in zip(stems, ranges, strict=True):
        if part.facts["list_sha256"] != first["list_sha256"]:
            raise InputError(f"{stem} is of another list than {stems[0]}; move it to another folder.")
        for name, what in (("model", "model"), ("bounding_box", "bounding box")):
            if part.facts["fingerprint"].get(name) != first["fingerprint"].get(name):
                raise InputError(
                    f"{stem} has another {what} than {stems[0]}; run mode 1 for it again, in another work_dir."
                )
    bounds = [(part.facts["min_offset"], part.facts["max_offset"]) for part in ranges]
    for (_, stop), (start, _) in pairwise([(0, 0), *bounds, (first["n"], first["n"])]):
        if start > stop:
            raise InputError(f"There is a gap: entries {stop} to {start} of the list are missing; run mode 1 for them.")
        if start < stop:
            raise InputError(
                f"Two ranges overlap: both have entries {start} to {stop} of the list; remove one of them."
            )
    return ranges


def merge_ranges(store: Store, ranges: list[FeatureSet], largest: int = sys.maxsize) -> FeatureFacts:
    """Merge ranges as `merge_sets` does.

    Args:
        store: The work_dir.
        ranges: What `open_ranges` returned.
        largest: See `merge_sets`.

    Returns:
        The facts of the whole list.

    Raises:
        LostEmbeddingsError: A file with embeddings is gone.
        DamagedError: The lists of names were replaced meanwhile.
    """
    facts, lookup = combine_ranges(store, ranges)
    merge_sets(store, lookup, facts, largest=largest)
    return facts


def combine_ranges(store: Store, ranges: list[FeatureSet]) -> tuple[FeatureFacts, LookupResult]:
    """Combine ranges into what a merge needs, without copying embeddings.

    Args:
        store: The work_dir.
        ranges: What `open_ranges` returned.

    Returns:
        The facts of the whole list, and where the embeddings of its entries are.
    """
    stems = [layout.format_range_stem(part.facts["min_offset"], part.facts["max_offset"]) for part in ranges]
    of_one_range = ("min_offset", "max_offset", "sha256")
    facts = cast("FeatureFacts", {name: value for name, value in ranges[0].facts.items() if name not in of_one_range})
    return facts, combine_shards(store, stems, ranges)


def combine_shards(store: Store, stems: list[str], sets: list[FeatureSet]) -> LookupResult:
    """Concatenate the entries of feature shards, without copying embeddings.

    Args:
        store: The work_dir.
        stems: Stem of the files of each shard.
        sets: The shards.

    Returns:
        The entries, and where their embeddings are.

    Raises:
        DamagedError: The lists of names do not fit the shards.
    """
    entries = pa.concat_tables(part.entries for part in sets)
    starts = np.cumsum([0, *(len(part.entries) for part in sets)])[:-1]
    uris = _read_uris(store, stems, entries)
    return LookupResult(
        entries,
        [part.embeddings for part in sets],
        starts,
        np.arange(len(entries)),
        lambda start, stop: uris[start:stop],
    )


def _read_uris(store: Store, stems: list[str], entries: pa.Table) -> Names:
    """Read the names of entries from the CSV files, which keep bytes that JSON cannot hold."""
    good = [read_names(store.fetch(stem + ".dat.csv")) for stem in stems]
    bad = [read_csv(store.fetch(stem + ".bad.csv"), csv_columns.BAD_HEADER)["filename"] for stem in stems]
    names = pa.chunked_array(
        [chunk for column in (*good, *bad) for chunk in column.cast(pa.large_binary()).chunks], pa.large_binary()
    )
    count = entries["rows"].to_numpy()
    is_bad = count == 0
    if len(names) != count.sum() + is_bad.sum():
        raise DamagedError(f"The lists of names in {store.location!r} were replaced while they were in use.")
    position = np.where(is_bad, count.sum() + np.cumsum(is_bad) - 1, np.cumsum(count) - count)
    names = names.take(pa.array(position))
    videos = np.flatnonzero(pc.is_valid(entries["fps"]))
    if len(videos) == 0:
        return names
    uris = np.array(names.to_pylist(), object)
    uris[videos] = [uri.removesuffix(format_frame_suffix(0).encode()) for uri in uris[videos]]
    return pa.array(uris, pa.large_binary())
