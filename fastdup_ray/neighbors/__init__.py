"""Nearest neighbours of unit-length rows, by the inner product.

A new provider is one file with a class of the protocol `NeighborIndex`, and one line in `make_index`.
"""

from pathlib import Path
from typing import Protocol

import numpy as np

from fastdup_ray.config import RunConfig
from fastdup_ray.neighbors.faiss_index import FaissIndex, check_parameters

FLAT, HNSW = "Flat", "HNSW32"

FLAT_UP_TO = 50_000
"""Rows up to which the exact index is as fast as HNSW32 (50,000 x 576 on two cores: 15 s and 12 s)."""


class NeighborIndex(Protocol):
    """xb, xq: (nb, d), (nq, d) float32 of length 1; D: (nq, k) cosines; I: (nq, k) rows of xb, -1 for none."""

    name: str
    n: int
    d: int
    exact: bool

    def add(self, xb: np.ndarray) -> None:
        """All rows at once: an HNSW graph of several calls finds less."""

    def search(self, xq: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]: ...

    def save(self, path: Path) -> None: ...


def index_name(config: RunConfig, n: int) -> str:
    """Which index a run over n rows uses."""
    if config.nn_provider == "turi":
        return FLAT
    return config.faiss_mode or (FLAT if n <= FLAT_UP_TO else HNSW)


def make_index(config: RunConfig, n: int, d: int, threads: int) -> NeighborIndex:
    parameters = config.faiss_param if config.nn_provider == "faiss" else ""
    return FaissIndex(index_name(config, n), d, check_parameters(parameters), threads)


def load_index(path: Path, config: RunConfig, threads: int) -> NeighborIndex:
    """The index of an earlier run, with the search parameters of this one; raises `DamagedError` for any other file."""
    return FaissIndex.load(path, check_parameters(config.faiss_param), threads)
