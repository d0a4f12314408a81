"""Search stage: the neighbors of all images by one index, as a plain function over a work_dir.

`partitioned_search` is the other way to find them, for more images than one index takes.
"""

from dataclasses import replace
from typing import Any

from fastdup_ray.common import layout
from fastdup_ray.config import RunConfig
from fastdup_ray.neighbors import make_index
from fastdup_ray.neighbors.checkpoint import SearchCheckpoint, get_features_digest
from fastdup_ray.neighbors.kept_neighbors import (
    KEPT_ABOVE,
    keep_neighbors,
    load_kept_neighbors,
    remove_kept_neighbors,
)
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, store_neighbors
from fastdup_ray.neighbors.search import SPARE, check_unit_length, find_neighbors_within
from fastdup_ray.neighbors.search_plan import SearchPlan, plan_search
from fastdup_ray.outputs.basis import describe_libraries, hash_code
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file
from fastdup_ray.storage.feature_rows import map_features, map_whole
from fastdup_ray.system.memory import measure_free_memory


def search_neighbors(store: Store, config: RunConfig, features_file: str, d: int) -> StoredNeighbors:
    """Build faiss.index over the features and find the neighbors of each; resume a search that was killed.

    Args:
        store: The work_dir.
        config: Of the run.
        features_file: Name of the features file, n embeddings of `d` float32.
        d: Numbers of an embedding.

    Returns:
        The neighbors of all n images, in files.

    Raises:
        DamagedError: Some numbers of the features are not finite.
    """
    n = len(map_features(store, features_file, d))
    plan = plan_search(config, n, d, measure_free_memory())
    is_long, is_kept = n > SearchCheckpoint.block, n > KEPT_ABOVE
    key = _make_key(store, config, features_file, plan) if is_long or is_kept else {}
    if (kept := find_kept(store, config, key if is_kept else None)) is not None:
        return kept
    embeddings = check_unit_length(map_whole(store, features_file, d))
    index = make_index(config, plan, config.cores)
    checkpoint = SearchCheckpoint(store, key) if is_long else None
    sha256 = checkpoint.find_index() if checkpoint else None
    if sha256:
        index.restore(embeddings, store.fetch(layout.FAISS_INDEX))
    else:
        index.add(embeddings)
        with store.create(layout.FAISS_INDEX) as path:
            index.save(path)
            sha256 = hash_file(path)
        if checkpoint:
            checkpoint.save_index(sha256)
    if config.compute == "gpu":
        index.to_gpu(config.nearest_neighbors_k + SPARE)
    neighbors = find_neighbors_within(index, embeddings, config.nearest_neighbors_k, checkpoint)
    stored = replace(store_neighbors(store, neighbors, plan=plan, kept=is_kept), index_sha256=sha256)
    return keep_neighbors(store, key, stored) if is_kept else stored


def find_kept(store: Store, config: RunConfig, key: dict[str, Any] | None) -> StoredNeighbors | None:
    """Return the neighbors that an earlier run has found, and that are those of a search; remove any others.

    Args:
        store: The work_dir.
        config: Of the run.
        key: Everything that the neighbors depend on; None if they are few and not kept.
    """
    kept = load_kept_neighbors(store, key) if key is not None and config.reuse else None
    if kept is None:
        remove_kept_neighbors(store)
    return kept


def describe_code() -> dict[str, str]:
    """Return what neighbors depend on besides features and parameters, as a part of their key."""
    return {"code": hash_code(), "libraries": describe_libraries()}


def _make_key(store: Store, config: RunConfig, features_file: str, plan: SearchPlan) -> dict[str, Any]:
    parameters = config.model_dump(include={"nn_provider", "faiss_param", "distance", "nearest_neighbors_k", "compute"})
    return parameters | {"index": plan.index, "features": get_features_digest(store, features_file)} | describe_code()
