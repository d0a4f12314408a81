"""Faiss indexes behind the protocol `NeighborIndex`."""

import math
from pathlib import Path
from typing import Self

import faiss
import numpy as np

from fastdup_ray.errors import ConfigError, DamagedError
from fastdup_ray.neighbors.faiss_factory import (
    FAISS_METRIC,
    WHOLE,
    explain_too_few,
    infer_name,
    iter_layers,
    iter_transforms,
    make_empty_index,
    measure_embedding_bytes,
    set_parameter,
    shorten_error,
)
from fastdup_ray.neighbors.faiss_gpu import copy_to_gpu
from fastdup_ray.neighbors.metrics import COSINE

EF_SEARCH = 64
"""Candidates that HNSW keeps while it searches, unless faiss_param says otherwise."""

TRAINING_EMBEDDINGS = 65_536
"""Rows of the seeded sample that an index learns from: 256 for each of the 256 centroids of a byte."""

TRAINING_EMBEDDINGS_PER_LIST = 40
"""Faiss asks for 39."""

ONE_THREAD_UP_TO = 4_096
"""Lists up to which one thread learns them, so that they are always the same; more would take it hours."""

RERANKED = 16
"""Candidates for each neighbour, where the index knows the rows only roughly."""

LEAST_RERANKED = 128

_TRUE = (*WHOLE, faiss.IndexHNSWFlat, faiss.IndexIVFFlat)
"""Compare with the rows themselves."""

_SAME_BY_MORE_THREADS = (*WHOLE, faiss.IndexHNSWFlat, faiss.IndexScalarQuantizer)


def choose_nprobe(lists: int) -> int:
    """Lists to look into; finds 0.98 and more of the neighbours among 20,000 real pictures with 64 to 1,024 lists."""
    return min(lists, math.ceil(4 * math.sqrt(lists)))


