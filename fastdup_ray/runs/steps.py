"""The steps after the features, as plain functions over a work_dir. The executor decides where each is done."""

import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED, SCORED, TRANSFORMED, FileSet
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import DamagedError, InputError, redact
from fastdup_ray.extract.decoders import list_optional_decoders
from fastdup_ray.features import (
    FeatureSet,
    LostEmbeddingsError,
    infer_dimensions,
    lookup_entries,
    map_features,
    merge_range,
    merge_ranges,
    merge_sets,
    open_complete,
    open_earlier_sets,
    open_merged,
    open_ranges,
    open_whole_shards,
    read_names,
)
from fastdup_ray.inputs.labels import read_labels
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.inputs.references import reference_mask
from fastdup_ray.neighbors import NeighborIndex, make_index
from fastdup_ray.neighbors.checkpoint import SearchCheckpoint, get_features_digest
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, store_neighbors
from fastdup_ray.neighbors.search import SPARE, check_unit_length, find_neighbors_within
from fastdup_ray.neighbors.search_plan import plan_search
from fastdup_ray.outputs.changes import write_changes
from fastdup_ray.outputs.images import Images, map_images
from fastdup_ray.outputs.results import write_results
from fastdup_ray.report.page import write_report
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import check_digest, hash_file, write_json
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.system.memory import measure_free_memory
from fastdup_ray.version import __version__

log = logging.getLogger(__name__)

FACTS = ("format_version", "fingerprint", "d", "n", "list_sha256")
"""What summary.json says of the features that a later run may take."""

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
    layout.EXACT_COPIES_CSV,
    layout.CHANGES_CSV,
    layout.INVARIANT_CSV,
    layout.LABEL_CONFLICTS_CSV,
    layout.CONFIG,
)
"""Files whose digests stand in summary.json."""

FILES_AFTER_FEATURES = (*(name for name in DIGESTED if name not in (*FEATURE_FILES, layout.CONFIG)), layout.REPORT)
"""What follows from the features, and has to go when they do."""

SCORING_FILES = (
    *(SCORED.name(name) for name in (*FEATURE_FILES, layout.OUTLIERS_CSV, layout.IMAGES, layout.LABEL_CONFLICTS_CSV)),
    *(
        SCORED.name(layout.EXACT_COPIES_CSV),
        SCORED.name(layout.CONFIG),
        SCORED.name(os.path.dirname(layout.REPORT)),
        layout.LEAKAGE_CSV,
        layout.TRAIN_SIMILARITY,
    ),
)
SCORING_MARKS = (SCORED.name(layout.SUMMARY), SCORED.name(layout.SHARDS), layout.TRAIN_SIMILARITY_CSV)
"""What follows from a scoring, and has to go when the indexed set is another; the marks tell that there was one."""


@dataclass(frozen=True)
class MergeResult:
    """counts of entries, images and bad ones; or None, and the offsets of the entries that no whole shard has."""

    counts: dict[str, int] | None
    missing: np.ndarray


def merge_features(
    store: Store,
    config: RunConfig,
    manifest: Manifest,
    fresh: Sequence[str],
    facts: dict[str, Any],
    part: tuple[int, int] | None,
    files: FileSet = INDEXED,
) -> MergeResult:
    """Puts features.dat and its lists together, or those of the range `part` that the manifest is.

    fresh: stems of the shards of this run. facts: what the files say of the list. Where anything is missing, nothing
    is written.
    """
    earlier = open_earlier_sets(store, facts["fingerprint"], without=fresh) if config.reuse else []
    found = lookup_entries(manifest, open_whole_shards(store, fresh), earlier, config.limits, list_optional_decoders())
    if len(found.missing):
        return MergeResult(None, found.missing)
    try:
        if part is None:
            merge_sets(store, manifest.uris(), found, facts, files)
        else:
            merge_range(store, *part, manifest.uris(), found, facts)
    except LostEmbeddingsError as error:
        log.warning("%s Its images are read again.", error)
        return MergeResult(None, np.flatnonzero(found.source == found.embeddings.index(error.rows)))
    return MergeResult(count_entries(found.entries), found.missing)


