"""Reuse: look up the entries of a list in the feature sets of a work_dir.

Resuming a run, adding images and changing parameters of the search all use this.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, groupby
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.common.facts import Fingerprint
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.records import Limits
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.errors import DamagedError, ErrorCode
from fastdup_ray.features.files import (
    EntrySet,
    FeatureSet,
    open_merged,
    open_range,
    read_merged_entries,
    read_range_entries,
)
from fastdup_ray.features.lookup import LookupResult
from fastdup_ray.features.match_keys import match_keys
from fastdup_ray.features.shard_file import open_shard, read_shard_entries
from fastdup_ray.features.stored_embeddings import StoredEmbeddings, StoredParts
from fastdup_ray.inputs.manifest import ENTRIES, KEY, Manifest
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, encode_names, map_table, regroup, take_rows
from fastdup_ray.system.ahead import call_ahead

log = logging.getLogger(__name__)

_Set = TypeVar("_Set", bound=EntrySet)

MOST_UNLISTED = 20_000
"""Embeddings that are kept of images which are not in the list any more: 46 MB."""

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


def open_earlier_sets(store: Store, fingerprint: Fingerprint, without: Sequence[str] = ()) -> Iterator[FeatureSet]:
    """Open the feature sets of a work_dir that have a fingerprint, whatever images they are of.

    Damaged sets are skipped with a warning, and sets that another run just removed without one.

    Args:
        store: The work_dir.
        fingerprint: What embeddings depend on besides the image: model, decoder, onnxruntime and more.
        without: Stems of feature shards to skip.

    Yields:
        The sets: indexed, scored and transformed features first, then ranges, feature shards, and parts that no index
        refers to.
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

    def open_each(sets: Iterable[Callable[[], _Set | None]]) -> Iterator[_Set]:
        opened = call_ahead((partial(_open_or_skip, one) for one in sets), store.at_once)
        return (feature_set for feature_set in opened if feature_set is not None)

    whole = list(open_each(partial(open_whole, store, files) for files in (*layout.FILE_SETS, layout.TRANSFORMED)))
    indexed = {part.name for feature_set in whole if feature_set.index for part in feature_set.index.parts}
    others = (name for name in store.names("") if layout.parse_range(name) and name not in indexed)
    stems = {(stem, suffix) for stem, suffix in map(os.path.splitext, others) if suffix in open_part}
    parts = sorted(stems - {(stem, layout.SHARD) for stem in without})
    for feature_set in chain(whole, open_each(partial(open_part[suffix], store, stem) for stem, suffix in parts)):
        if feature_set.facts["fingerprint"] == fingerprint:
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
    scratch: Scratch,
) -> LookupResult:
    """Look up each entry of a manifest in feature sets, by name, size, and mtime or ETag.

    Args:
        manifest: The n entries.
        fresh: Feature sets of this run. All their entries are used, and they come first.
        earlier: Feature sets of earlier runs. An entry is used only if reading it again would give the same result.
        limits: Limits of this run, by which an earlier result may not be the same any more.
        decoders: Decoders that are installed, from `list_optional_decoders`.
        scratch: Opens an empty file on a local disk, see `Store.scratch`: memory is 8 bytes an entry.
    """
    embeddings: list[StoredEmbeddings | StoredParts] = []
    counts: list[int] = []
    ours, theirs = (_concat_entries(sets, embeddings, counts, scratch) for sets in (fresh, earlier))
    stored = pa.concat_tables([ours, theirs])
    keys = _iter_keys(ours), _iter_reusable_keys(theirs, limits, decoders, len(ours))
    position = match_keys(manifest.key_blocks(), chain(*keys), len(manifest), scratch)
    starts = np.cumsum([0, *counts])[:-1]
    unlisted = _select_unlisted(stored, position, (block["uri"] for block in manifest.key_blocks()))
    names = encode_names(take_rows(stored.select(["uri"]), unlisted)["uri"].to_pylist())
    others = LookupResult(stored, embeddings, starts, unlisted, lambda start, stop: names[start:stop])
    return LookupResult(stored, embeddings, starts, position, manifest.uris, others)


def find_missing(
    manifest: Manifest,
    earlier: Iterable[EntrySet],
    limits: Limits,
    decoders: Sequence[str],
    scratch: Scratch,
) -> IntArray:
    """Find the entries that have to be read, as `lookup_entries` does, but without looking at more than their keys.

    Args:
        manifest: The n entries.
        earlier: Entries of earlier runs.
        limits: Limits of this run.
        decoders: Decoders that are installed, from `list_optional_decoders`.
        scratch: Opens an empty file on a local disk, see `Store.scratch`.

    Returns:
        (m,) int64 offsets of the entries that no earlier set can provide.
    """
    keys = (block for feature_set in earlier for _, block in _iter_reusable_keys(feature_set.entries, limits, decoders))
    numbered = ((np.arange(len(block)), block) for block in regroup(keys))
    return np.flatnonzero(match_keys(manifest.key_blocks(), numbered, len(manifest), scratch) < 0)


