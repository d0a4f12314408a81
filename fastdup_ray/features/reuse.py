"""Reuse: look up the entries of a list in the feature sets of a work_dir.

Resuming a run, adding images and changing parameters of the search all use this.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import AnyArray, IntArray
from fastdup_ray.common.facts import Fingerprint
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.records import Limits
from fastdup_ray.errors import DamagedError, ErrorCode
from fastdup_ray.features.files import (
    EntrySet,
    FeatureSet,
    open_merged,
    open_range,
    read_merged_entries,
    read_range_entries,
)
from fastdup_ray.features.shard_file import open_shard, read_shard_entries
from fastdup_ray.features.stored_embeddings import StoredEmbeddings
from fastdup_ray.inputs.manifest import ENTRIES, KEY, Manifest
from fastdup_ray.storage import Store
from fastdup_ray.system.ahead import call_ahead

log = logging.getLogger(__name__)

_Set = TypeVar("_Set", bound=EntrySet)

ENTRIES_PER_PART = 1 << 20
"""Approximate number of entries whose keys are compared at a time."""

MOST_UNLISTED = 20_000
"""Embeddings that are kept of images which are not in the list any more: 46 MB."""

_HASHED_BYTES = 12
"""Last bytes of a name that decide its part: names often differ in a number there."""

_PERMANENT = (
    ErrorCode.ZERO_SIZE,
    ErrorCode.NOT_AN_IMAGE,
    ErrorCode.TRUNCATED,
    ErrorCode.CORRUPT,
    ErrorCode.BOUNDING_BOX_OUTSIDE,
)
"""Codes of images that stay bad as long as the file does not change.

