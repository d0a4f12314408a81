"""What is known of each entry of a list, from the feature sets that a work_dir has: the one mechanism of reuse."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray import layout
from fastdup_ray.errors import DamagedError, ErrorCode
from fastdup_ray.extract.heif import heif_decoder
from fastdup_ray.extract.video import video_decoder
from fastdup_ray.features.files import FeatureSet, open_merged, open_shard
from fastdup_ray.manifest import ENTRIES, KEY, Manifest
from fastdup_ray.records import Limits
from fastdup_ray.storage import Store

log = logging.getLogger(__name__)

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
class Found:
    """For each entry of a manifest, what is known of it.

    entries: `ENTRIES`, one row an entry, null where nothing is known (first_row as in its own set).
    sets: the feature sets; source: (n,) index into `sets`, -1 where nothing is known.
    """

    entries: pa.Table
    sets: list[FeatureSet]
    source: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        """Offsets of the entries that have to be read."""
        return np.flatnonzero(self.source < 0)


def earlier_sets(store: Store, fingerprint: dict[str, Any], without: Sequence[str] = ()) -> Iterator[FeatureSet]:
    """Every whole feature set of a work_dir, of whatever pictures, that has this fingerprint.

    without: stems to pass over. What is damaged is named and left out; what another run just took away, only left out.
    """
    jsons = (name for name in store.names("") if name.endswith(".json") and layout.range_of(name))
    stems = {name.removesuffix(".json") for name in jsons}
    merged = (_whole(lambda files=files: open_merged(store, files)) for files in (*layout.SETS, layout.TURNED))
    for known in (*merged, *whole_shards(store, sorted(stems - set(without)))):
        if known is not None and known.facts["fingerprint"] == fingerprint:
            yield known


def whole_shards(store: Store, stems: Iterable[str]) -> Iterator[FeatureSet]:
    """Those of the shards that are whole; the others are named and left out."""
    opened = (_whole(lambda stem=stem: open_shard(store, stem)) for stem in stems)
    return (shard for shard in opened if shard is not None)


def _whole(opened) -> FeatureSet | None:
    try:
        return opened()
    except DamagedError as error:
        log.warning("%s It is not used; its pictures are read again.", error)
        return None
    except FileNotFoundError:
        return None


def look_up(manifest: Manifest, fresh: Iterable[FeatureSet], earlier: Iterable[FeatureSet], limits: Limits) -> Found:
    """What is known of each entry. `fresh` sets, of this run, count whole and first.

    Of `earlier` ones counts what would come out the same if it were read again.
    """
    sets: list[FeatureSet] = []
    known: list[pa.Table] = []
    for feature_set, entries in [
        *((s, s.entries) for s in fresh),
        *((s, s.entries.filter(_lasting(s.entries, limits))) for s in earlier),
    ]:
        known.append(entries.append_column("source", pa.array(np.full(entries.num_rows, len(sets)), pa.int64())))
        sets.append(feature_set)
    nothing = pa.schema([*ENTRIES, pa.field("source", pa.int64())]).empty_table()
    table = pa.concat_tables([nothing, *known])
    taken = table.take(_places(manifest.keys(), table))
    return Found(taken.select(ENTRIES.names), sets, taken["source"].fill_null(-1).to_numpy())


def find_missing(manifest: Manifest, earlier: Iterable[FeatureSet], limits: Limits) -> np.ndarray:
    """Return the offsets of the entries that `look_up` finds in no earlier set, without what is known of the others."""
    known = [s.entries.filter(_lasting(s.entries, limits)).select(KEY) for s in earlier]
    table = pa.concat_tables([ENTRIES.empty_table().select(KEY), *known])
    return np.flatnonzero(_places(manifest.keys(), table).is_null().to_numpy())


def _lasting(entries: pa.Table, limits: Limits) -> pa.ChunkedArray:
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
    decoders = pa.array([heif_decoder(), video_decoder(), None], entries.schema.field("decoder").type)
    return pc.if_else(pc.equal(code, ""), pc.and_(same_good, pc.is_in(entries["decoder"], decoders)), same_bad)


def _places(wanted: pa.Table, table: pa.Table) -> pa.ChunkedArray:
    """For each row of `wanted`, the first row of `table` with the same key, or null."""
    numbered = table.select(KEY).append_column("place", pa.array(np.arange(table.num_rows)))
    first = numbered.group_by(list(KEY)).aggregate([("place", "min")])
    in_order = wanted.append_column("offset", pa.array(np.arange(wanted.num_rows)))
    return in_order.join(first, list(KEY), join_type="left outer").sort_by("offset")["place_min"]
