"""Faiss indexes that follow the protocol `NeighborIndex`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np

from fastdup_ray.common.arrays import FloatArray, IntArray
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
"""efSearch of HNSW, unless faiss_param sets it."""

TRAINING_EMBEDDINGS = 65_536
"""Size of the seeded sample that an index is trained on: 256 for each of the 256 centroids of a byte."""

TRAINING_EMBEDDINGS_PER_LIST = 40
"""Size of the sample for each list of IVF; faiss asks for 39."""

ONE_THREAD_UP_TO = 4_096
"""Lists of IVF up to which one thread trains them, so that the result is always the same; more would take hours."""

RERANKED = 16
"""Candidates for each neighbor, if the index stores the embeddings with loss."""

LEAST_RERANKED = 128

_EXACT_DISTANCES = (*WHOLE, faiss.IndexHNSWFlat, faiss.IndexIVFFlat)
"""Indexes that compare with the embeddings themselves."""

_SAME_WITH_MORE_THREADS = (*WHOLE, faiss.IndexHNSWFlat, faiss.IndexScalarQuantizer)
"""Indexes whose bytes do not depend on how many threads build them."""


def choose_nprobe(lists: int) -> int:
    """Return how many lists of IVF to probe.

    With these, 64 to 1,024 lists give 0.98 and more of the neighbors among 20,000 photos.
    """
    return min(lists, math.ceil(4 * math.sqrt(lists)))


class FaissIndex:
    """An index of faiss.

    Args:
        name: Factory string.
        d: Length of an embedding.
        parameters: What `check_parameters` returns.
        threads: Threads that build and search the index.
        metric: Metric that the neighbors are ranked by.
        why: Why this index was chosen, for people.
        ef: efSearch of HNSW, unless the parameters set it.

    Raises:
        ConfigError: If faiss cannot make the index.
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
    ) -> None:
        index = make_empty_index(name, d, metric)
        for layer in iter_layers(index):
            if isinstance(layer, faiss.IndexHNSW):
                layer.hnsw.efSearch = ef
            if isinstance(layer, faiss.IndexIVF):
                layer.nprobe = choose_nprobe(layer.nlist)
        self._adopt(index, name, parameters, threads, metric, why)

    @classmethod
    def load(cls, path: Path, parameters: dict[str, int], threads: int, metric: str = COSINE) -> Self:
        """Load an index that `save` has written.

        Raises:
            DamagedError: If the file is not a faiss index.
        """
        index, name = _read_index(path)
        self = cls.__new__(cls)
        self._adopt(index, name, parameters, threads, metric, "the stored index")
        return self

    def _adopt(
        self, index: faiss.Index, name: str, parameters: dict[str, int], threads: int, metric: str, why: str
    ) -> None:
        self._index, self._threads, self._layers = index, threads, list(iter_layers(index))
        self._searched_index = index
        self.name, self.d, self.metric, self.why = name, index.d, metric, why
        self._polysemous = "ht" in parameters
        same_metric = index.metric_type == FAISS_METRIC[metric]
        self.exact = same_metric and all(isinstance(layer, WHOLE) for layer in self._layers)
        self._exact_distances = same_metric and all(isinstance(layer, _EXACT_DISTANCES) for layer in self._layers)
        if self._count_lists() > ONE_THREAD_UP_TO:
            self.why += "; the bytes of faiss.index depend on the number of threads"
        self.unused: Sequence[str] = [
            parameter for parameter, value in parameters.items() if not set_parameter(index, parameter, value)
        ]

    @property
    def n(self) -> int:
        """Number of embeddings in the index."""
        return self._index.ntotal

    def candidates(self, k: int) -> int:
        return k if self._exact_distances else max(RERANKED * k, LEAST_RERANKED)

    def add(self, xb: FloatArray) -> None:
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

    def restore(self, xb: FloatArray, path: Path) -> None:  # noqa: ARG002 (the file has the embeddings)
        self._index = self._searched_index = _read_index(path)[0]
        self._layers = list(iter_layers(self._index))

    def _train(self, xb: FloatArray) -> None:
        size = max(TRAINING_EMBEDDINGS, TRAINING_EMBEDDINGS_PER_LIST * self._count_lists())
        if len(xb) > size:
            xb = xb[np.sort(np.random.default_rng(0).choice(len(xb), size, replace=False))]
        for layer in self._layers:
            _silence(layer)
            if hasattr(layer, "do_polysemous_training"):
                layer.do_polysemous_training = self._polysemous  # takes minutes, and only `ht` needs it
        self._index.train(xb)

    def _count_lists(self) -> int:
        return max((layer.nlist for layer in self._layers if isinstance(layer, faiss.IndexIVF)), default=0)

    def _choose_building_threads(self) -> int:
        """Return the number of threads that build the index: one, if more could make other bytes."""
        if any(isinstance(layer, faiss.IndexHNSW) for layer in self._layers) and not _builds_same_graph():
            return 1
        same = all(isinstance(layer, _SAME_WITH_MORE_THREADS) for layer in self._layers)
        return self._threads if same or self._count_lists() > ONE_THREAD_UP_TO else 1

    def search(self, xq: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
        faiss.omp_set_num_threads(self._threads)
        try:
            values, indices = self._searched_index.search(np.ascontiguousarray(xq, np.float32), k)
        except RuntimeError as error:
            raise ConfigError(
                f"The index {self.name} cannot be searched: {shorten_error(str(error))}. Use another faiss_mode."
            ) from None
        return values, indices

    def search_within(self, k: int) -> IntArray | None:  # noqa: ARG002 (part of the protocol)
        return None

    def to_gpu(self, k: int) -> None:
        candidates = self.candidates(k)
        copy, reason = copy_to_gpu(self._index, self.n * measure_embedding_bytes(self._index), candidates)
        self._searched_index = copy or self._index
        self.why += "; searched on the GPU" if copy else f"; searched on the CPU: {reason}"

    def save(self, path: Path) -> None:
        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:  # ends with the operating system's message in brackets
            raise OSError(str(error).rpartition("(")[2].strip(" )\n")) from None


def _read_index(path: Path) -> tuple[faiss.Index, str]:
    """Return an index and its name."""
    try:
        index = faiss.read_index(str(path))
        return index, infer_name(index)
    except (RuntimeError, MemoryError):
        raise DamagedError(f"{str(path)!r} is not a complete faiss index. Build it again.") from None


def _silence(layer: Any) -> None:
    """Turn off faiss's warnings about few training points: they are many lines, and the measured recall says more."""
    learners: list[Any] = [
        layer,
        *(getattr(layer, name, None) for name in ("pq", "refine_pq", "rq", "lsq", "quantizer")),
    ]
    if isinstance(layer, faiss.IndexPreTransform):
        for transform in iter_transforms(layer):
            if isinstance(transform, faiss.OPQMatrix):
                pq: Any = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
                transform.pq = pq
                pq.this.disown()  # the transform holds a bare pointer to it
                learners.append(pq)
    for learner in learners:
        learner = faiss.downcast_index(learner) if isinstance(learner, faiss.Index) else learner
        if hasattr(learner, "cp"):
            learner.cp.min_points_per_centroid = 1


def _builds_same_graph() -> bool:
    """Return whether several threads build the same HNSW graph as one. Since faiss 1.15 they can, or always do.

    Source: facebookresearch/faiss pull requests 5486 and 5611.
    """
    if hasattr(faiss.cvar, "hnsw_deterministic_build"):
        faiss.cvar.hnsw_deterministic_build = True
        return True
    return hasattr(faiss.HNSW, "merge_reverse_links_deterministic")
