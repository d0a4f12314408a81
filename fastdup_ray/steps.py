"""The steps after the features, as plain functions over a work_dir. The executor decides where each is done."""

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastdup_ray import layout
from fastdup_ray.config import RunConfig
from fastdup_ray.executors import cores
from fastdup_ray.features import BLOCK, earlier_sets, look_up, map_features, merge, whole_shards
from fastdup_ray.manifest import ENTRIES, Manifest
from fastdup_ray.neighbors import make_index
from fastdup_ray.neighbors.search import neighbors_within
from fastdup_ray.outputs.results import Images, write_results
from fastdup_ray.outputs.tables import read_csv
from fastdup_ray.records import Neighbors
from fastdup_ray.report.page import write_report
from fastdup_ray.sealed import file_sha256, printable, write_json
from fastdup_ray.storage import Store, open_store

FEATURE_FILES = (layout.FEATURES, layout.FEATURES_CSV, layout.BAD_CSV, layout.BAD_CSV_TWIN, layout.MANIFEST)

DIGESTED = (
    *FEATURE_FILES,
    layout.SIMILARITY_CSV,
    layout.OUTLIERS_CSV,
    layout.FAISS_INDEX,
    layout.COMPONENTS_INFO_CSV,
    layout.COMPONENTS_CSV,
    layout.IMAGES,
    layout.SIMILARITY,
    layout.COMPONENTS,
    layout.CONFIG,
)
"""Files whose digests stand in summary.json."""

AFTER_FEATURES = (*(name for name in DIGESTED if name not in (*FEATURE_FILES, layout.CONFIG)), layout.REPORT)
"""What follows from the features, and has to go when they do."""


def merge_features(
    work_dir: str, config: RunConfig, manifest: Manifest, fresh: Sequence[str], facts: dict[str, Any]
) -> np.ndarray:
    """Puts features.dat and its lists together; returns the offsets of entries that no whole shard has.

    fresh: stems of the shards of this run. facts: goes into summary.json. Where anything is missing nothing is written.
    """
    store = open_store(work_dir)
    earlier = earlier_sets(store, facts["fingerprint"], without=fresh) if config.reuse else []
    found = look_up(manifest, whole_shards(store, fresh), earlier, config.max_pixels)
    if len(found.missing) == 0:
        merge(store, manifest, found, facts)
    return found.missing


def search_neighbors(work_dir: str, config: RunConfig, d: int) -> Neighbors:
    """Builds faiss.index over features.dat and finds each row's neighbours."""
    store = open_store(work_dir)
    rows = map_features(store, d)
    index = make_index(config, len(rows), d, cores(config))
    for start in range(0, len(rows), BLOCK):
        index.add(rows[start : start + BLOCK])
    with store.create(layout.FAISS_INDEX) as path:
        index.save(path)
    return neighbors_within(index, rows, config.nearest_neighbors_k)


def write_outputs(work_dir: str, config: RunConfig, neighbors: Neighbors, summary: dict[str, Any]) -> dict[str, Any]:
    """The final task: everything that people read. summary.json comes last: it says that all else is whole."""
    start = time.monotonic()
    store = open_store(work_dir)
    counts = summary["counts"] | write_results(store, config, load_images(store), neighbors)
    summary = summary | {"counts": counts, "neighbors": neighbors.summary}
    _write_config(store, config)
    if config.report:
        write_report(store, summary)
    else:
        store.remove(layout.REPORT)
    summary["seconds"] = summary["seconds"] | {"outputs": round(time.monotonic() - start, 3)}
    return _write_summary(store, summary)


def write_nothing_found(work_dir: str, config: RunConfig, summary: dict[str, Any]) -> dict[str, Any]:
    """What a run without a good image leaves: its bad lists, and nothing of an earlier run."""
    store = open_store(work_dir)
    for name in AFTER_FEATURES:
        store.remove(name)
    _write_config(store, config)
    return _write_summary(store, summary)


def load_images(store: Store) -> Images:
    """The images of features.dat, in its order."""
    names = read_csv(store.fetch(layout.FEATURES_CSV), layout.FEATURES_HEADER)["filename"].cast(pa.large_binary())
    entries = pq.read_table(store.fetch(layout.MANIFEST), schema=ENTRIES)
    rows = np.repeat(np.arange(entries.num_rows), entries["rows"].to_numpy())
    return Images(names, entries.take(pa.array(rows)))


def _write_config(store: Store, config: RunConfig) -> None:
    with store.create(layout.CONFIG) as path:
        content = json.loads(printable(json.dumps(config.model_dump(), ensure_ascii=False)))
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _write_summary(store: Store, summary: dict[str, Any]) -> dict[str, Any]:
    digests = {name: file_sha256(store.fetch(name)) for name in DIGESTED if store.exists(name)}
    summary = summary | {"sha256": digests}
    write_json(store, layout.SUMMARY, summary)
    return summary