`UNSUPPORTED` is not one of them: a missing decoder may have been installed since.
"""


@dataclass(frozen=True)
class LookupResult:
    """The stored result of each entry of a manifest, and where its embeddings are.

    Attributes:
        entries: n rows with the columns `ENTRIES`, null where an entry is missing. `first_row` counts within the file
            of embeddings that the entry is from.
        embeddings: The files of embeddings.
        source: (n,) int64 index into `embeddings`; -1 where an entry is missing.
        unlisted: Good entries of earlier runs whose names are not in the manifest; None for ranges.
    """

    entries: pa.Table
    embeddings: list[StoredEmbeddings]
    source: IntArray
    unlisted: "LookupResult | None" = None

    @property
    def missing(self) -> IntArray:
        """Offsets of the entries that have to be read."""
        return np.flatnonzero(self.source < 0)


def open_earlier_sets(store: Store, fingerprint: Fingerprint, without: Sequence[str] = ()) -> Iterator[FeatureSet]:
    """Open the feature sets of a work_dir that have a fingerprint, whatever images they are of.

    Damaged sets are skipped with a warning, and sets that another run just removed without one.

    Args:
        store: The work_dir.
        fingerprint: What embeddings depend on besides the image: model, decoder, onnxruntime and more.
        without: Stems of feature shards to skip.

    Yields:
        The sets: indexed, scored and transformed features first, then ranges and feature shards.
    """
    return _find_sets(store, fingerprint, without, open_merged, {".json": open_range, layout.SHARD: open_shard})


def read_earlier_entries(store: Store, fingerprint: Fingerprint) -> Iterator[EntrySet]:
    """Read the entries of what `open_earlier_sets` opens. The embeddings are neither read nor checked."""
    readers = {".json": read_range_entries, layout.SHARD: read_shard_entries}
    return _find_sets(store, fingerprint, (), read_merged_entries, readers)


def _find_sets(
    store: Store,
    fingerprint: Fingerprint,
    without: Sequence[str],
    open_whole: Callable[[Store, FileSet], _Set | None],
    open_part: Mapping[str, Callable[[Store, str], _Set]],
) -> Iterator[_Set]:
    """Open all sets of a work_dir with a fingerprint.

    open_whole: opens those of whole runs. open_part: by suffix, opens ranges and shards by their stems.
    """
    names = (os.path.splitext(name) for name in store.names("") if layout.parse_range(name))
    parts = sorted(
        {(stem, suffix) for stem, suffix in names if suffix in open_part} - {(s, layout.SHARD) for s in without}
    )
    opened: list[Callable[[], _Set | None]] = [
        *(partial(open_whole, store, files) for files in (*layout.FILE_SETS, layout.TRANSFORMED)),
        *(partial(open_part[suffix], store, stem) for stem, suffix in parts),
    ]
    for feature_set in call_ahead((partial(_open_or_skip, one) for one in opened), store.at_once):
        if feature_set is not None and feature_set.facts["fingerprint"] == fingerprint:
            yield feature_set


def open_whole_shards(store: Store, stems: Iterable[str]) -> Iterator[FeatureSet]:
    """Open feature shards, several at a time where each takes a request.

    Args:
        store: The work_dir.
        stems: Stems of their files.

    Returns:
        The shards that are whole. Damaged ones are skipped with a warning, missing ones without.
    """
    shards = call_ahead((partial(_open_or_skip, partial(open_shard, store, stem)) for stem in stems), store.at_once)
    return (shard for shard in shards if shard is not None)


def _open_or_skip(open_set: Callable[[], _Set | None]) -> _Set | None:
    try:
        return open_set()
    except DamagedError as error:
        log.warning("%s Ignoring this file; its images will be read again.", error)
        return None
    except FileNotFoundError:
        return None


def lookup_entries(
    manifest: Manifest,
    fresh: Iterable[FeatureSet],
    earlier: Iterable[FeatureSet],
    limits: Limits,
    decoders: Sequence[str],
) -> LookupResult:
    """Look up each entry of a manifest in feature sets, by name, size, and mtime or ETag.

    Args:
        manifest: The n entries.
        fresh: Feature sets of this run. All their entries are used, and they come first.
        earlier: Feature sets of earlier runs. An entry is used only if reading it again would give the same result.
        limits: Limits of this run, by which an earlier result may not be the same any more.
        decoders: Decoders that are installed, from `list_optional_decoders`.
    """
    embeddings: list[StoredEmbeddings] = []
    stored = pa.concat_tables(
        [_concat_entries(fresh, embeddings), _select_reusable(_concat_entries(earlier, embeddings), limits, decoders)]
    )
    listed = manifest.keys()
    position = _match_keys(listed, stored.select(KEY))
    unlisted = _select_unlisted(stored, position, listed["uri"])
    selected = []
    while stored.num_columns:  # free each column once it is used: together they may be most of the memory
        selected.append(stored.column(0).take(position))
        stored = stored.remove_column(0)
    *columns, source = selected
    others = LookupResult(unlisted.select(ENTRIES.names), embeddings, unlisted["source"].to_numpy())
    return LookupResult(pa.table(columns, ENTRIES), embeddings, source.fill_null(-1).to_numpy(), others)


def find_missing(manifest: Manifest, earlier: Iterable[EntrySet], limits: Limits, decoders: Sequence[str]) -> IntArray:
    """Find the entries that have to be read, as `lookup_entries` does, but with less memory.

    Args:
        manifest: The n entries.
        earlier: Entries of earlier runs.
        limits: Limits of this run.
        decoders: Decoders that are installed, from `list_optional_decoders`.

    Returns:
        (m,) int64 offsets of the entries that no earlier set can provide.
    """
    keys = (_select_reusable(feature_set.entries, limits, decoders).select(KEY) for feature_set in earlier)
    position = _match_keys(manifest.keys(), pa.concat_tables([ENTRIES.empty_table().select(KEY), *keys]))
    return np.flatnonzero(position.is_null())


def _concat_entries(sets: Iterable[FeatureSet], embeddings: list[StoredEmbeddings]) -> pa.Table:
    """Concatenate the entries of sets, append their files to `embeddings`, and add the file's index as a column."""
    tables = [pa.schema([*ENTRIES, ("source", pa.int64())]).empty_table()]
    for feature_set in sets:
        source = pa.array(np.full(feature_set.entries.num_rows, len(embeddings)))
        tables.append(feature_set.entries.append_column("source", source))
        embeddings.append(feature_set.embeddings)
    return pa.concat_tables(tables)