class FaissIndex:
    """`name` is a faiss factory string; parameters: as `check_parameters` gives them.

    ef: efSearch of HNSW, where parameters have none. Raises `ConfigError` where faiss cannot make it.
    """

    def __init__(
        self,
        name: str,
        d: int,
        parameters: dict[str, int],
        threads: int,
        metric: str = COSINE,
        why: str = "",
        ef: int = EF_SEARCH,
    ):
        index = make_empty_index(name, d, metric)
        for layer in iter_layers(index):
            if isinstance(layer, faiss.IndexHNSW):
                layer.hnsw.efSearch = ef
            if isinstance(layer, faiss.IndexIVF):
                layer.nprobe = choose_nprobe(layer.nlist)
        self._adopt(index, name, parameters, threads, metric, why)

    @classmethod
    def load(cls, path: Path, parameters: dict[str, int], threads: int, metric: str = COSINE) -> Self:
        """What `save` put at `path`; raises `DamagedError` for anything else."""
        index, name = _read_index(path)
        self = cls.__new__(cls)
        self._adopt(index, name, parameters, threads, metric, "the stored index")
        return self

    def _adopt(
        self, index: faiss.Index, name: str, parameters: dict[str, int], threads: int, metric: str, why: str
    ) -> None:
        self._index, self._threads, self._layers = index, threads, list(iter_layers(index))
        self._searched = index
        self.name, self.d, self.metric, self.why = name, index.d, metric, why
        self._polysemous = "ht" in parameters
        of_metric = index.metric_type == FAISS_METRIC[metric]
        self.exact = of_metric and all(isinstance(layer, WHOLE) for layer in self._layers)
        self._true = of_metric and all(isinstance(layer, _TRUE) for layer in self._layers)
        if self._count_lists() > ONE_THREAD_UP_TO:
            self.why += "; the bytes of faiss.index depend on the number of threads"
        self.unused = [
            parameter for parameter, value in parameters.items() if not set_parameter(index, parameter, value)
        ]

    @property
    def n(self) -> int:
        return self._index.ntotal

    def candidates(self, k: int) -> int:
        return k if self._true else max(RERANKED * k, LEAST_RERANKED)

    def add(self, xb: np.ndarray) -> None:
        xb = np.ascontiguousarray(xb, np.float32)
        faiss.omp_set_num_threads(self._choose_building_threads())
        try:
            if not self._index.is_trained:
                self._train(xb)
            if any(isinstance(layer, faiss.IndexIDMap) for layer in self._layers):
                self._index.add_with_ids(xb, np.arange(self.n, self.n + len(xb)))
            else:
                self._index.add(xb)
        except RuntimeError as error:
            raise ConfigError(explain_too_few(self.name, len(xb), str(error))) from None

    def restore(self, xb: np.ndarray, path: Path) -> None:
        self._index = self._searched = _read_index(path)[0]
        self._layers = list(iter_layers(self._index))

    def _train(self, xb: np.ndarray) -> None:
        size = max(TRAINING_EMBEDDINGS, TRAINING_EMBEDDINGS_PER_LIST * self._count_lists())
        if len(xb) > size:
            xb = xb[np.sort(np.random.default_rng(0).choice(len(xb), size, replace=False))]
        for layer in self._layers:
            _silence(layer)
            if hasattr(layer, "do_polysemous_training"):
                layer.do_polysemous_training = self._polysemous  # minutes, and of use to ht alone
        self._index.train(xb)

    def _count_lists(self) -> int:
        return max((layer.nlist for layer in self._layers if isinstance(layer, faiss.IndexIVF)), default=0)

    def _choose_building_threads(self) -> int:
        """One, where more could make other bytes."""
        if any(isinstance(layer, faiss.IndexHNSW) for layer in self._layers) and not _builds_the_same_graph():
            return 1
        same = all(isinstance(layer, _SAME_BY_MORE_THREADS) for layer in self._layers)
        return self._threads if same or self._count_lists() > ONE_THREAD_UP_TO else 1

    def search(self, xq: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        faiss.omp_set_num_threads(self._threads)
        try:
            return self._searched.search(np.ascontiguousarray(xq, np.float32), k)
        except RuntimeError as error:
            raise ConfigError(
                f"The index {self.name} cannot be searched: {shorten_error(str(error))}; take another faiss_mode."
            ) from None

    def to_gpu(self, k: int) -> None:
        """Searches on the GPU from now on, if it can; `why` tells."""
        candidates = self.candidates(k)
        copy, reason = copy_to_gpu(self._index, self.n * measure_embedding_bytes(self._index), candidates)
        self._searched = copy or self._index
        self.why += "; searched on the GPU" if copy else f"; searched on the CPU: {reason}"

    def save(self, path: Path) -> None:
        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:  # the words of the operating system stand in brackets at its end
            raise OSError(str(error).rpartition("(")[2].strip(" )\n")) from None


def _read_index(path: Path) -> tuple[faiss.Index, str]:
    """With the name of its kind; raises `DamagedError`."""
    try:
        index = faiss.read_index(str(path))
        return index, infer_name(index)
    except (RuntimeError, MemoryError):
        raise DamagedError(f"{str(path)!r} is no whole faiss index; make it again.") from None


def _silence(layer: faiss.Index) -> None:
    """Without faiss's warnings of few rows, which are many lines: the measured recall says more."""
    learners = [layer, *(getattr(layer, name, None) for name in ("pq", "refine_pq", "rq", "lsq", "quantizer"))]
    if isinstance(layer, faiss.IndexPreTransform):
        for transform in iter_transforms(layer):
            if isinstance(transform, faiss.OPQMatrix):
                transform.pq = pq = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
                pq.this.disown()  # faiss has a mere pointer to it
                learners.append(pq)
    for learner in learners:
        learner = faiss.downcast_index(learner) if isinstance(learner, faiss.Index) else learner
        if hasattr(learner, "cp"):
            learner.cp.min_points_per_centroid = 1


def _builds_the_same_graph() -> bool:
    """Whether several threads build the HNSW graph that one does; since faiss 1.15 they can, or always do.

    Source: facebookresearch/faiss pull requests 5486 and 5611.
    """
    if hasattr(faiss.cvar, "hnsw_deterministic_build"):
        faiss.cvar.hnsw_deterministic_build = True
        return True
    return hasattr(faiss.HNSW, "merge_reverse_links_deterministic")
