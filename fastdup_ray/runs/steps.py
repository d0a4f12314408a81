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
from fastdup_ray.common.layout import INDEXED, SCORED, TURNED, PictureSet
from fastdup_ray.common.names import printable
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import DamagedError, InputError, redact
from fastdup_ray.extract.decoders import optional_decoders
from fastdup_ray.features import (
    FeatureSet,
    LostRowsError,
    dimensions,
    earlier_sets,
    look_up,
    map_features,
    merge,
    merge_range,
    merge_ranges,
    open_complete,
    open_merged,
    open_ranges,
    read_names,
    whole_shards,
)
from fastdup_ray.inputs.labels import labels_of
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.inputs.references import are_references
from fastdup_ray.neighbors import NeighborIndex, make_index
from fastdup_ray.neighbors.checkpoint import Kept, digest_of
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, store_neighbors
from fastdup_ray.neighbors.search import SPARE, neighbors_within, unit_rows
from fastdup_ray.outputs.changes import write_changes
from fastdup_ray.outputs.images import Images, map_images
from fastdup_ray.outputs.results import write_results
from fastdup_ray.report.page import write_report
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import check_digest, file_sha256, write_json
from fastdup_ray.storage.facts import read_summary
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

AFTER_FEATURES = (*(name for name in DIGESTED if name not in (*FEATURE_FILES, layout.CONFIG)), layout.REPORT)
"""What follows from the features, and has to go when they do."""

OF_SCORING = (
    *(SCORED.of(name) for name in (*FEATURE_FILES, layout.OUTLIERS_CSV, layout.IMAGES, layout.LABEL_CONFLICTS_CSV)),
    *(
        SCORED.of(layout.EXACT_COPIES_CSV),
        SCORED.of(layout.CONFIG),
        SCORED.of(os.path.dirname(layout.REPORT)),
        layout.LEAKAGE_CSV,
        layout.TRAIN_SIMILARITY,
    ),
)
MARKS_OF_SCORING = (SCORED.of(layout.SUMMARY), SCORED.of(layout.SHARDS), layout.TRAIN_SIMILARITY_CSV)
"""What follows from a scoring, and has to go when the indexed set is another; the marks tell that there was one."""


@dataclass(frozen=True)
class Merged:
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
    files: PictureSet = INDEXED,
) -> Merged:
    """Puts features.dat and its lists together, or those of the range `part` that the manifest is.

    fresh: stems of the shards of this run. facts: what the files say of the list. Where anything is missing, nothing
    is written.
    """
    earlier = earlier_sets(store, facts["fingerprint"], without=fresh) if config.reuse else []
    found = look_up(manifest, whole_shards(store, fresh), earlier, config.limits, optional_decoders())
    if len(found.missing):
        return Merged(None, found.missing)
    try:
        if part is None:
            merge(store, manifest.uris(), found, facts, files)
        else:
            merge_range(store, *part, manifest.uris(), found, facts)
    except LostRowsError as error:
        log.warning("%s Its images are read again.", error)
        return Merged(None, np.flatnonzero(found.source == found.rows.index(error.rows)))
    return Merged(counts_of(found.entries), found.missing)


def take_features(store: Store, features_file: str) -> dict[str, Any]:
    """Run mode 2: the stored features, checked; ranges of run mode 1 are merged first. Returns the facts of them."""
    if features_file == SCORED.of(layout.FEATURES) and was_scored(store):
        raise InputError(
            f"{features_file} in {store.location!r} is of a scoring, which this run would take away; "
            "make the features of those pictures in a work_dir of their own (run_mode=1)."
        )
    if features_file != layout.FEATURES:
        return facts_of_own(store, features_file)
    try:
        if ranges := open_ranges(store):
            return _facts_of_ranges(store, ranges)
        described = open_complete(store)
        if described is None:
            return facts_of_own(store, features_file)
        check_digest(store, layout.FEATURES_CSV, described.facts["sha256"][layout.FEATURES_CSV])
    except (DamagedError, FileNotFoundError) as error:
        raise DamagedError(f"{error} Make it again (run_mode=1), or put the file back.") from None
    return {name: described.facts[name] for name in FACTS} | {"counts": counts_of(described.entries)}


def _facts_of_ranges(store: Store, ranges: list[FeatureSet]) -> dict[str, Any]:
    if store.exists(layout.FEATURES):
        merged = open_merged(store)
        if merged is None or merged.facts["list_sha256"] != ranges[0].facts["list_sha256"]:
            raise InputError(
                f"{store.location!r} has {layout.FEATURES} and also ranges of another list: take one or the other away."
            )
    facts = merge_ranges(store, ranges)
    return facts | {"counts": counts_of(pa.concat_tables(part.entries for part in ranges))}