def find_not_reusable(entries: pa.Table, limits: Limits, decoders: Sequence[str]) -> IntArray:
    """Return (m,) int64 rows of a table `ENTRIES` that reading again could change; see `find_missing`."""
    masks = [_is_reusable(pa.Table.from_batches([batch]), limits, decoders) for batch in entries.to_batches()]
    return np.flatnonzero(~np.concatenate([np.empty(0, bool), *masks]))


def share_names(manifest: Manifest, uris: Callable[[], Iterator[pa.Table]], scratch: Scratch) -> bool:
    """Return whether a manifest has names in common with others.

    Args:
        manifest: The entries.
        uris: Returns tables with the column `uri` of the others, each time from the first on.
        scratch: Opens an empty file on a local disk, see `Store.scratch`.
    """
    listed = (block.select(["uri"]) for block in manifest.key_blocks())
    some = next(listed)["uri"]
    if any(pc.any(pc.is_in(some, block["uri"])).as_py() for block in uris()):  # most often, they are the same
        return True
    others = ((np.arange(len(block)), block) for block in uris())
    return bool((match_keys(listed, others, len(manifest), scratch) >= 0).any())


def _concat_entries(
    sets: Iterable[FeatureSet],
    embeddings: list[StoredEmbeddings | StoredParts],
    counts: list[int],
    scratch: Scratch,
) -> pa.Table:
    """Concatenate the entries of sets; those of small sets, which are in memory, are moved to a scratch file.

    Appends those of the sets to `embeddings`, and their numbers of entries to `counts`.
    """

    def collect(some: Iterable[FeatureSet]) -> Iterator[pa.Table]:
        for feature_set in some:
            embeddings.append(feature_set.embeddings)
            counts.append(len(feature_set.entries))
            yield feature_set.entries

    tables = [ENTRIES.empty_table()]
    for is_small, some in groupby(sets, lambda feature_set: len(feature_set.entries) < ROWS_PER_BLOCK):
        entries = collect(some)
        tables += [map_table(regroup(entries), ENTRIES, scratch())] if is_small else entries
    return pa.concat_tables(tables)


def _iter_keys(entries: pa.Table, first: int = 0) -> Iterator[tuple[IntArray, pa.Table]]:
    """Yield row numbers, counted from `first`, and the columns `KEY`, block by block."""
    for batch in entries.select(KEY).to_batches():
        yield np.arange(first, first + len(batch)), pa.Table.from_batches([batch])
        first += len(batch)


def _iter_reusable_keys(
    entries: pa.Table, limits: Limits, decoders: Sequence[str], first: int = 0
) -> Iterator[tuple[IntArray, pa.Table]]:
    """Yield what `_iter_keys` does, of the entries for which reading them again would give the same result."""
    for batch in entries.to_batches():
        block = pa.Table.from_batches([batch])
        mask = _is_reusable(block, limits, decoders)
        yield first + np.flatnonzero(mask), block.select(KEY).filter(pa.array(mask))
        first += len(batch)


def _is_reusable(entries: pa.Table, limits: Limits, decoders: Sequence[str]) -> BoolArray:
    """Return (n,) whether reading an entry again would give the same result."""
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
    mask: BoolArray = pc.if_else(pc.equal(code, ""), same_good, same_bad).to_numpy()
    return mask


def _select_unlisted(stored: pa.Table, position: IntArray, listed: Iterable[pa.ChunkedArray]) -> IntArray:
    """Return the good rows of `stored` with names that are not `listed`, each name once, up to `MOST_UNLISTED` images.

    position: the rows whose names are.
    """
    is_unmatched = stored["rows"].to_numpy() > 0
    is_unmatched[position[position >= 0]] = False
    rows = np.flatnonzero(is_unmatched)[: 2 * MOST_UNLISTED]
    if len(rows) == 0:
        return rows
    selected = take_rows(stored.select(["uri", "rows"]), rows)
    names = selected["uri"].combine_chunks()
    first = pc.index_in(names, value_set=names).to_numpy() == np.arange(len(names))
    for block in listed:
        first[pc.index_in(block, value_set=names).drop_null().to_numpy()] = False
    count = np.cumsum(selected["rows"].to_numpy()[first])
    unlisted: IntArray = rows[first][: int(np.searchsorted(count, MOST_UNLISTED, "right"))]
    return unlisted
