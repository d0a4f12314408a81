"""Search stage: the neighbors of all images by one index, as a plain function over a work_dir.

`partitioned_search` is the other way to find them, for more images than one index takes.
"""

from dataclasses import replace

from fastdup_ray.common import layout
from fastdup_ray.config import RunConfig
from fastdup_ray.neighbors import NeighborIndex, make_index
from fastdup_ray.neighbors.checkpoint import SearchCheckpoint, get_features_digest
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, store_neighbors
from fastdup_ray.neighbors.search import SPARE, check_unit_length, find_neighbors_within
from fastdup_ray.neighbors.search_plan import plan_search
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file
from fastdup_ray.storage.feature_rows import map_whole
from fastdup_ray.system.memory import measure_free_memory
from fastdup_ray.version import __version__


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
    embeddings = check_unit_length(map_whole(store, features_file, d))
    n = len(embeddings)
    plan = plan_search(config, n, d, measure_free_memory())
    index = make_index(config, plan, config.cores)
    checkpoint = _make_checkpoint(store, config, features_file, index) if n > SearchCheckpoint.block else None
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
    return replace(store_neighbors(store, neighbors, plan=plan), index_sha256=sha256)


def _make_checkpoint(store: Store, config: RunConfig, features_file: str, index: NeighborIndex) -> SearchCheckpoint:
    parameters = config.model_dump(include={"nn_provider", "faiss_param", "distance", "nearest_neighbors_k", "compute"})
    features = get_features_digest(store, features_file)
    return SearchCheckpoint(store, parameters | {"index": index.name, "features": features, "version": __version__})
