"""Faiss indexes behind the protocol `NeighborIndex`."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import faiss
import numpy as np

from fastdup_ray.config import parse_pairs
from fastdup_ray.errors import ConfigError, DamagedError
from fastdup_ray.neighbors.metrics import COSINE

FAISS_METRIC = {
    COSINE: faiss.METRIC_INNER_PRODUCT,
    "euclidean": faiss.METRIC_L2,
    "squared_euclidean": faiss.METRIC_L2,
    "manhattan": faiss.METRIC_L1,
}

_ALIASES = {"nprobes": "nprobe"}
_NAMES = ("efConstruction", "efSearch", "nprobe", "ht", "k_factor", "k_factor_rf", "max_codes")
_OF_QUANTIZER = "quantizer_"
LARGEST = 1 << 24
"""No parameter of an index is larger: efSearch takes memory."""

EF_SEARCH = 64
"""Candidates that HNSW keeps while it searches, unless faiss_param says otherwise."""

TRAINING_ROWS = 65_536
"""Rows of the seeded sample that an index learns from: 256 for each of the 256 centroids of a byte."""

TRAINING_ROWS_PER_LIST = 40
"""Faiss asks for 39."""

ONE_THREAD_UP_TO = 4_096
"""Lists up to which one thread learns them, so that they are always the same; more would take it hours."""

RERANKED = 16
"""Candidates for each neighbour, where the index knows the rows only roughly."""

LEAST_RERANKED = 128

_NUMBERS = {"HNSW": (4, 1_024), "NSG": (8, 1_024), "NNDescent": (8, 1_024), "x": (1, 16)}
"""Bounds of the numbers in a factory string, by the letters before them: links of a row, bits of a code."""

_WHOLE = (faiss.IndexFlat, faiss.IndexIDMap)
"""Search every row as it is."""

_TRUE = (*_WHOLE, faiss.IndexHNSWFlat, faiss.IndexIVFFlat)
"""Compare with the rows themselves."""

_MANHATTAN = (*_WHOLE, faiss.IndexHNSWFlat)
"""Of the others faiss has some end the process when they are asked for this metric."""

_SAME_BY_MORE_THREADS = (*_WHOLE, faiss.IndexHNSWFlat, faiss.IndexScalarQuantizer)


def default_nprobe(lists: int) -> int:
    """Lists to look into; finds 0.98 and more of the neighbours among 20,000 real pictures with 64 to 1,024 lists."""
    return min(lists, math.ceil(4 * math.sqrt(lists)))


def check_parameters(text: str, who: str = "it knows", has: Sequence[str] = _NAMES) -> dict[str, int]:
    """`'efSearch=175,nprobes=200'` as numbers by faiss's own names; raises `ConfigError`.

    who, has: what is said of the names that are possible.
    """
    parameters: dict[str, int] = {}
    for given, value in parse_pairs("faiss_param", text).items():
        name = _ALIASES.get(given, given)
        if re.sub(rf"^({_OF_QUANTIZER})+", "", name) not in _NAMES:
            names = ", ".join(has) or "no parameters"
            raise ConfigError(f"faiss_param: faiss does not know {name!r}; {who} {names}.")
        if not value.isascii() or not value.isdigit() or len(value) > 9 or not 1 <= int(value) <= LARGEST:
            raise ConfigError(
                f"faiss_param: {given}={value} is not possible: it should be a whole number from 1 to {LARGEST:,}."
            )
        if parameters.setdefault(name, int(value)) != int(value):
            raise ConfigError(f"faiss_param: {name} is given twice: {parameters[name]} and {value}; give it once.")
    return parameters


def parameters_of(name: str, d: int, metric: str = COSINE) -> list[str]:
    """What faiss_param can set in the index `name`; raises `ConfigError` where faiss cannot make it."""
    index = _empty(name, d, metric)
    return [each for each in (*_NAMES, *(_OF_QUANTIZER + own for own in _NAMES)) if _set(index, each, 1)]


def _set(index: faiss.Index, parameter: str, value: int) -> bool:
    """Whether the index has it."""
    try:
        faiss.ParameterSpace().set_index_parameter(index, parameter, value)
    except RuntimeError:
        return False
    return True


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
        index = _empty(name, d, metric)
        for layer in _layers(index):
            if isinstance(layer, faiss.IndexHNSW):
                layer.hnsw.efSearch = ef
            if isinstance(layer, faiss.IndexIVF):
                layer.nprobe = default_nprobe(layer.nlist)
        self._take(index, name, parameters, threads, metric, why)

    @classmethod
    def load(cls, path: Path, parameters: dict[str, int], threads: int, metric: str = COSINE) -> Self:
        """What `save` put at `path`; raises `DamagedError` for anything else."""
        try:
            index = faiss.read_index(str(path))
            name = _name_of(index)
        except (RuntimeError, MemoryError):
            raise DamagedError(f"{str(path)!r} is no whole faiss index; make it again.") from None
        self = cls.__new__(cls)
        self._take(index, name, parameters, threads, metric, "the stored index")
        return self

    def _take(
        self, index: faiss.Index, name: str, parameters: dict[str, int], threads: int, metric: str, why: str
    ) -> None:
        self._index, self._threads, self._layers = index, threads, list(_layers(index))
        self.name, self.d, self.metric, self.why = name, index.d, metric, why
        self._polysemous = "ht" in parameters
        of_metric = index.metric_type == FAISS_METRIC[metric]
        self.exact = of_metric and all(isinstance(layer, _WHOLE) for layer in self._layers)
        self._true = of_metric and all(isinstance(layer, _TRUE) for layer in self._layers)
        if self._lists() > ONE_THREAD_UP_TO:
            self.why += "; the bytes of faiss.index depend on the number of threads"
        self.unused = [parameter for parameter, value in parameters.items() if not _set(index, parameter, value)]

    @property
    def n(self) -> int:
        return self._index.ntotal

    def candidates(self, k: int) -> int:
        return k if self._true else max(RERANKED * k, LEAST_RERANKED)

    def add(self, xb: np.ndarray) -> None:
        xb = np.ascontiguousarray(xb, np.float32)
        faiss.omp_set_num_threads(self._building_threads())
        try:
            if not self._index.is_trained:
                self._train(xb)
            if any(isinstance(layer, faiss.IndexIDMap) for layer in self._layers):
                self._index.add_with_ids(xb, np.arange(self.n, self.n + len(xb)))
            else:
                self._index.add(xb)
        except RuntimeError as error:
            raise ConfigError(_too_few(self.name, len(xb), str(error))) from None

    def _train(self, xb: np.ndarray) -> None:
        size = max(TRAINING_ROWS, TRAINING_ROWS_PER_LIST * self._lists())
        if len(xb) > size:
            xb = xb[np.sort(np.random.default_rng(0).choice(len(xb), size, replace=False))]
        for layer in self._layers:
            _quiet(layer)
            if hasattr(layer, "do_polysemous_training"):
                layer.do_polysemous_training = self._polysemous  # minutes, and of use to ht alone
        self._index.train(xb)

    def _lists(self) -> int:
        return max((layer.nlist for layer in self._layers if isinstance(layer, faiss.IndexIVF)), default=0)

    def _building_threads(self) -> int:
        """One, where more could make other bytes."""
        if any(isinstance(layer, faiss.IndexHNSW) for layer in self._layers) and not _builds_the_same_graph():
            return 1
        same = all(isinstance(layer, _SAME_BY_MORE_THREADS) for layer in self._layers)
        return self._threads if same or self._lists() > ONE_THREAD_UP_TO else 1

    def search(self, xq: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        faiss.omp_set_num_threads(self._threads)
        try:
            return self._index.search(np.ascontiguousarray(xq, np.float32), k)
        except RuntimeError as error:
            reason = _reason(str(error))
            raise ConfigError(f"The index {self.name} cannot be searched: {reason}; take another faiss_mode.") from None

    def save(self, path: Path) -> None:
        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:  # the words of the operating system stand in brackets at its end
            raise OSError(str(error).rpartition("(")[2].strip(" )\n")) from None


def _empty(name: str, d: int, metric: str) -> faiss.Index:
    """The index that faiss makes of its factory string."""
    try:
        _check_numbers(name)
        index = _made(name, d, FAISS_METRIC[metric])
    except (RuntimeError, MemoryError, ValueError) as error:
        raise ConfigError(
            f"faiss_mode={name!r} is not possible with rows of {d} numbers: {_reason(str(error))}; "
            "take such as HNSW32, Flat, 'IVF256,Flat', SQ8, PQ96."
        ) from None
    for layer in _layers(index):
        if isinstance(layer, faiss.IndexPreTransform) and any(
            transform.d_out > transform.d_in and isinstance(transform, faiss.PCAMatrix | faiss.ITQTransform)
            for transform in _transforms(layer)
        ):
            raise ConfigError(f"faiss_mode={name!r} is not possible with rows of {d} numbers: it asks for more.")
    if metric == "manhattan" and not all(isinstance(layer, _MANHATTAN) for layer in _layers(index)):
        raise ConfigError(
            f"distance='manhattan' is not possible with faiss_mode={name!r}: "
            "take Flat or HNSW32, or brute_force or ball_tree of nn_provider='turi'."
        )
    return index


def _check_numbers(name: str) -> None:
    """Refuses what faiss takes, but never comes back from."""
    for letters, digits in re.findall(r"([A-Za-z]*)(\d+)", name):
        least, most = _NUMBERS.get(letters, (1, LARGEST))
        if not least <= int(digits) <= most:
            raise ValueError(f"the number in {letters}{digits} should be from {least} to {most:,}")


def _made(name: str, d: int, metric: int) -> faiss.Index:
    try:
        return faiss.index_factory(d, name, metric)
    except RuntimeError:
        if metric != faiss.METRIC_INNER_PRODUCT:
            raise
        return faiss.index_factory(d, name, faiss.METRIC_L2)  # on rows of length 1 in the same order


def _layers(index: faiss.Index) -> Iterator[faiss.Index]:
    """The index and those that it is made of, but for the coarse quantizer of IVF, which holds no rows."""
    index = faiss.downcast_index(index)
    yield index
    if isinstance(index, faiss.IndexPreTransform | faiss.IndexIDMap):
        yield from _layers(index.index)
    elif isinstance(index, faiss.IndexRefine):
        yield from _layers(index.base_index)
        yield from _layers(index.refine_index)
    elif isinstance(index, faiss.IndexHNSW):
        yield from _layers(index.storage)


def _transforms(layer: faiss.IndexPreTransform) -> Iterator[faiss.VectorTransform]:
    return (faiss.downcast_VectorTransform(layer.chain.at(place)) for place in range(layer.chain.size()))


def _quiet(layer: faiss.Index) -> None:
    """Without faiss's warnings of few rows, which are many lines: the measured recall says more."""
    learners = [layer, *(getattr(layer, name, None) for name in ("pq", "refine_pq", "rq", "lsq", "quantizer"))]
    if isinstance(layer, faiss.IndexPreTransform):
        for transform in _transforms(layer):
            if isinstance(transform, faiss.OPQMatrix):
                transform.pq = pq = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
                pq.this.disown()  # faiss has a mere pointer to it
                learners.append(pq)
    for learner in learners:
        learner = faiss.downcast_index(learner) if isinstance(learner, faiss.Index) else learner
        if hasattr(learner, "cp"):
            learner.cp.min_points_per_centroid = 1


