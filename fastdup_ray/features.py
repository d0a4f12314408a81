"""Feature files: write, read, verify, find again, merge.

A *feature set* is a file of float32 rows, and a table (`manifest.ENTRIES`) that says which entry of the list has which
rows. A feature shard, what one extractor writes, is a set of four files under one stem: `.dat` (rows), `.dat.csv`
(names), `.bad.csv` and, written last, `.json` with range, fingerprint, digests and entries. The features of a whole
run are a set too: features.dat and manifest.parquet. So resuming, growing and merging are one thing: looking up entries
in the sets that are there.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fastdup_ray import layout
from fastdup_ray.errors import DamagedError, ErrorCode
from fastdup_ray.manifest import ENTRIES, KEY, Manifest
from fastdup_ray.outputs.tables import encoded, read_csv, write_csv, write_parquet
from fastdup_ray.sealed import file_sha256, read_json, write_json
from fastdup_ray.storage import Store, open_store

log = logging.getLogger(__name__)

_NOT_USED = "%s It is not used; its pictures are read again."
BLOCK = 65_536
"""Rows that are copied at a time."""

LASTING = tuple(
    str(code)
    for code in (
        ErrorCode.ZERO_SIZE,
        ErrorCode.NOT_AN_IMAGE,
        ErrorCode.TRUNCATED,
        ErrorCode.CORRUPT,
        ErrorCode.TOO_SMALL,
        ErrorCode.BOUNDING_BOX_OUTSIDE,
        ErrorCode.UNSUPPORTED,
    )
)
"""A picture that was bad for one of these is as bad the next time, as long as it is the same picture."""


@dataclass(frozen=True)
class FeatureSet:
    """rows: (r, d) float32, mapped from its file. entries: `ENTRIES`. fingerprint: what the rows depend on."""

    rows: np.ndarray
    entries: pa.Table
    fingerprint: dict[str, Any]


# --- one shard ---------------------------------------------------------------------------------------------------------


def write_shard(
    store: Store,
    stem: str,
    uris: pa.Array | pa.ChunkedArray,
    entries: pa.Table,
    blocks: Iterable[np.ndarray],
    facts: dict[str, Any],
) -> None:
    """Puts the four files of a feature shard.

    uris: the entries' names as raw bytes. entries: `ENTRIES`. blocks: their rows in order, (r, d) float32 each.
    facts: start, stop, d, fingerprint and whatever else is to stand in the JSON.
    """
    bad = _bad(entries)
    sha256 = {}
    with store.create(stem + ".dat") as path:
        sha256[".dat"] = _write_rows(path, blocks)
    _write_names(store, stem + ".dat.csv", uris, entries)
    _write_bad(store, stem + ".bad.csv", uris, entries)
    for suffix in (".dat.csv", ".bad.csv"):
        sha256[suffix] = file_sha256(store.fetch(stem + suffix))
    counts = {"rows": pc.sum(entries["rows"]).as_py() or 0, "bad": pc.sum(bad).as_py() or 0}
    version = {"format_version": layout.FORMAT_VERSION}
    write_json(store, stem + ".json", version | facts | counts | {"sha256": sha256, "entries": entries.to_pydict()})


def open_shard(store: Store, stem: str) -> FeatureSet:
    """A feature shard whose digests, range and number of rows were checked; raises `DamagedError`."""
    try:
        facts = read_json(store, stem + ".json")
        _check_digests(store, {stem + suffix: digest for suffix, digest in facts["sha256"].items()})
        entries = pa.table(facts["entries"], ENTRIES)
        return FeatureSet(_mapped(store.fetch(stem + ".dat"), facts["d"], entries), entries, facts["fingerprint"])
    except (KeyError, TypeError, pa.ArrowInvalid):
        raise DamagedError(f"{stem}.json is not of this version of fastdup_ray.") from None
    except FileNotFoundError as error:
        raise DamagedError(f"{error.args[0]}") from None


# --- what a work_dir has ---------------------------------------------------------------------------------------------------


def open_merged(store: Store) -> FeatureSet | None:
    """features.dat and its manifest of an earlier run, checked; None where there is none.

    Two files may describe it: shards/merged.json, while a merge is put in place, and summary.json from then on.
    """
    problem = None
    for name, manifest in ((layout.MERGED, layout.MERGED_MANIFEST), (layout.SUMMARY, layout.MANIFEST)):
        try:
            facts = read_json(store, name)
            _check_digests(store, {file: facts["sha256"][file] for file in (layout.FEATURES, manifest)})
            entries = pq.read_table(store.fetch(manifest), schema=ENTRIES)
            return FeatureSet(_mapped(store.fetch(layout.FEATURES), facts["d"], entries), entries, facts["fingerprint"])
        except FileNotFoundError:
            continue
        except (DamagedError, KeyError, pa.ArrowInvalid) as error:
            problem = error
    if problem:
        raise DamagedError(str(problem))
    return None


def earlier_sets(store: Store, fingerprint: dict[str, Any], without: Sequence[str] = ()) -> Iterator[FeatureSet]:
    """Every whole feature set of a work_dir that has this fingerprint.

    without: stems to pass over. What is damaged is named and left out.
    """
    stems = [name.removesuffix(".json") for name in store.names("") if _is_shard_json(name)]
    sets = [open_merged_or_warn(store), *whole_shards(store, sorted(set(stems) - set(without)))]
    return (known for known in sets if known is not None and known.fingerprint == fingerprint)


def whole_shards(store: Store, stems: Iterable[str]) -> Iterator[FeatureSet]:
    for stem in stems:
        try:
            yield open_shard(store, stem)
        except DamagedError as error:
            log.warning(_NOT_USED, error)


def open_merged_or_warn(store: Store) -> FeatureSet | None:
    try:
        return open_merged(store)
    except DamagedError as error:
        log.warning(_NOT_USED, error)
        return None


def _is_shard_json(name: str) -> bool:
    return os.path.basename(name).startswith("features-") and name.endswith(".json")


# --- looking up ------------------------------------------------------------------------------------------------------------


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


def look_up(manifest: Manifest, fresh: Iterable[FeatureSet], earlier: Iterable[FeatureSet], max_pixels: int) -> Found:
    """What is known of each entry. `fresh` sets, of this run, count whole and first.

    Of `earlier` ones counts what would come out the same if it were read again.
    """
    sets: list[FeatureSet] = []
    known: list[pa.Table] = []
    for feature_set, entries in [
        *((s, s.entries) for s in fresh),
        *((s, s.entries.filter(_lasting(s.entries, max_pixels))) for s in earlier),
    ]:
        known.append(entries.append_column("source", pa.array(np.full(entries.num_rows, len(sets)), pa.int64())))
        sets.append(feature_set)
    nothing = pa.schema([*ENTRIES, pa.field("source", pa.int64())]).empty_table()
    table = pa.concat_tables(known) if known else nothing
    place = _places(manifest.keys(), table)
    taken = table.take(place)
    source = taken["source"].fill_null(-1).to_numpy()
    return Found(taken.select(ENTRIES.names), sets, source)


def _lasting(entries: pa.Table, max_pixels: int) -> pa.ChunkedArray:
    pixels = pc.multiply(pc.cast(entries["width"], pa.int64()), pc.cast(entries["height"], pa.int64()))
    fits = pc.fill_null(pc.less_equal(pixels, max_pixels), True)
    code = entries["error_code"]
    good = pc.is_null(code)
    too_large = pc.equal(code, str(ErrorCode.TOO_LARGE))
    same_bad = pc.or_(pc.is_in(code, pa.array(LASTING)), pc.and_(pc.fill_null(too_large, False), pc.invert(fits)))
    return pc.if_else(good, fits, same_bad)


def _places(wanted: pa.Table, table: pa.Table) -> pa.Array:
    """For each row of `wanted`, the first row of `table` with the same key, or null."""
    first = (
        table.select(KEY)
        .append_column("place", pa.array(np.arange(table.num_rows)))
        .group_by(list(KEY))
        .aggregate([("place", "min")])
    )
    joined = wanted.append_column("offset", pa.array(np.arange(wanted.num_rows))).join(
        first, list(KEY), join_type="left outer"
    )
    return joined.sort_by("offset")["place_min"].combine_chunks()


# --- merging ---------------------------------------------------------------------------------------------------------------


def merge(store: Store, manifest: Manifest, found: Found, facts: dict[str, Any]) -> None:
    """Writes features.dat, its names, the bad lists and manifest.parquet.

    They may take the place of files that they are made of. So the new manifest and the digests are put first, under
    shards/: whenever the run dies, features.dat is described, be it the old one or the new.
    """
    entries, uris = renumbered(found.entries), manifest.uris()
    with store.create(layout.FEATURES) as path:
        digest = _write_rows(path, row_blocks(found))
        write_parquet(store, layout.MERGED_MANIFEST, entries)
        sha256 = {layout.FEATURES: digest, layout.MERGED_MANIFEST: file_sha256(store.fetch(layout.MERGED_MANIFEST))}
        write_json(store, layout.MERGED, facts | {"sha256": sha256})
    write_parquet(store, layout.MANIFEST, entries)
    _write_names(store, layout.FEATURES_CSV, uris, entries)
    for name in (layout.BAD_CSV, layout.BAD_CSV_TWIN):
        _write_bad(store, name, uris, entries)


def renumbered(entries: pa.Table) -> pa.Table:
    """`entries` with first_row counted through."""
    rows = entries["rows"].to_numpy()
    first = pa.array(np.cumsum(rows) - rows, pa.int64(), mask=rows == 0)
    return entries.set_column(ENTRIES.get_field_index("first_row"), "first_row", first)


def row_blocks(found: Found) -> Iterator[np.ndarray]:
    """The rows of all good entries in the order of the manifest, (r, d) float32 each, no copy."""
    rows = found.entries["rows"].to_numpy()
    good = np.flatnonzero(rows)
    if len(good) == 0:
        return
    source, count = found.source[good], rows[good]
    first = found.entries["first_row"].take(pa.array(good)).to_numpy()
    breaks = np.flatnonzero((source[1:] != source[:-1]) | (first[1:] != first[:-1] + count[:-1])) + 1
    for run in np.split(np.arange(len(good)), breaks):
        start, stop = first[run[0]], first[run[-1]] + count[run[-1]]
        for row in range(start, stop, BLOCK):
            yield found.sets[source[run[0]]].rows[row : min(row + BLOCK, stop)]


def names_of(uris: pa.Array | pa.ChunkedArray, entries: pa.Table) -> pa.Array | pa.ChunkedArray:
    """The name of each row, as raw bytes."""
    return uris.take(pa.array(np.repeat(np.arange(len(uris)), entries["rows"].to_numpy())))


def _bad(entries: pa.Table) -> pa.ChunkedArray:
    return pc.is_valid(entries["error_code"])


def _write_rows(path: Path, blocks: Iterable[np.ndarray]) -> str:
    """Their sha256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for block in blocks:
            data = np.ascontiguousarray(block, "<f4")
            file.write(data)
            digest.update(data)
    return digest.hexdigest()