def adopt_features(store: Store, features_file: str) -> dict[str, Any]:
    """Run mode 2: the stored features, checked; ranges of run mode 1 are merged first. Returns the facts of them."""
    if features_file == SCORED.name(layout.FEATURES) and was_scored(store):
        raise InputError(
            f"{features_file} in {store.location!r} is of a scoring, which this run would take away; "
            "make the features of those pictures in a work_dir of their own (run_mode=1)."
        )
    if features_file != layout.FEATURES:
        return describe_own_features(store, features_file)
    try:
        if ranges := open_ranges(store):
            return _merge_ranges(store, ranges)
        described = open_complete(store)
        if described is None:
            return describe_own_features(store, features_file)
        check_digest(store, layout.FEATURES_CSV, described.facts["sha256"][layout.FEATURES_CSV])
    except (DamagedError, FileNotFoundError) as error:
        raise DamagedError(f"{error} Make it again (run_mode=1), or put the file back.") from None
    return {name: described.facts[name] for name in FACTS} | {"counts": count_entries(described.entries)}


def _merge_ranges(store: Store, ranges: list[FeatureSet]) -> dict[str, Any]:
    if store.exists(layout.FEATURES):
        merged = open_merged(store)
        if merged is None or merged.facts["list_sha256"] != ranges[0].facts["list_sha256"]:
            raise InputError(
                f"{store.location!r} has {layout.FEATURES} and also ranges of another list: take one or the other away."
            )
    facts = merge_ranges(store, ranges)
    return facts | {"counts": count_entries(pa.concat_tables(part.entries for part in ranges))}


def describe_own_features(store: Store, features_file: str) -> dict[str, Any]:
    """Of features that no run of ours describes: made by `save_binary_feature`, or by somebody else."""
    for name in (features_file, features_file + ".csv"):
        if not store.exists(name):
            raise InputError(f"No {name} in {store.location!r}; name a work_dir of run mode 1, or a features file.")
    _check_own(store)
    n = len(read_names(store.fetch(features_file + ".csv")))
    d = infer_dimensions(store.fetch(features_file), n)
    if n == 0:
        raise InputError(f"{features_file} in {store.location!r} has no rows.")
    return {"format_version": layout.FORMAT_VERSION, "d": d, "n": n, "counts": {"entries": n, "images": n, "bad": 0}}


def _check_own(store: Store) -> None:
    """`DamagedError` where an earlier run of mode 2 saw other bytes; `save_binary_feature` takes its summary away."""
    if store.exists(layout.SUMMARY):
        sha256 = read_summary(store)["sha256"]
        for name in (layout.FEATURES, layout.FEATURES_CSV):
            if name in sha256:
                check_digest(store, name, sha256[name])


def search_neighbors(store: Store, config: RunConfig, features_file: str, d: int) -> StoredNeighbors:
    """Builds faiss.index over the features and finds each row's neighbours; goes on with what a killed one has left."""
    rows = check_unit_length(map_features(store, features_file, d))
    plan = plan_search(config, len(rows), d, measure_free_memory())
    index = make_index(config, plan, config.cores)
    kept = _make_checkpoint(store, config, features_file, index) if len(rows) > SearchCheckpoint.block else None
    if kept and kept.has_index():
        index.restore(rows, store.fetch(layout.FAISS_INDEX))
    else:
        index.add(rows)
        with store.create(layout.FAISS_INDEX) as path:
            index.save(path)
        if kept:
            kept.save_index()
    if config.compute == "gpu":
        index.to_gpu(config.nearest_neighbors_k + SPARE)
    return store_neighbors(store, find_neighbors_within(index, rows, config.nearest_neighbors_k, kept), plan=plan)


def _make_checkpoint(store: Store, config: RunConfig, features_file: str, index: NeighborIndex) -> SearchCheckpoint:
    asked = config.model_dump(include={"nn_provider", "faiss_param", "distance", "nearest_neighbors_k", "compute"})
    features = get_features_digest(store, features_file)
    return SearchCheckpoint(store, asked | {"index": index.name, "features": features, "version": __version__})


