"""Nearest neighbors of embeddings of unit length.

`search_plan.plan_search` decides which index is used, `make_index` makes it, and `search` finds the neighbors with it.
To add an index, write a class that follows `NeighborIndex` and add it to `make_index`.
"""

from pathlib import Path

from fastdup_ray.config import AUTO, RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.neighbors.exact_and_lsh import BallTree, Lsh
from fastdup_ray.neighbors.faiss_factory import check_parameters, list_parameters
from fastdup_ray.neighbors.faiss_index import FaissIndex
from fastdup_ray.neighbors.int8_bruteforce import Int8Index
from fastdup_ray.neighbors.metrics import MANHATTAN
from fastdup_ray.neighbors.partition_threshold import PARTITIONED
from fastdup_ray.neighbors.protocol import NeighborIndex
from fastdup_ray.neighbors.search_plan import SearchPlan, choose_ef_search

__all__ = ["NeighborIndex", "check_search", "load_index", "make_index"]


def check_search(config: RunConfig, d: int | None = None) -> None:
    """Check that distance, nn_provider, faiss_mode and faiss_param go together.

    Args:
        config: The parameters of the run.
        d: Length of an embedding, or None if it is not known yet.

    Raises:
        ConfigError: If they do not.
    """
    mode = config.faiss_mode
    if config.nn_provider == "turi":
        if config.nnmodel == "lsh" and config.distance == MANHATTAN:
            raise ConfigError(
                "Invalid value for distance: 'manhattan' (not supported by nnmodel='lsh'). Use brute_force or "
                "ball_tree, or nn_provider='faiss' with Flat or HNSW32."
            )
        check_parameters(config.faiss_param)
    elif mode == PARTITIONED and config.distance == MANHATTAN:
        raise ConfigError(
            f"Invalid value for distance: 'manhattan' (not supported by faiss_mode='{PARTITIONED}'). "
            "Use Flat or HNSW32."
        )
    elif d is None or mode in (None, AUTO, PARTITIONED):
        check_parameters(config.faiss_param)
    else:
        check_parameters(config.faiss_param, f"{mode} has", list_parameters(mode, d, config.distance))


def make_index(config: RunConfig, plan: SearchPlan, threads: int) -> NeighborIndex:
    """Return the index of a plan, still empty.

    Args:
        config: The parameters of the run.
        plan: How to search; not one that is partitioned.
        threads: Threads that build and search the index.

    Raises:
        ConfigError: If the parameters do not go together.
    """
    check_search(config, plan.d)
    if plan.index == BallTree.name:
        return BallTree(plan.d, threads, config.distance, plan.why)
    if plan.index == Lsh.name:
        return Lsh(plan.d, threads, config.distance, plan.why)
    parameters = check_parameters(config.faiss_param) if config.nn_provider == "faiss" else {}
    if plan.index == Int8Index.name:
        return Int8Index(plan.d, threads, config.distance, plan.why, unused=list(parameters))
    ef_search = choose_ef_search(config.nearest_neighbors_k)
    return FaissIndex(plan.index, plan.d, parameters, threads, config.distance, plan.why, ef_search)


def load_index(path: Path, config: RunConfig, threads: int) -> NeighborIndex:
    """Load the index of an earlier run, with the search parameters of this one.

    It is searched whatever `nn_provider` and `faiss_mode` this run names.

    Args:
        path: A file that faiss has written.
        config: The parameters of the run.
        threads: Threads that search the index.

    Raises:
        DamagedError: If the file is not a faiss index.
    """
    return FaissIndex.load(path, check_parameters(config.faiss_param), threads, config.distance)