def _write_names(store: Store, name: str, uris: pa.Array | pa.ChunkedArray, entries: pa.Table) -> None:
    names = names_of(uris, entries)
    write_csv(store, name, layout.FEATURES_HEADER, [np.arange(len(names)), names])


def _write_bad(store: Store, name: str, uris: pa.Array | pa.ChunkedArray, entries: pa.Table) -> None:
    bad = _bad(entries)
    table = entries.filter(bad)
    write_csv(store, name, layout.BAD_HEADER, [uris.filter(bad), table["error_code"], table["error_message"]])


def map_features(store: Store, d: int) -> np.ndarray:
    """features.dat as (n, d) float32, read only as it is used."""
    path = store.fetch(layout.FEATURES)
    n = path.stat().st_size // (4 * d)
    return np.memmap(path, "<f4", "r", shape=(n, d)) if n else np.empty((0, d), np.float32)


def _mapped(path: Path, d: int, entries: pa.Table) -> np.ndarray:
    """The rows of a features file, (r, d) float32, read only as they are used."""
    rows = pc.sum(entries["rows"]).as_py() or 0
    if path.stat().st_size != rows * d * 4:
        raise DamagedError(
            f"{path} is damaged: {path.stat().st_size} bytes where {rows} rows of {d} need {rows * d * 4}."
        )
    return np.memmap(path, "<f4", "r", shape=(rows, d)) if rows else np.empty((0, d), np.float32)


