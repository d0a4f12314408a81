"""Run modes 3 and 4: new images against an indexed set, as plain functions over its work_dir.

Files of the new images begin with `test_`. The outputs of the indexed set stay, except that similarity.csv and its
Parquet twin are renamed: the specification wants the new pairs under these names.
"""

import os
import shutil
import time

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts, RunSummary, begin_summary
from fastdup_ray.common.layout import INDEXED, SCORED
from fastdup_ray.config import RunConfig
from fastdup_ray.features import (
    LookupResult,
    combine_ranges,
    combine_shards,
    merge_sets,
    open_complete,
    open_range,
    open_ranges,
    read_names,
    write_bad,
    write_embeddings,
    write_names,
)
from fastdup_ray.neighbors import load_index
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, store_neighbors
from fastdup_ray.neighbors.search import SPARE, check_unit_length, find_neighbors_of
from fastdup_ray.outputs.images import load_images
from fastdup_ray.outputs.results import write_scored_results
from fastdup_ray.outputs.stored_config import write_config
from fastdup_ray.outputs.summary import write_summary
from fastdup_ray.runs.indexed_set import add_advice, check_comparable, find_train_similarity, read_indexed_facts
from fastdup_ray.runs.merge_stage import count_entries, describe_own_features, select_reusable_facts
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import check_digest, write_json
from fastdup_ray.storage.feature_rows import has_features, map_whole, open_features


def import_query_features(store: Store, location: str, largest: int) -> RunSummary:
    """Copy features for mode 4 to test_features.dat.

    Args:
        store: The work_dir of the indexed set.
        location: A features file, or its folder: of mode 1 (also a range of it), or of `save_binary_feature`.
        largest: See `merge_sets`.

    Returns:
        The facts of the features, and their counts.

    Raises:
        InputError: There are no features, or they cannot be compared with the indexed ones.
        DamagedError: A file is damaged or missing.
    """
    indexed = read_indexed_facts(store)
    source, name = open_features(location, store.access)
    with add_advice("Extract the features again (run_mode=1), or put the file back."):
        described = _read_described(source, name)
    if described is not None:
        facts, lookup = described
        check_comparable(indexed, facts)
        with add_advice("Run again once nothing else writes there."):
            merge_sets(store, lookup, facts, SCORED, largest)
        return begin_summary(select_reusable_facts(facts)) | {"counts": count_entries([lookup.stored])}
    summary = describe_own_features(source, name)
    check_comparable(indexed, summary)
    _copy_own_features(source, name, summary, store)
    return summary


def _read_described(source: Store, name: str) -> tuple[FeatureFacts, LookupResult] | None:
    """Return facts and entries of features that a run described, or None for other features."""
    if layout.parse_range(name):
        stem = name.removesuffix(".dat")
        part = open_range(source, stem)
        return part.facts, combine_shards(source, [stem], [part])
    for files in layout.FILE_SETS:
        if name == files.name(layout.FEATURES) and (whole := open_complete(source, files)):
            for beside in (layout.FEATURES_CSV, layout.BAD_CSV):
                check_digest(source, files.name(beside), whole.facts["sha256"][files.name(beside)])
            return whole.facts, combine_shards(source, [name.removesuffix(".dat")], [whole])
    if name == layout.FEATURES and not has_features(source, name) and (ranges := open_ranges(source)):
        return combine_ranges(source, ranges)
    return None


def _copy_own_features(source: Store, name: str, facts: RunSummary, store: Store) -> None:
    """Copy features that no run described, and that have no manifest."""
    features, names = map_whole(source, name, facts["d"]), read_names(source.fetch(name + ".csv"))
    store.remove(SCORED.name(layout.MANIFEST))
    write_json(store, SCORED.name(layout.MERGED), facts)  # marks the files written next as those of a scoring
    with store.create(SCORED.name(layout.FEATURES)) as path:
        write_embeddings(path, [features])
    write_names(store, SCORED.name(layout.FEATURES_CSV), [names])
    for bad in (layout.BAD_CSV, layout.BAD_CSV_TWIN):
        write_bad(store, SCORED.name(bad), [])


def search_indexed(store: Store, config: RunConfig, d: int) -> StoredNeighbors:
    """Find the nearest indexed images of each new one.

    Args:
        store: The work_dir, with faiss.index and test_features.dat.
        config: Of the scoring.
        d: Numbers of an embedding.

    Returns:
        The neighbors of all n new images, in files.
    """
    features = read_indexed_facts(store)["features_file"]
    index = load_index(store.fetch(layout.FAISS_INDEX), config, config.cores)
    if config.compute == "gpu":
        index.to_gpu(config.nearest_neighbors_k + SPARE)
    indexed, new = (map_whole(store, name, d) for name in (features, SCORED.name(layout.FEATURES)))
    queries = check_unit_length(new) if len(new) else new
    return store_neighbors(
        store, find_neighbors_of(index, check_unit_length(indexed), queries, config.nearest_neighbors_k), SCORED
    )


def write_scored_outputs(
    store: Store, config: RunConfig, neighbors: StoredNeighbors, summary: RunSummary
) -> RunSummary:
    """Write the outputs of a scoring; test_summary.json comes last.

    Args:
        store: The work_dir.
        config: Of the scoring.
        neighbors: Of the new images, among the indexed ones.
        summary: What is known of the scoring so far.

    Returns:
        The whole summary, as in test_summary.json.
    """
    start = time.monotonic()
    facts = read_indexed_facts(store)
    images = load_images(store, SCORED.name(layout.FEATURES), SCORED, config)
    indexed = load_images(store, facts["features_file"], INDEXED, config)
    _back_up(store, facts["sha256"])
    store.remove(layout.LEAKAGE_CSV)
    counts = summary["counts"] | write_scored_results(store, config, images, indexed, neighbors.open(store))
    summary = {**summary, "counts": counts, "neighbors": neighbors.summary}
    write_config(store, config, SCORED)
    if config.report:
        from fastdup_ray.report.page import write_report  # late: it takes a third of a second to import

        write_report(store, summary, SCORED, thumbnails=config.thumbnails, began=start)
    else:
        store.remove(os.path.dirname(SCORED.name(layout.REPORT)))
    summary["seconds"] = summary["seconds"] | {"outputs": round(time.monotonic() - start, 3)}
    return write_summary(store, summary, SCORED)


def _back_up(store: Store, sha256: dict[str, str]) -> None:
    """Copy what a scoring replaces, once, so that it is there under at least one name whenever the process dies."""
    for name, current in find_train_similarity(store, sha256).items():
        if current == name:
            with store.create(layout.TRAIN_BACKUP[name]) as path:
                shutil.copyfile(store.fetch(name), path)
