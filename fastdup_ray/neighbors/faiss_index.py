"""Faiss indexes behind the protocol `NeighborIndex`."""

import logging
from pathlib import Path
from typing import Self

import faiss
import numpy as np

from fastdup_ray.config import parse_pairs
from fastdup_ray.errors import ConfigError, DamagedError

log = logging.getLogger(__name__)

_ALIASES = {"nprobes": "nprobe"}
_KNOWN = ("efConstruction", "efSearch", "nprobe", "k_factor", "ht")
_OF_INDEX = {"Flat": (), "HNSW32": ("efConstruction", "efSearch")}

EF_SEARCH = 64
"""Candidates that HNSW keeps while it searches, unless faiss_param says otherwise."""


def check_parameters(text: str) -> dict[str, int]:
    """`'efSearch=175,nprobes=200'` as numbers by faiss's own names; raises `ConfigError`."""
    parameters: dict[str, int] = {}
    for given, value in parse_pairs("faiss_param", text).items():
        name = _ALIASES.get(given, given)
        if name not in _KNOWN:
            raise ConfigError(f"faiss_param: faiss does not know {name!r}; it knows {', '.join(_KNOWN)}.")
        if not value.isascii() or not value.isdigit() or int(value) < 1:
            raise ConfigError(f"faiss_param: {given}={value} is not possible: it should be a whole number from 1 on.")
        if parameters.setdefault(name, int(value)) != int(value):
            raise ConfigError(f"faiss_param: {name} is given twice: {parameters[name]} and {value}; give it once.")
    return parameters


class FaissIndex:
    """`name` is a faiss factory string; parameters: as `check_parameters` gives them."""

    def __init__(self, name: str, d: int, parameters: dict[str, int], threads: int):
        self._take(faiss.index_factory(d, name, faiss.METRIC_INNER_PRODUCT), name, parameters, threads)
        if "efSearch" in _OF_INDEX[name] and "efSearch" not in parameters:
            self._index.hnsw.efSearch = EF_SEARCH

    @classmethod
    def load(cls, path: Path, parameters: dict[str, int], threads: int) -> Self:
        """What `save` put at `path`; raises `DamagedError` for anything else."""
        try:
            index = faiss.read_index(str(path))
        except (RuntimeError, MemoryError):
            raise DamagedError(f"{str(path)!r} is no whole faiss index; make it again.") from None
        self = cls.__new__(cls)
        self._take(index, _name_of(index), parameters, threads)
        return self

    def _take(self, index: faiss.Index, name: str, parameters: dict[str, int], threads: int) -> None:
        self._index, self._threads = index, threads
        self.name, self.d, self.exact = name, index.d, name == "Flat"
        for parameter, value in parameters.items():
            if parameter in _OF_INDEX[name]:
                faiss.ParameterSpace().set_index_parameter(self._index, parameter, value)
            else:
                log.warning("faiss_param: %s has no effect: the index %s does not have it.", parameter, name)

    @property
    def n(self) -> int:
        return self._index.ntotal

    def add(self, xb: np.ndarray) -> None:
        faiss.omp_set_num_threads(self._threads if self.exact or _builds_the_same_graph() else 1)
        self._index.add(np.ascontiguousarray(xb, np.float32))

    def search(self, xq: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        faiss.omp_set_num_threads(self._threads)
        return self._index.search(np.ascontiguousarray(xq, np.float32), k)

    def save(self, path: Path) -> None:
        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:  # the words of the operating system stand in brackets at its end
            raise OSError(str(error).rpartition("(")[2].strip(" )\n")) from None


def _name_of(index: faiss.Index) -> str:
    index = faiss.downcast_index(index)
    return f"HNSW{index.hnsw.nb_neighbors(1)}" if isinstance(index, faiss.IndexHNSW) else "Flat"


def _builds_the_same_graph() -> bool:
    """Whether several threads build the HNSW graph that one does; since faiss 1.15 they can, or always do.

    Source: facebookresearch/faiss pull requests 5486 and 5611.
    """
    if hasattr(faiss.cvar, "hnsw_deterministic_build"):
        faiss.cvar.hnsw_deterministic_build = True
        return True
    return hasattr(faiss.HNSW, "merge_reverse_links_deterministic")