def _select_reusable(entries: pa.Table, limits: Limits, decoders: Sequence[str]) -> pa.Table:
    """Select the entries for which reading them again would give the same result."""
    width, height = (entries[name].cast(pa.int64()) for name in ("width", "height"))
    fits = pc.less_equal(pc.multiply(width, height), limits.max_pixels)
    is_large = pc.greater_equal(pc.min_element_wise(width, height, skip_nulls=False), limits.min_size)
    code = pc.fill_null(entries["error_code"], "")
    same_bad = pc.is_in(code, pa.array([permanent.value for permanent in _PERMANENT]))
    for bad, good in ((ErrorCode.TOO_LARGE, fits), (ErrorCode.TOO_SMALL, is_large)):
        same_bad = pc.or_(same_bad, pc.and_(pc.equal(code, bad.value), pc.fill_null(pc.invert(good), fill_value=False)))
    same_good = pc.and_(pc.fill_null(fits, fill_value=True), pc.fill_null(is_large, fill_value=True))
    same_good = pc.and_(same_good, pc.is_in(entries["fps"], pa.array([limits.video_fps, None], pa.float64())))
    same_good = pc.and_(same_good, pc.less_equal(entries["rows"], limits.max_frames))
    same_decoders = pa.array([*decoders, None], entries.schema.field("decoder").type)
    same_good = pc.and_(same_good, pc.is_in(entries["decoder"], same_decoders))
    return entries.filter(pc.if_else(pc.equal(code, ""), same_good, same_bad))


def _select_unlisted(stored: pa.Table, position: pa.Array, listed: pa.ChunkedArray) -> pa.Table:
    """Return the good rows of `stored` with names that are not `listed`, each name once, up to `MOST_UNLISTED` images.

    position: the rows whose names are.
    """
    is_unmatched = stored["rows"].to_numpy() > 0
    is_unmatched[position.drop_null().to_numpy()] = False
    rows = np.flatnonzero(is_unmatched)[: 2 * MOST_UNLISTED]
    names = stored["uri"].take(pa.array(rows)).combine_chunks()
    first = pc.index_in(names, value_set=names).to_numpy() == np.arange(len(names))
    first[pc.index_in(listed, value_set=names).drop_null().to_numpy()] = False
    selected = stored.take(pa.array(rows[first]))
    return selected.slice(0, int(np.searchsorted(np.cumsum(selected["rows"].to_numpy()), MOST_UNLISTED, "right")))


def _match_keys(listed: pa.Table, stored: pa.Table) -> pa.Array:
    """Return, for each row of `listed`, the first row of `stored` with the same `KEY`, or null.

    Arrow's own join crashes the process if the keys of a table take more than 2 GiB. Here the keys are compared part by
    part, so that the additional memory does not grow with the tables.
    """
    listed = listed.combine_chunks()
    stored = stored.combine_chunks()
    parts = max(listed.num_rows, stored.num_rows) // ENTRIES_PER_PART + 1
    listed_part, stored_part = (_assign_parts(table, parts) for table in (listed, stored))
    position = np.full(listed.num_rows, -1)
    for part in range(parts):
        ours, theirs = np.flatnonzero(listed_part == part), np.flatnonzero(stored_part == part)
        matches = pc.index_in(_join_keys(listed, ours), _join_keys(stored, theirs), skip_nulls=True)
        has_match = matches.is_valid().to_numpy(zero_copy_only=False)
        position[ours[has_match]] = theirs[matches.drop_null().to_numpy()]
    return pa.array(position, mask=position < 0)


def _assign_parts(table: pa.Table, parts: int) -> AnyArray:
    """Return an (n,) uint32 part below `parts`, equal for equal keys: a hash of the file's size and end of its name."""
    uri, number = table["uri"].combine_chunks(), table["size"].to_numpy().astype(np.uint64)
    if len(uri) == 0 or parts == 1:
        return np.zeros(len(uri), np.uint32)
    offsets, data = (np.frombuffer(buffer, kind) for buffer, kind in zip(uri.buffers()[1:], ("i8", "u1"), strict=True))
    offsets = offsets[uri.offset : uri.offset + len(uri) + 1]
    for back in range(1, _HASHED_BYTES + 1):
        number = 31 * number + data[np.maximum(offsets[1:] - back, offsets[:-1])]
    part: AnyArray = (number % np.uint64(parts)).astype(np.uint32)
    return part


def _join_keys(table: pa.Table, rows: IntArray) -> pa.Array:
    """Join the `KEY` of some rows to one text each; with the size first, different keys give different texts."""
    uri, size, token = (column.combine_chunks() for column in table.select(KEY).take(pa.array(rows)).columns)
    separator = pa.scalar("\0", uri.type)
    return pc.binary_join_element_wise(size.cast(uri.type), token, uri, separator)
