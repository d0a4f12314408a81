"""changes.csv: what is new since the last finished run on a work_dir.

Before a run replaces anything, it puts the files that it will be compared with aside; a run that goes on for one that
died finds them there, so that nothing new is ever missed.
"""

import shutil
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.changes import ALONE, Changes, Found, changes_between
from fastdup_ray.common import layout
from fastdup_ray.errors import DamagedError
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import file_sha256, read_json, write_json
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.tables import numbers_in, read_csv, read_parquet, rows_in, write_csv

_COMPARED = (layout.FEATURES_CSV, layout.IMAGES, layout.SIMILARITY_CSV, layout.COMPONENTS_CSV)
_GROUPS = layout.COMPONENTS_CSV
"""Not there after run_cc=0."""


def put_earlier_aside(store: Store) -> None:
    """Copies what the last finished run left, once; a run that died left nothing to compare with."""
    if store.exists(layout.EARLIER) or not store.exists(layout.SUMMARY):
        return
    try:
        sha256 = read_summary(store)["sha256"]
        there = [name for name in _COMPARED if name in sha256]
        whole = all(file_sha256(store.fetch(name)) == sha256[name] for name in there)
    except (DamagedError, FileNotFoundError):
        return
    if not whole or {*_COMPARED} - {*there} - {_GROUPS}:
        return
    for name in there:
        with store.create(layout.earlier(name)) as path:
            shutil.copyfile(store.fetch(name), path)
    write_json(store, layout.EARLIER, {"files": there})


def write_changes(store: Store) -> dict[str, int]:
    """Writes changes.csv from the outputs that stand there now; returns the counts for summary.json."""
    before = Found.nothing()
    if store.exists(layout.EARLIER):
        there = read_json(store, layout.EARLIER)["files"]
        before = _found(store, {name: layout.earlier(name) for name in there})
    after = _found(store, {name: name for name in _COMPARED if store.exists(name)})
    changes = changes_between(before, after)
    parts = list(_parts(before, after, changes))
    write_csv(store, layout.CHANGES_CSV, layout.CHANGES_HEADER, pa.concat_tables(parts).columns)
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


def _found(store: Store, files: dict[str, str]) -> Found:
    """files: of a run, by their usual names."""
    names = read_csv(store.fetch(files[layout.FEATURES_CSV]), layout.FEATURES_HEADER)["filename"]
    names = names.cast(pa.large_binary()).combine_chunks()
    images = read_parquet(store.fetch(files[layout.IMAGES]), IMAGES.only(["sha256", "mtime_or_etag"]))
    contents = pc.coalesce(images["sha256"], images["mtime_or_etag"]).combine_chunks()
    path = store.fetch(files[layout.SIMILARITY_CSV])
    pairs = read_csv(path, layout.PAIRS_HEADER)
    ends = [rows_in(path, pairs[side], names) for side in ("from", "to")]
    values = numbers_in(path, pairs, "distance", pa.float64()).to_numpy()
    component = np.full(len(names), ALONE, np.int64)
    if _GROUPS in files:
        path = store.fetch(files[_GROUPS])
        rows = read_csv(path, layout.COMPONENTS_HEADER)
        ids, count = (numbers_in(path, rows, name, pa.int64()).to_numpy() for name in ("component_id", "count"))
        component = np.where(count > 1, ids, ALONE)
    return Found(names, contents, np.stack(ends, axis=1).astype(np.int64).reshape(-1, 2), values, component)


def _parts(before: Found, after: Found, changes: Changes) -> Iterator[pa.Table]:
    """Tables with the columns of changes.csv."""
    for change, images, of in (
        ("image_added", changes.added, after),
        ("image_changed", changes.changed, after),
        ("image_removed", changes.removed, before),
    ):
        yield _table(change, of.names.take(pa.array(images)))
    pairs = after.pairs[changes.pairs]
    first, second = (after.names.take(pa.array(pairs[:, side])) for side in (0, 1))
    yield _table("new_pair", first, second, after.values[changes.pairs])
    for change, groups, of in (
        ("group_new", changes.new, after),
        ("group_grew", changes.grew, after),
        ("group_shrank", changes.shrank, before),
        ("group_gone", changes.gone, before),
    ):
        members = [group.members for group in groups]
        ids = np.repeat([group.component for group in groups], [len(images) for images in members]).astype(np.int64)
        images = np.concatenate([np.empty(0, np.int64), *members])
        yield _table(change, of.names.take(pa.array(images)), ids=pa.array(ids))


def _table(
    change: str,
    first: pa.Array,
    second: pa.Array | None = None,
    values: np.ndarray | None = None,
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
    return pa.table(list(columns), layout.CHANGES_HEADER)
