"""Outputs stage: write everything that people read, as plain functions over a work_dir. summary.json comes last."""

import os
import time

from fastdup_ray.common import layout
from fastdup_ray.common.facts import RunSummary, SearchSummary
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.config import RunConfig
from fastdup_ray.curation.count_duplicates import count_duplicates
from fastdup_ray.curation.current_run import view_current_run
from fastdup_ray.curation.suggest import SuggestedPlan
from fastdup_ray.inputs import ReadEntry
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.outputs.basis import make_basis
from fastdup_ray.outputs.changes import write_changes
from fastdup_ray.outputs.images import load_images
from fastdup_ray.outputs.results import write_results
from fastdup_ray.outputs.stored_config import write_config
from fastdup_ray.outputs.summary import FILES_AFTER_FEATURES, remove_transforms, write_summary
from fastdup_ray.storage import Store
from fastdup_ray.storage.feature_rows import map_features


def write_outputs(
    store: Store,
    config: RunConfig,
    features_file: str,
    neighbors: StoredNeighbors,
    summary: RunSummary,
    read: ReadEntry | None = None,
) -> RunSummary:
    """Write the outputs of a run that has found its neighbors.

    Args:
        store: The work_dir.
        config: Of the run.
        features_file: Name of the features file.
        neighbors: Of all its images.
        summary: What is known of the run so far.
        read: Reads the images; by default, by their names.

    Returns:
        The whole summary, as in summary.json.
    """
    start = time.monotonic()
    images = load_images(store, features_file, INDEXED, config)
    features = map_features(store, features_file, summary["d"])
    found = neighbors.open(store).nearest(config.nearest_neighbors_k)
    results = write_results(store, config, images, features, found, read)
    write_config(store, config)
    plan = SuggestedPlan.by_default(view_current_run(store, images, features, found, results))
    duplicates = count_duplicates(plan, results, store.scratch)
    counts = summary["counts"] | results.counts | duplicates.to_counts()
    search: SearchSummary = {**neighbors.summary, "k": min(neighbors.summary["k"], config.nearest_neighbors_k)}
    summary = {**summary, "counts": counts, "neighbors": search, "features_file": features_file}
    if neighbors.index_sha256:
        summary["sha256"] = summary.get("sha256", {}) | {layout.FAISS_INDEX: neighbors.index_sha256}
    if config.incremental:
        summary["changes"] = write_changes(store)
    else:
        store.remove(layout.CHANGES_CSV)
    if not config.invariant:
        remove_transforms(store)
    unreadable = 0
    if config.report:
        from fastdup_ray.report.last_thumbnails import read_last_thumbnails
        from fastdup_ray.report.page import write_report  # late: it takes a third of a second to import

        last = read_last_thumbnails(store, config)
        unreadable = write_report(store, summary, plan=plan, thumbnails=config.thumbnails, last=last, began=start)
    else:
        store.remove(layout.REPORT)
    if config.run_mode == 0 and not unreadable and (basis := make_basis(store, config)):  # else it is written again
        summary["basis"] = basis
    summary["seconds"] = summary["seconds"] | {"outputs": round(time.monotonic() - start, 3)}
    return write_summary(store, summary)


def write_summary_only(store: Store, config: RunConfig, summary: RunSummary) -> RunSummary:
    """Write config.json and summary.json of a run that ends with the features.

    Outputs that an earlier run computed from other features are removed; the neighbors that it has kept stay.
    """
    for name in FILES_AFTER_FEATURES:
        store.remove(name)
    store.remove_if_empty(os.path.dirname(layout.REPORT))
    write_config(store, config)
    return write_summary(store, summary)
