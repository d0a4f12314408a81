"""What is known of each entry of a list, from the feature sets that a work_dir has: the one mechanism of reuse."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.facts import Fingerprint
from fastdup_ray.common.records import Limits
from fastdup_ray.errors import DamagedError, ErrorCode
from fastdup_ray.features.files import FeatureSet, open_merged, open_shard
from fastdup_ray.features.stored_embeddings import StoredEmbeddings
from fastdup_ray.inputs.manifest import ENTRIES, KEY, Manifest
from fastdup_ray.storage import Store

log = logging.getLogger(__name__)

AT_ONCE = 1 << 20
"""Entries, about, whose keys are compared at a time."""

ENDING = 12
"""Last bytes of a name by which the entries are divided for that: numbers are often there."""

LASTING = (
    ErrorCode.ZERO_SIZE,
    ErrorCode.NOT_AN_IMAGE,
    ErrorCode.TRUNCATED,
    ErrorCode.CORRUPT,
    ErrorCode.BOUNDING_BOX_OUTSIDE,
)
"""A picture that was bad for one of these is as bad the next time, as long as it is the same picture.

`UNSUPPORTED` is none of them: what was missing may have been installed.
"""


@dataclass(frozen=True)
class LookupResult:
    """For each entry of a manifest, what is known of it.

    entries: `ENTRIES`, one row an entry, null where nothing is known (first_row as in its own set).
    rows: of the feature sets; source: (n,) index into `rows`, -1 where nothing is known.
    """

    entries: pa.Table
    embeddings: list[StoredEmbeddings]
    source: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        """Offsets of the entries that have to be read."""
        return np.flatnonzero(self.source < 0)


def open_earlier_sets(store: Store, fingerprint: Fingerprint, without: Sequence[str] = ()) -> Iterator[FeatureSet]:
    """Every whole feature set of a work_dir, of whatever pictures, that has this fingerprint.

    without: stems to pass over. What is damaged is named and left out; what another run just took away, only left out.
    """
    jsons = (name for name in store.names("") if name.endswith(".json") and layout.parse_range(name))
    stems = {name.removesuffix(".json") for name in jsons}
    merged = (
        _open_whole(lambda files=files: open_merged(store, files)) for files in (*layout.FILE_SETS, layout.TRANSFORMED)
    )
    for known in (*merged, *open_whole_shards(store, sorted(stems - set(without)))):
        if known is not None and known.facts["fingerprint"] == fingerprint:
            yield known


def open_whole_shards(store: Store, stems: Iterable[str]) -> Iterator[FeatureSet]:
    """Those of the shards that are whole; the others are named and left out."""
    opened = (_open_whole(lambda stem=stem: open_shard(store, stem)) for stem in stems)
    return (shard for shard in opened if shard is not None)


def _open_whole(opened) -> FeatureSet | None:
    try:
        return opened()
    except DamagedError as error:
        log.warning("%s It is not used; its pictures are read again.", error)
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
    """What is known of each entry. `fresh` sets, of this run, count whole and first.

    Of `earlier` ones counts what would come out the same if it were read again. decoders: `optional_decoders()`.
    """
    rows: list[StoredEmbeddings] = []
    known = pa.concat_tables(
        [_concat_entries(fresh, rows), _select_lasting(_concat_entries(earlier, rows), limits, decoders)]
    )
    place = _match_keys(manifest.keys(), known.select(KEY))
    taken = []
    while known.num_columns:  # a column goes as soon as its part is taken: together they may be most of the memory
        taken.append(known.column(0).take(place))
        known = known.remove_column(0)
    *columns, source = taken
    return LookupResult(pa.table(columns, ENTRIES), rows, source.fill_null(-1).to_numpy())


def find_missing(
    manifest: Manifest, earlier: Iterable[FeatureSet], limits: Limits, decoders: Sequence[str]
) -> np.ndarray:
    """Return the offsets of the entries that `look_up` finds in no earlier set, without what is known of the others."""
    keys = (_select_lasting(feature_set.entries, limits, decoders).select(KEY) for feature_set in earlier)
    place = _match_keys(manifest.keys(), pa.concat_tables([ENTRIES.empty_table().select(KEY), *keys]))
    return np.flatnonzero(place.is_null())


def _concat_entries(sets: Iterable[FeatureSet], rows: list[StoredEmbeddings]) -> pa.Table:
    """Concatenate the entries of all sets and append their rows to `rows`; the last column is the index in it."""
    tables = [pa.schema([*ENTRIES, ("source", pa.int64())]).empty_table()]
    for feature_set in sets:
        source = pa.array(np.full(feature_set.entries.num_rows, len(rows)))
        tables.append(feature_set.entries.append_column("source", source))
        rows.append(feature_set.embeddings)
    return pa.concat_tables(tables)


def _select_lasting(entries: pa.Table, limits: Limits, decoders: Sequence[str]) -> pa.Table:
    """Those of the entries that would come out the same if they were read again."""
    width, height = (entries[name].cast(pa.int64()) for name in ("width", "height"))
    fits = pc.less_equal(pc.multiply(width, height), limits.max_pixels)
    is_large = pc.greater_equal(pc.min_element_wise(width, height, skip_nulls=False), limits.min_size)
    code = pc.fill_null(entries["error_code"], "")
    same_bad = pc.is_in(code, pa.array([lasting.value for lasting in LASTING]))
    for bad, good in ((ErrorCode.TOO_LARGE, fits), (ErrorCode.TOO_SMALL, is_large)):
        same_bad = pc.or_(same_bad, pc.and_(pc.equal(code, bad.value), pc.fill_null(pc.invert(good), False)))
    same_good = pc.and_(pc.fill_null(fits, True), pc.fill_null(is_large, True))
    same_good = pc.and_(same_good, pc.is_in(entries["fps"], pa.array([limits.video_fps, None], pa.float64())))
    same_good = pc.and_(same_good, pc.less_equal(entries["rows"], limits.max_frames))
    same_decoders = pa.array([*decoders, None], entries.schema.field("decoder").type)
    same_good = pc.and_(same_good, pc.is_in(entries["decoder"], same_decoders))
    return entries.filter(pc.if_else(pc.equal(code, ""), same_good, same_bad))


def _match_keys(wanted: pa.Table, known: pa.Table) -> pa.Array:
    """For each row of `wanted`, the first row of `known` with the same `KEY`, or null.

    Arrow's own join ends the process where the keys of a table take more than 2 GiB. Here they are compared part by
    part, so that what is held beside the tables does not grow with them.
    """
    wanted = wanted.combine_chunks()
    known = known.combine_chunks()
    parts = max(wanted.num_rows, known.num_rows) // AT_ONCE + 1
    wanted_part, known_part = (_assign_parts(table, parts) for table in (wanted, known))
    place = np.full(wanted.num_rows, -1)
    for part in range(parts):
        mine, theirs = np.flatnonzero(wanted_part == part), np.flatnonzero(known_part == part)
        found = pc.index_in(_join_keys(wanted, mine), _join_keys(known, theirs), skip_nulls=True)
        is_there = found.is_valid().to_numpy(zero_copy_only=False)
        place[mine[is_there]] = theirs[found.drop_null().to_numpy()]
    return pa.array(place, mask=place < 0)


def _assign_parts(table: pa.Table, parts: int) -> np.ndarray:
    """(n,) a number below `parts`, the same for the same `KEY`: by the size of the file and the end of its name."""
    uri, number = table["uri"].combine_chunks(), table["size"].to_numpy().astype(np.uint64)
    if len(uri) == 0 or parts == 1:
        return np.zeros(len(uri), np.uint32)
    offsets, data = (np.frombuffer(buffer, kind) for buffer, kind in zip(uri.buffers()[1:], ("i8", "u1"), strict=True))
    offsets = offsets[uri.offset : uri.offset + len(uri) + 1]
    for back in range(1, ENDING + 1):
        number = 31 * number + data[np.maximum(offsets[1:] - back, offsets[:-1])]
    return (number % np.uint64(parts)).astype(np.uint32)


def _join_keys(table: pa.Table, rows: np.ndarray) -> pa.Array:
    """One text for the `KEY` of each of some rows; the size comes first, so that no two keys have the same."""
    uri, size, token = (column.combine_chunks() for column in table.select(KEY).take(pa.array(rows)).columns)
    separator = pa.scalar("\0", uri.type)
    return pc.binary_join_element_wise(size.cast(uri.type), token, uri, separator)
