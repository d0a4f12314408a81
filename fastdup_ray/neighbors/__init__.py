"""Nearest neighbours of rows of length 1.

A new provider is one class of the protocol `NeighborIndex`, and one line in `make_index`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from fastdup_ray.config import AUTO, RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.neighbors.exact_and_lsh import BallTree, Lsh
from fastdup_ray.neighbors.faiss_factory import check_parameters, list_parameters
from fastdup_ray.neighbors.faiss_index import FaissIndex
from fastdup_ray.neighbors.index_selection import PARTITIONED, choose_ef_search, choose_index
from fastdup_ray.neighbors.int8_bruteforce import Int8Index
from fastdup_ray.neighbors.metrics import MANHATTAN


class NeighborIndex(Protocol):
    """xb, xq: (nb, d), (nq, d) float32 of length 1; D: (nq, k) values of its own; I: (nq, k) rows of xb, -1 for none.

    n, d: rows that it holds, and their length. exact: whether it finds the true nearest by `metric`. why: it was taken.
    unused: names in faiss_param that it does not have.
    """

    name: str
    why: str
    metric: str
    n: int
    d: int
    exact: bool
    unused: Sequence[str]

    def add(self, xb: np.ndarray) -> None:
        """All rows at once: an HNSW graph of several calls finds less."""

    def restore(self, xb: np.ndarray, path: Path) -> None:
        """The same, where `save` has left at `path` what an equal index became by it."""

    def candidates(self, k: int) -> int:
        """How many to ask for, so that the k nearest are among them."""

    def search(self, xq: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]: ...

    def save(self, path: Path) -> None: ...

    def to_gpu(self, k: int) -> None:
        """Looks for `k` neighbours on the GPU from now on, if it can; `why` tells."""


def check_search(config: RunConfig, d: int | None = None) -> None:
    """Raises `ConfigError` where metric, provider, faiss_mode and faiss_param do not go together.

    d: the length of the rows, where it is known yet.
    """
    mode = config.faiss_mode
    if config.nn_provider == "turi":
        if config.nnmodel == "lsh" and config.distance == MANHATTAN:
            raise ConfigError(
                "distance='manhattan' is not possible with nnmodel='lsh': take brute_force or ball_tree, "
                "or Flat or HNSW32 of nn_provider='faiss'."
            )
        check_parameters(config.faiss_param)
    elif mode == PARTITIONED and config.distance == MANHATTAN:
        raise ConfigError(f"distance='manhattan' is not possible with faiss_mode='{PARTITIONED}': take Flat or HNSW32.")
    elif d is None or mode in (None, AUTO, PARTITIONED):
        check_parameters(config.faiss_param)
    else:
        check_parameters(config.faiss_param, f"{mode} has", list_parameters(mode, d, config.distance))


def make_index(config: RunConfig, n: int, d: int, threads: int) -> NeighborIndex:
    """The index, still empty, for n rows of d numbers; raises `ConfigError`."""
    check_search(config, d)
    choice = choose_index(config, n, d)
    if choice.name == BallTree.name:
        return BallTree(d, threads, config.distance, choice.why)
    if choice.name == Lsh.name:
        return Lsh(d, threads, config.distance, choice.why)
    parameters = check_parameters(config.faiss_param) if config.nn_provider == "faiss" else {}
    if choice.name == Int8Index.name:
        return Int8Index(d, threads, config.distance, choice.why, unused=list(parameters))
    ef = choose_ef_search(config.nearest_neighbors_k)
    return FaissIndex(choice.name, d, parameters, threads, config.distance, choice.why, ef)


def load_index(path: Path, config: RunConfig, threads: int) -> NeighborIndex:
    """The index of an earlier run, with the search parameters of this one; raises `DamagedError` for any other file.

    It is searched whatever provider and faiss_mode this run names.
    """
    return FaissIndex.load(path, check_parameters(config.faiss_param), threads, config.distance)