def _check_digests(store: Store, sha256: dict[str, str]) -> None:
    for name, digest in sha256.items():
        path = store.fetch(name)
        if file_sha256(path) != digest:
            raise DamagedError(f"{path} is damaged (its digest does not fit).")


# --- for users -------------------------------------------------------------------------------------------------------------


def load_binary_feature(filename: str | os.PathLike = layout.FEATURES) -> tuple[list[str], np.ndarray]:
    """The n names and the (n, d) float32 matrix of a features file; d is its size by the rows of its CSV.

    `filename`: the features file, or the folder that has it. The CSV lies beside it under the same name plus `.csv`.
    Raises `FileNotFoundError`, and `DamagedError` where the two do not fit.
    """
    path = Path(os.path.expanduser(filename))
    if path.is_dir():
        path /= layout.FEATURES
    for needed in (path, Path(f"{path}.csv")):
        if not needed.is_file():
            raise FileNotFoundError(f"{needed} does not exist; name the features file of a finished run.")
    table = read_csv(f"{path}.csv", layout.FEATURES_HEADER)
    names = [os.fsdecode(name) for name in table["filename"].to_pylist()]
    if table["index"].to_pylist() != [b"%d" % i for i in range(len(names))]:
        raise DamagedError(f"{path}.csv is damaged: its column index does not count from 0.")
    size = path.stat().st_size
    if (size == 0) != (not names) or (names and size % (4 * len(names))):
        raise DamagedError(
            f"{path} is damaged: {size} bytes do not divide among the {len(names)} names of {path.name}.csv."
        )
    matrix = np.fromfile(path, "<f4")
    return names, matrix.reshape(len(names), -1)


def save_binary_feature(save_path: str | os.PathLike, filenames: Sequence[str], features: np.ndarray) -> None:
    """Writes features of one's own into the folder `save_path`, for run mode 2; features: (n, d), n names."""
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != len(filenames):
        raise ValueError(f"features should be ({len(filenames)}, d), one row for each name, not {features.shape}.")
    store = open_store(os.path.expanduser(save_path))
    store.prepare()
    with store.create(layout.FEATURES) as path:
        _write_rows(path, [features])
    write_csv(store, layout.FEATURES_CSV, layout.FEATURES_HEADER, [np.arange(len(filenames)), encoded(filenames)])