def write_outputs(
    store: Store, config: RunConfig, features_file: str, neighbors: StoredNeighbors, summary: dict[str, Any]
) -> dict[str, Any]:
    """The final task: everything that people read. summary.json comes last: it says that all else is whole."""
    start = time.monotonic()
    images = load_images(store, features_file, INDEXED, config)
    counts = summary["counts"] | write_results(store, config, images, neighbors.open(store))
    summary = summary | {"counts": counts, "neighbors": neighbors.summary, "features_file": features_file}
    if config.incremental:
        summary["changes"] = write_changes(store)
    else:
        store.remove(layout.CHANGES_CSV)
    if not config.invariant:
        remove_transforms(store)
    write_config(store, config)
    if config.report:
        write_report(store, summary, thumbnails=config.thumbnails)
    else:
        store.remove(layout.REPORT)
    summary["seconds"] = summary["seconds"] | {"outputs": round(time.monotonic() - start, 3)}
    return write_summary(store, summary)


def write_summary_only(store: Store, config: RunConfig, summary: dict[str, Any]) -> dict[str, Any]:
    """What a run leaves that ends with the features: they, and nothing that an earlier run made of others."""
    for name in FILES_AFTER_FEATURES:
        store.remove(name)
    store.remove_if_empty(os.path.dirname(layout.REPORT))
    write_config(store, config)
    return write_summary(store, summary)


def count_entries(entries: pa.Table) -> dict[str, int]:
    return {
        "entries": entries.num_rows,
        "images": int(entries["rows"].to_numpy().sum()),
        "bad": entries.num_rows - entries["error_code"].null_count,
    }


def load_images(store: Store, features_file: str, files: FileSet, config: RunConfig | None = None) -> Images:
    """The images of a features file of the set `files`, in its order; config: may know more of them."""
    images = map_images(store, features_file, files)
    if config is None:
        return images
    uris = images.entries["uri"].cast(pa.large_binary()) if config.labels or config.reference else None
    reference = pa.array(reference_mask(config.reference, images.names, uris)) if config.reference else None
    return replace(images, labels=read_labels(config.labels, images.names, uris), reference=reference)


def write_config(store: Store, config: RunConfig, files: FileSet = INDEXED) -> None:
    with store.create(files.name(layout.CONFIG)) as path:
        content = {name: _escape_value(value) for name, value in config.model_dump().items()}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _escape_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_escape_value(item) for item in value]
    return redact(escape_non_utf8(value)) if isinstance(value, str) else value


def write_summary(store: Store, summary: dict[str, Any], files: FileSet = INDEXED) -> dict[str, Any]:
    """Puts summary.json with the digests of all else; what was scored against an earlier index goes then."""
    own = summary.get("features_file", layout.FEATURES)
    more = {INDEXED: (own, own + ".csv"), SCORED: layout.TRAIN_BACKUP, TRANSFORMED: ()}
    names = {*map(files.name, DIGESTED), *more[files]}
    summary = summary | {"sha256": {n: hash_file(store.fetch(n)) for n in sorted(names) if store.exists(n)}}
    write_json(store, files.name(layout.SUMMARY), summary)
    if files is INDEXED:
        remove_scoring(store)
    return summary


def was_scored(store: Store) -> bool:
    """Whether files that begin with `test_` are of a scoring, finished or not."""
    return any(store.exists(mark) for mark in SCORING_MARKS)


def remove_scoring(store: Store) -> None:
    """Takes away what an earlier scoring left, finished or not; files of the user's own with such names stay."""
    if was_scored(store):
        for name in (*SCORING_FILES, *SCORING_MARKS):
            store.remove(name)


def remove_transforms(store: Store) -> None:
    """Takes away what a run with `invariant` left; files of the user's own with such names stay."""
    if store.exists(layout.INVARIANT_CSV) or store.exists(TRANSFORMED.name(layout.SUMMARY)):
        for name in (*FEATURE_FILES, layout.SHARDS, layout.SUMMARY):
            store.remove(TRANSFORMED.name(name))
        store.remove(layout.INVARIANT_CSV)
