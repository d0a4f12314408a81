"""changes.csv: what is new since the last finished run on a work_dir.

Before a run replaces anything, it copies the files that it is compared with later. A run that resumes one that died
finds these copies, so that no change is missed.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.changes import ALONE, CONTENTS, Changes, RunSnapshot, find_changes
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import DoubleArray, IntArray, split_array
from fastdup_ray.common.facts import ChangeCounts
from fastdup_ray.errors import DamagedError
from fastdup_ray.features import find_names, map_names
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.outputs.pair_file import read_pairs
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file, read_json, write_json
from fastdup_ray.storage.csv_files import iter_csv, open_csv, parse_numbers
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.parquet_files import iter_parquet
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, map_table

_COMPARED = (layout.FEATURES_CSV, layout.IMAGES, layout.SIMILARITY_CSV, layout.COMPONENTS_CSV)
_GROUPS = layout.COMPONENTS_CSV
"""Not written with run_cc=0."""


def set_earlier_aside(store: Store) -> None:
    """Copy the outputs of the last finished run, unless an interrupted run has done so; damaged ones are ignored."""
    if store.exists(layout.EARLIER) or not store.exists(layout.SUMMARY):
        return
    try:
        sha256 = read_summary(store)["sha256"]
        names = [name for name in _COMPARED if name in sha256]
        whole = all(hash_file(store.fetch(name)) == sha256[name] for name in names)
    except (DamagedError, FileNotFoundError):
        return
    if not whole or {*_COMPARED} - {*names} - {_GROUPS}:
        return
    for name in names:
        with store.create(layout.earlier_name(name)) as path:
            shutil.copyfile(store.fetch(name), path)
    write_json(store, layout.EARLIER, {"files": names})


def write_changes(store: Store) -> ChangeCounts:
    """Write changes.csv from the present outputs and the copied ones; return the counts for summary.json."""
    before = RunSnapshot.empty()
    if store.exists(layout.EARLIER):
        names = read_json(store, layout.EARLIER)["files"]
        before = _read_snapshot(store, {name: layout.earlier_name(name) for name in names})
    after = _read_snapshot(store, {name: name for name in _COMPARED if store.exists(name)})
    changes = find_changes(before, after, find_names(after.names, before.names, store.scratch))
    with open_csv(store, layout.CHANGES_CSV, csv_columns.CHANGES_HEADER) as write:
        for table in _iter_tables(before, after, changes):
            write(table.columns)
    return {
        "images_added": len(changes.added),
        "images_changed": len(changes.changed),
        "images_removed": len(changes.removed),
        "new_pairs": len(changes.pairs),
        "groups_new": len(changes.new),
        "groups_grew": len(changes.grew),
        "groups_shrank": len(changes.shrank),
        "groups_gone": len(changes.gone),
    }


def _read_snapshot(store: Store, files: dict[str, str]) -> RunSnapshot:
    """Read the outputs of a run; files: usual name -> present name."""
    names = map_names(store, files[layout.FEATURES_CSV])
    images = iter_parquet(store.fetch(files[layout.IMAGES]), IMAGES.select(["sha256", "mtime_or_etag"]))
    contents = (pa.table([pc.coalesce(block["sha256"], block["mtime_or_etag"])], CONTENTS) for block in images)
    pairs = read_pairs(store.fetch(files[layout.SIMILARITY_CSV]), names, store.scratch)
    component = np.full(len(names), ALONE, np.int64)
    if _GROUPS in files:
        component = _read_components(store.fetch(files[_GROUPS]))
    return RunSnapshot(
        names,
        map_table(contents, CONTENTS, store.scratch()),
        np.stack([pairs.source, pairs.target], axis=1),
        pairs.value,
        component,
    )


def _read_components(path: Path) -> IntArray:
    """Return the component of each image; `ALONE` for images that are in none of two or more."""
    parts = [np.empty(0, np.int64)]
    for block in iter_csv(path, csv_columns.COMPONENTS_HEADER):
        ids, count = (parse_numbers(path, block, name, pa.int64()).to_numpy() for name in ("component_id", "count"))
        parts.append(np.where(count > 1, ids, ALONE))
    return np.concatenate(parts)


def _iter_tables(before: RunSnapshot, after: RunSnapshot, changes: Changes) -> Iterator[pa.Table]:
    """Yield tables with the columns of changes.csv."""
    for change, images, run in (
        ("image_added", changes.added, after),
        ("image_changed", changes.changed, after),
        ("image_removed", changes.removed, before),
    ):
        for part in split_array(images, ROWS_PER_BLOCK):
            yield _make_table(change, run.names.take(pa.array(part)))
    for part in split_array(changes.pairs, ROWS_PER_BLOCK):
        first, second = (after.names.take(pa.array(after.pairs[part, side])) for side in (0, 1))
        yield _make_table("new_pair", first, second, after.values[part])
    for change, groups, run in (
        ("group_new", changes.new, after),
        ("group_grew", changes.grew, after),
        ("group_shrank", changes.shrank, before),
        ("group_gone", changes.gone, before),
    ):
        for part in split_array(np.arange(len(groups.image)), ROWS_PER_BLOCK):
            yield _make_table(
                change, run.names.take(pa.array(groups.image[part])), ids=pa.array(groups.component[part])
            )


def _make_table(
    change: str,
    first: pa.Array,
    second: pa.Array | None = None,
    values: DoubleArray | None = None,
    ids: pa.Array | None = None,
) -> pa.Table:
    n = len(first)
    columns = (
        pa.repeat(change, n),
        pa.nulls(n, pa.int64()) if ids is None else ids,
        first,
        pa.nulls(n, pa.large_binary()) if second is None else second,
        pa.nulls(n, pa.float64()) if values is None else pa.array(values, pa.float64()),
    )
    return pa.table(list(columns), csv_columns.CHANGES_HEADER)
