"""From many feature sets to one, in the order of the list."""

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.errors import DamagedError, InputError
from fastdup_ray.features.files import (
    FeatureSet,
    Names,
    name_embeddings,
    open_shard,
    read_names,
    write_bad,
    write_embeddings,
    write_names,
    write_shard,
)
from fastdup_ray.features.reuse import LookupResult
from fastdup_ray.features.stored_embeddings import EmbeddingReader
from fastdup_ray.inputs.manifest import ENTRIES
from fastdup_ray.inputs.video import format_frame_suffix
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file, write_json
from fastdup_ray.storage.tables import read_csv, write_parquet

EMBEDDINGS_PER_BLOCK = 32 << 20
"""Bytes of rows that are copied at a time."""


def merge_sets(store: Store, uris: Names, found: LookupResult, facts: FeatureFacts, files: FileSet = INDEXED) -> None:
    """Writes features.dat, its names, the bad lists and manifest.parquet, under the names that `files` has for them.

    They may take the place of files that they are made of. So the new manifest and the digests are put first, under
    shards/: whenever the run dies, features.dat is described, be it the old one or the new.
    """
    entries = _renumber(found.entries)
    features, manifest = files.name(layout.FEATURES), files.name(layout.MERGED_MANIFEST)
    with store.create(features) as path:
        digest = write_embeddings(path, iter_embedding_blocks(found))
        write_parquet(store, manifest, entries)
        sha256 = {features: digest, manifest: hash_file(store.fetch(manifest))}
        write_json(store, files.name(layout.MERGED), facts | {"sha256": sha256})
    write_parquet(store, files.name(layout.MANIFEST), entries)
    write_names(store, files.name(layout.FEATURES_CSV), name_embeddings(uris, entries))
    for name in (layout.BAD_CSV, layout.BAD_CSV_TWIN):
        write_bad(store, files.name(name), uris, entries)


def merge_range(store: Store, start: int, stop: int, uris: Names, found: LookupResult, facts: FeatureFacts) -> None:
    """Writes the feature shard of the list entries [start, stop), of which `found` and `uris` are."""
    facts = facts | {"min_offset": start, "max_offset": stop}
    write_shard(
        store,
        layout.format_range_stem(start, stop),
        uris,
        _renumber(found.entries),
        iter_embedding_blocks(found),
        facts,
    )


def open_ranges(store: Store) -> list[FeatureSet]:
    """The ranges that run mode 1 left in a work_dir, by offset, each checked; `InputError` where they do not fit."""
    names = (name for name in store.names("") if "/" not in name and name.endswith(".json"))
    stems = sorted(name.removesuffix(".json") for name in names if layout.parse_range(name))
    ranges = [open_shard(store, stem) for stem in stems]
    if not ranges:
        return []
    first, by_model = ranges[0].facts, "another run of mode 1 in a work_dir of its own makes what fits"
    for stem, part in zip(stems, ranges, strict=True):
        if part.facts["list_sha256"] != first["list_sha256"]:
            raise InputError(f"{stem} is of another list than {stems[0]}: take the stranger away.")
        for name, what in (("model", "model"), ("bounding_box", "bounding box")):
            if part.facts["fingerprint"].get(name) != first["fingerprint"].get(name):
                raise InputError(f"{stem} is of another {what} than {stems[0]}; {by_model}.")
    bounds = [(part.facts["min_offset"], part.facts["max_offset"]) for part in ranges]
    for (_, stop), (start, _) in pairwise([(0, 0), *bounds, (first["n"], first["n"])]):
        if start > stop:
            raise InputError(f"A gap between the ranges: entries {stop} to {start} of the list are missing.")
        if start < stop:
            raise InputError(f"An overlap: entries {start} to {stop} of the list are there twice; take one range away.")
    return ranges


def merge_ranges(store: Store, ranges: list[FeatureSet]) -> FeatureFacts:
    """`merge` of ranges that `open_ranges` gave; returns the facts of the list."""
    facts, uris, found = combine_ranges(store, ranges)
    merge_sets(store, uris, found, facts)
    return facts


