"""Run modes 3 and 4: new pictures against an indexed set, as plain functions over its work_dir.

What belongs to the new pictures stands in files that begin with `test_`. Of the indexed set nothing is touched, but
that similarity.csv and its parquet twin are kept under another name, as the specification wants the new pairs in them.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts, RunSummary, SearchSummary, begin_summary
from fastdup_ray.common.layout import INDEXED, SCORED
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import DamagedError, InputError, WorkDirError
from fastdup_ray.features import (
    LookupResult,
    combine_ranges,
    combine_shards,
    map_features,
    merge_sets,
    open_complete,
    open_ranges,
    open_shard,
    read_names,
    write_bad,
    write_embeddings,
    write_names,
)
from fastdup_ray.inputs.manifest import ENTRIES
from fastdup_ray.neighbors import load_index
from fastdup_ray.neighbors.index_selection import USABLE_SHARE, estimate_index_bytes
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, store_neighbors
from fastdup_ray.neighbors.search import SPARE, check_unit_length, find_neighbors_of
from fastdup_ray.outputs.results import write_scored_results
from fastdup_ray.report.page import write_report
from fastdup_ray.runs.steps import (
    count_entries,
    describe_own_features,
    load_images,
    select_reusable_facts,
    write_config,
    write_summary,
)
from fastdup_ray.storage import Store, open_file
from fastdup_ray.storage.checked_json import check_digest, hash_file, write_json
from fastdup_ray.storage.facts import read_summary

RUN_AGAIN = "Run run_mode=0 on the indexed pictures again, or run_mode=2 on their features."

MAY_DIFFER = ("onnxruntime", "cpu", "compute")
"""Parts of a fingerprint that change a row by no more than rounding: an index may be scored against on any machine."""


def read_indexed_facts(store: Store) -> RunSummary:
    """summary.json of the run that made the index; raises `InputError`, `DamagedError`."""
    with _add_advice(RUN_AGAIN):
        facts = read_summary(store) if store.exists(layout.SUMMARY) else RunSummary()
    if facts.get("neighbors", SearchSummary()).get("faiss_index") is False:
        raise InputError(
            f"The images of {store.location!r} are so many that they were searched in partitions, without a "
            f"{layout.FAISS_INDEX}; make one in a copy of it (run_mode=2, faiss_mode='IVF65536,SQ8')."
        )
    if "neighbors" not in facts or not store.exists(layout.FAISS_INDEX):
        raise InputError(
            f"{store.location!r} has no finished run with a {layout.FAISS_INDEX}; make one first, with run_mode=0 or 2."
        )
    return {"features_file": layout.FEATURES, **facts}


def measure_index_bytes(store: Store) -> int:
    """Of the node that searches the stored index."""
    facts = read_indexed_facts(store)
    return int(estimate_index_bytes(facts["neighbors"]["index"], facts["n"], facts["d"]) / USABLE_SHARE)


def check_before_work(store: Store, model: FeatureFacts) -> None:
    """Raises a `FastdupError` where new pictures cannot be scored here; model: facts of rows that are to be made."""
    indexed = read_indexed_facts(store)
    if model and "fingerprint" not in indexed:
        raise InputError(
            f"{store.location!r} has an index of features of your own, by a model that is not known; "
            "score features of the same model (run_mode=4)."
        )
    _refuse_others(indexed, model)
    ours = any(store.exists(SCORED.name(name)) for name in (layout.SUMMARY, layout.MERGED))
    if store.exists(SCORED.name(layout.FEATURES)) and not ours:
        raise WorkDirError(
            f"{store.location!r} has a {SCORED.name(layout.FEATURES)} of your own, which a scoring would replace; "
            "move it elsewhere."
        )


def _refuse_others(indexed: FeatureFacts, facts: FeatureFacts) -> None:
    """`InputError` where features with `facts`, as far as they are known, cannot be compared with the indexed ones."""
    if facts.get("d", indexed["d"]) != indexed["d"]:
        raise InputError(f"The new features have rows of {facts['d']} numbers, the indexed ones of {indexed['d']}.")
    ours, theirs = facts.get("fingerprint"), indexed.get("fingerprint")
    if ours is None or theirs is None:
        return  # features of somebody's own: who made them knows what they are
    for name in sorted({*ours, *theirs} - {*MAY_DIFFER}):
        if ours.get(name) != theirs.get(name):
            raise InputError(
                f"The new features are by another {name.replace('_', ' ')} ({ours.get(name)}) than the indexed ones "
                f"({theirs.get(name)}); make one of them again with that of the other."
            )


def check_indexed(store: Store) -> None:
    """Raises `DamagedError` where the index, its features or their names are not what the run wrote."""
    facts = read_indexed_facts(store)
    sha256, features = facts["sha256"], facts["features_file"]
    with _add_advice(RUN_AGAIN):
        for name in (features, features + ".csv", layout.FAISS_INDEX, layout.MANIFEST):
            if name in sha256:
                check_digest(store, name, sha256[name])
        _find_train_similarity(store, sha256)


@contextmanager
def _add_advice(advice: str) -> Iterator[None]:
    try:
        yield
    except (DamagedError, FileNotFoundError) as error:
        raise DamagedError(f"{error} {advice}") from None


# Run mode 4


def import_query_features(store: Store, location: str) -> RunSummary:
    """Copies features that the user named, a file or its folder, to test_features.dat; returns the facts of them.

    They are of run mode 1 (a range of it, too) or of `save_binary_feature`. Raises `InputError`, `DamagedError`.
    """
    indexed = read_indexed_facts(store)
    source, name = open_file(location, layout.FEATURES)
    with _add_advice("Make it again (run_mode=1), or put the file back."):
        described = _read_described(source, name)
    if described is not None:
        facts, uris, found = described
        _refuse_others(indexed, facts)
        with _add_advice("Run again, once nothing else writes there."):
            merge_sets(store, uris, found, facts, SCORED)
        return begin_summary(select_reusable_facts(facts)) | {"counts": count_entries(found.entries)}
    summary = describe_own_features(source, name)
    _refuse_others(indexed, summary)
    _copy_own_features(source, name, summary, store)
    return summary


def _read_described(source: Store, name: str) -> tuple[FeatureFacts, pa.ChunkedArray, LookupResult] | None:
    """Facts, names and entries of features that a run of ours describes; None of others."""
    if layout.parse_range(name):
        stem = name.removesuffix(".dat")
        part = open_shard(source, stem)
        return part.facts, *combine_shards(source, [stem], [part])
    for files in layout.FILE_SETS:
        if name == files.name(layout.FEATURES) and (whole := open_complete(source, files)):
            for beside in (layout.FEATURES_CSV, layout.BAD_CSV):
                check_digest(source, files.name(beside), whole.facts["sha256"][files.name(beside)])
            return whole.facts, *combine_shards(source, [name.removesuffix(".dat")], [whole])
    if name == layout.FEATURES and not source.exists(name) and (ranges := open_ranges(source)):
        return combine_ranges(source, ranges)
    return None


def _copy_own_features(source: Store, name: str, facts: RunSummary, store: Store) -> None:
    """Features that no run of ours describes, and so without a manifest."""
    features, names = map_features(source, name, facts["d"]), read_names(source.fetch(name + ".csv"))
    store.remove(SCORED.name(layout.MANIFEST))
    write_json(
        store, SCORED.name(layout.MERGED), facts
    )  # says from now on that what comes to stand here is a scoring's
    with store.create(SCORED.name(layout.FEATURES)) as path:
        write_embeddings(path, [features])
    write_names(store, SCORED.name(layout.FEATURES_CSV), names)
    for bad in (layout.BAD_CSV, layout.BAD_CSV_TWIN):
        write_bad(store, SCORED.name(bad), names.slice(0, 0), ENTRIES.empty_table())


# Both


def search_indexed(store: Store, config: RunConfig, d: int) -> StoredNeighbors:
    """The nearest indexed images of each new one."""
    features = read_indexed_facts(store)["features_file"]
    index = load_index(store.fetch(layout.FAISS_INDEX), config, config.cores)
    if config.compute == "gpu":
        index.to_gpu(config.nearest_neighbors_k + SPARE)
    indexed, new = (map_features(store, name, d) for name in (features, SCORED.name(layout.FEATURES)))
    queries = check_unit_length(new) if len(new) else new
    return store_neighbors(
        store, find_neighbors_of(index, check_unit_length(indexed), queries, config.nearest_neighbors_k), SCORED
    )


def write_scored_outputs(
    store: Store, config: RunConfig, neighbors: StoredNeighbors, summary: RunSummary
) -> RunSummary:
    """The final task of a scoring: everything that people read. test_summary.json comes last."""
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
        write_report(store, summary, SCORED, thumbnails=config.thumbnails)
    else:
        store.remove(os.path.dirname(SCORED.name(layout.REPORT)))
    summary["seconds"] = summary["seconds"] | {"outputs": round(time.monotonic() - start, 3)}
    return write_summary(store, summary, SCORED)


def _back_up(store: Store, sha256: dict[str, str]) -> None:
    """Copies what a scoring replaces, once: whenever it dies, the indexed set's is there under one name or both."""
    for name, found in _find_train_similarity(store, sha256).items():
        if found == name:
            with store.create(layout.TRAIN_BACKUP[name]) as path:
                shutil.copyfile(store.fetch(name), path)


def _find_train_similarity(store: Store, sha256: dict[str, str]) -> dict[str, str]:
    """File of the indexed set -> the name under which it is there now; its digest tells it from a scoring's."""
    found = {}
    for name, kept in layout.TRAIN_BACKUP.items():
        there = (place for place in (kept, name) if store.exists(place))
        place = next((place for place in there if hash_file(store.fetch(place)) == sha256.get(name)), None)
        if place is None:
            raise DamagedError(f"Neither {kept} nor {name} in {store.location!r} is the indexed set's.")
        found[name] = place
    return found