def _name_of(index: faiss.Index) -> str:
    """About the factory string that it was made of."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return f"{type(faiss.downcast_VectorTransform(index.chain.at(0))).__name__}," + _name_of(index.index)
    if isinstance(index, faiss.IndexIDMap):
        return "IDMap," + _name_of(index.index)
    if isinstance(index, faiss.IndexRefine):
        return f"{_name_of(index.base_index)},R{_name_of(index.refine_index)}"
    if isinstance(index, faiss.IndexHNSW):
        storage = _name_of(index.storage)
        return f"HNSW{index.hnsw.nb_neighbors(1)}" + ("" if storage == "Flat" else f",{storage}")
    kind = _CODES.get(type(index).__name__.removeprefix("IndexIVF").removeprefix("Index"), type(index).__name__)
    if kind == "PQ":
        kind += str(index.pq.M)
    return f"IVF{index.nlist},{kind}" if isinstance(index, faiss.IndexIVF) else kind


_CODES = {"Flat": "Flat", "FlatIP": "Flat", "FlatL2": "Flat", "ScalarQuantizer": "SQ8", "PQ": "PQ"}


def _too_few(name: str, n: int, error: str) -> str:
    """What faiss said of rows that do not suffice, in words for the user."""
    asked = re.search(r"number of clusters \((\d+)\)|smaller than (\d+)|cannot output (\d+) dimensions", error)
    if asked:
        needed = int(next(filter(None, asked.groups())))
        return (
            f"faiss_mode={name!r} needs at least {needed:,} images to be built, and here are {n:,}: "
            "take Flat, or leave faiss_mode out."
        )
    return f"faiss_mode={name!r} cannot hold these {n:,} rows: {_reason(error)}; take Flat, or leave faiss_mode out."


def _reason(error: str) -> str:
    """What faiss said, without the places in its source."""
    told = re.sub(r"^Error in .*? at \S+\.cpp:\d+: ", "", " ".join(error.split()))
    asserted = re.fullmatch(r"Error: '(.*)' failed:? ?(.*)", told)
    return (asserted[2] or f"faiss needs {asserted[1]}") if asserted else told


def _builds_the_same_graph() -> bool:
    """Whether several threads build the HNSW graph that one does; since faiss 1.15 they can, or always do.

    Source: facebookresearch/faiss pull requests 5486 and 5611.
    """
    if hasattr(faiss.cvar, "hnsw_deterministic_build"):
        faiss.cvar.hnsw_deterministic_build = True
        return True
    return hasattr(faiss.HNSW, "merge_reverse_links_deterministic")