def facts_of_own(store: Store, features_file: str) -> dict[str, Any]:
    """Of features that no run of ours describes: made by `save_binary_feature`, or by somebody else."""
    for name in (features_file, features_file + ".csv"):
        if not store.exists(name):
            raise InputError(f"No {name} in {store.location!r}; name a work_dir of run mode 1, or a features file.")
    _check_own(store)
    n = len(read_names(store.fetch(features_file + ".csv")))
    d = dimensions(store.fetch(features_file), n)
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
    rows = unit_rows(map_features(store, features_file, d))
    index = make_index(config, len(rows), d, config.cores)
    kept = _kept(store, config, features_file, index) if len(rows) > Kept.block else None
    if kept and kept.has_index():
        index.restore(rows, store.fetch(layout.FAISS_INDEX))
    else:
        index.add(rows)
        with store.create(layout.FAISS_INDEX) as path:
            index.save(path)
        if kept:
            kept.keep_index()
    if config.compute == "gpu":
        index.to_gpu(config.nearest_neighbors_k + SPARE)
    return store_neighbors(store, neighbors_within(index, rows, config.nearest_neighbors_k, kept))


def _kept(store: Store, config: RunConfig, features_file: str, index: NeighborIndex) -> Kept:
    asked = config.model_dump(include={"nn_provider", "faiss_param", "distance", "nearest_neighbors_k", "compute"})
    features = digest_of(store, features_file)
    return Kept(store, asked | {"index": index.name, "features": features, "version": __version__})


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
        remove_turned(store)
    write_config(store, config)
    if config.report:
        write_report(store, summary, thumbnails=config.thumbnails)
    else:
        store.remove(layout.REPORT)
    summary["seconds"] = summary["seconds"] | {"outputs": round(time.monotonic() - start, 3)}
    return write_summary(store, summary)


def write_summary_only(store: Store, config: RunConfig, summary: dict[str, Any]) -> dict[str, Any]:
    """What a run leaves that ends with the features: they, and nothing that an earlier run made of others."""
    for name in AFTER_FEATURES:
        store.remove(name)
    store.remove_if_empty(os.path.dirname(layout.REPORT))
    write_config(store, config)
    return write_summary(store, summary)


def counts_of(entries: pa.Table) -> dict[str, int]:
    return {
        "entries": entries.num_rows,
        "images": int(entries["rows"].to_numpy().sum()),
        "bad": entries.num_rows - entries["error_code"].null_count,
    }


def load_images(store: Store, features_file: str, files: PictureSet, config: RunConfig | None = None) -> Images:
    """The images of a features file of the set `files`, in its order; config: may know more of them."""
    images = map_images(store, features_file, files)
    if config is None:
        return images
    uris = images.entries["uri"].cast(pa.large_binary()) if config.labels or config.reference else None
    reference = pa.array(are_references(config.reference, images.names, uris)) if config.reference else None
    return replace(images, labels=labels_of(config.labels, images.names, uris), reference=reference)


def write_config(store: Store, config: RunConfig, files: PictureSet = INDEXED) -> None:
    with store.create(files.of(layout.CONFIG)) as path:
        content = {name: _printable(value) for name, value in config.model_dump().items()}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _printable(value: Any) -> Any:
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return redact(printable(value)) if isinstance(value, str) else value


def write_summary(store: Store, summary: dict[str, Any], files: PictureSet = INDEXED) -> dict[str, Any]:
    """Puts summary.json with the digests of all else; what was scored against an earlier index goes then."""
    own = summary.get("features_file", layout.FEATURES)
    more = {INDEXED: (own, own + ".csv"), SCORED: layout.KEPT, TURNED: ()}
    names = {*map(files.of, DIGESTED), *more[files]}
    summary = summary | {"sha256": {n: file_sha256(store.fetch(n)) for n in sorted(names) if store.exists(n)}}
    write_json(store, files.of(layout.SUMMARY), summary)
    if files is INDEXED:
        remove_scoring(store)
    return summary


def was_scored(store: Store) -> bool:
    """Whether files that begin with `test_` are of a scoring, finished or not."""
    return any(store.exists(mark) for mark in MARKS_OF_SCORING)


def remove_scoring(store: Store) -> None:
    """Takes away what an earlier scoring left, finished or not; files of the user's own with such names stay."""
    if was_scored(store):
        for name in (*OF_SCORING, *MARKS_OF_SCORING):
            store.remove(name)


def remove_turned(store: Store) -> None:
    """Takes away what a run with `invariant` left; files of the user's own with such names stay."""
    if store.exists(layout.INVARIANT_CSV) or store.exists(TURNED.of(layout.SUMMARY)):
        for name in (*FEATURE_FILES, layout.SHARDS, layout.SUMMARY):
            store.remove(TURNED.of(name))
        store.remove(layout.INVARIANT_CSV)