def combine_ranges(store: Store, ranges: list[FeatureSet]) -> tuple[FeatureFacts, Names, LookupResult]:
    """The facts of the list whose ranges `open_ranges` gave, the names of its entries, and what is known of them."""
    stems = [layout.format_range_stem(part.facts["min_offset"], part.facts["max_offset"]) for part in ranges]
    own = ("min_offset", "max_offset", "sha256")
    facts = cast("FeatureFacts", {name: value for name, value in ranges[0].facts.items() if name not in own})
    return facts, *combine_shards(store, stems, ranges)


def combine_shards(store: Store, stems: list[str], sets: list[FeatureSet]) -> tuple[Names, LookupResult]:
    """The names of the entries of `sets`, one set after the other, and what is known of them; stems: of their files."""
    entries = pa.concat_tables(part.entries for part in sets)
    source = np.repeat(np.arange(len(sets)), [part.entries.num_rows for part in sets])
    return _read_uris(store, stems, entries), LookupResult(entries, [part.embeddings for part in sets], source)


def _read_uris(store: Store, stems: list[str], entries: pa.Table) -> Names:
    """The entries' names, from the lists of good and bad ones, which keep the bytes that JSON cannot."""
    good = [read_names(store.fetch(stem + ".dat.csv")) for stem in stems]
    bad = [read_csv(store.fetch(stem + ".bad.csv"), layout.BAD_HEADER)["filename"] for stem in stems]
    names = pa.chunked_array(
        [chunk for column in (*good, *bad) for chunk in column.cast(pa.large_binary()).chunks], pa.large_binary()
    )
    rows = entries["rows"].to_numpy()
    is_bad = rows == 0
    if len(names) != rows.sum() + is_bad.sum():
        raise DamagedError(f"The lists of names in {store.location!r} were replaced while they were in use.")
    place = np.where(is_bad, rows.sum() + np.cumsum(is_bad) - 1, np.cumsum(rows) - rows)
    names = names.take(pa.array(place))
    videos = np.flatnonzero(pc.is_valid(entries["fps"]))
    if len(videos) == 0:
        return names
    uris = np.array(names.to_pylist(), object)
    uris[videos] = [uri.removesuffix(format_frame_suffix(0).encode()) for uri in uris[videos]]
    return pa.array(uris, pa.large_binary())


def iter_embedding_blocks(found: LookupResult) -> Iterator[np.ndarray]:
    """Read the rows of all good entries in order, (r, d) float32 at a time; raises `LostRowsError`.

    Of the files that a block is made of each is read at one go: the rows of many may alternate in the list.
    """
    source, first, count = _find_runs(found)
    stops = np.cumsum(count)
    if len(stops) == 0:
        return
    total, d = int(stops[-1]), found.embeddings[0].shape[1]
    size = max(1, EMBEDDINGS_PER_BLOCK // (4 * d))
    with EmbeddingReader() as reader:
        for start in range(0, total, size):
            block = np.empty((min(size, total - start), d), "<f4")
            low, high = np.searchsorted(stops, (start, start + len(block) - 1), "right")
            runs = low + np.argsort(source[low : high + 1], kind="stable")
            begins = stops[runs] - count[runs] - start
            places = np.stack([begins.clip(0), (stops[runs] - start).clip(max=len(block))], axis=1)
            rows = first[runs] + places[:, 0] - begins
            for of, row, place in zip(source[runs].tolist(), rows.tolist(), places.tolist(), strict=True):
                reader.read(found.embeddings[of], row, block[slice(*place)])
            yield block


def _find_runs(found: LookupResult) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that follow one another in the list and in a file: (m,) int64 sources, first rows, and how many."""
    rows = found.entries["rows"].to_numpy()
    good = np.flatnonzero(rows)
    source, count = found.source[good], rows[good].astype(np.int64)
    first = found.entries["first_row"].fill_null(0).to_numpy()[good]
    follows = (source[1:] == source[:-1]) & (first[1:] == first[:-1] + count[:-1])
    starts = np.flatnonzero(np.concatenate([[True], ~follows])[: len(good)])
    ends = np.concatenate([[0], np.cumsum(count)])
    return source[starts], first[starts], np.diff(ends[np.append(starts, len(good))])


def _renumber(entries: pa.Table) -> pa.Table:
    """`entries` with first_row counted through."""
    rows = entries["rows"].to_numpy()
    first = pa.array(np.cumsum(rows) - rows, pa.int64(), mask=rows == 0)
    return entries.set_column(ENTRIES.get_field_index("first_row"), "first_row", first)
