"""Faiss's own words: what its factory strings make, what can be set in that, and what it says where it cannot."""

import re
from collections.abc import Iterator, Sequence

import faiss

from fastdup_ray.config import parse_pairs
from fastdup_ray.errors import ConfigError
from fastdup_ray.neighbors.metrics import COSINE, MANHATTAN

FAISS_METRIC = {
    COSINE: faiss.METRIC_INNER_PRODUCT,
    "euclidean": faiss.METRIC_L2,
    "squared_euclidean": faiss.METRIC_L2,
    MANHATTAN: faiss.METRIC_L1,
}

_ALIASES = {"nprobes": "nprobe"}
_NAMES = ("efConstruction", "efSearch", "nprobe", "ht", "k_factor", "k_factor_rf", "max_codes")
_OF_QUANTIZER = "quantizer_"
LARGEST = 1 << 24
"""No parameter of an index is larger: efSearch takes memory."""

_NUMBERS = {"HNSW": (4, 1_024), "NSG": (8, 1_024), "NNDescent": (8, 1_024), "x": (1, 16)}
"""Bounds of the numbers in a factory string, by the letters before them: links of a row, bits of a code."""

WHOLE = (faiss.IndexFlat, faiss.IndexIDMap)
"""Search every row as it is."""

_MANHATTAN = (*WHOLE, faiss.IndexHNSWFlat)
"""Of the others faiss has some end the process when they are asked for this metric."""


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


def list_parameters(name: str, d: int, metric: str = COSINE) -> list[str]:
    """What faiss_param can set in the index `name`; raises `ConfigError` where faiss cannot make it."""
    index = make_empty_index(name, d, metric)
    return [each for each in (*_NAMES, *(_OF_QUANTIZER + own for own in _NAMES)) if set_parameter(index, each, 1)]


def set_parameter(index: faiss.Index, parameter: str, value: int) -> bool:
    """Whether the index has it."""
    try:
        faiss.ParameterSpace().set_index_parameter(index, parameter, value)
    except RuntimeError:
        return False
    return True


def make_empty_index(name: str, d: int, metric: str) -> faiss.Index:
    """The index that faiss makes of its factory string."""
    try:
        _check_numbers(name)
        index = _make_index(name, d, FAISS_METRIC[metric])
    except (RuntimeError, MemoryError, ValueError) as error:
        raise ConfigError(
            f"faiss_mode={name!r} is not possible with rows of {d} numbers: {shorten_error(str(error))}; "
            "take such as HNSW32, Flat, 'IVF256,Flat', SQ8, PQ96."
        ) from None
    for layer in iter_layers(index):
        if isinstance(layer, faiss.IndexPreTransform) and any(
            transform.d_out > transform.d_in and isinstance(transform, faiss.PCAMatrix | faiss.ITQTransform)
            for transform in iter_transforms(layer)
        ):
            raise ConfigError(f"faiss_mode={name!r} is not possible with rows of {d} numbers: it asks for more.")
    if metric == MANHATTAN and not all(isinstance(layer, _MANHATTAN) for layer in iter_layers(index)):
        raise ConfigError(
            f"Invalid value for distance: 'manhattan' (not supported by faiss_mode={name!r}). "
            "Use Flat or HNSW32, or nn_provider='turi' with brute_force or ball_tree."
        )
    return index


def _check_numbers(name: str) -> None:
    """Refuses what faiss takes, but never comes back from."""
    for letters, digits in re.findall(r"([A-Za-z]*)(\d+)", name):
        least, most = _NUMBERS.get(letters, (1, LARGEST))
        if not least <= int(digits) <= most:
            raise ValueError(f"the number in {letters}{digits} should be from {least} to {most:,}")


def _make_index(name: str, d: int, metric: int) -> faiss.Index:
    try:
        return faiss.index_factory(d, name, metric)
    except RuntimeError:
        if metric != faiss.METRIC_INNER_PRODUCT:
            raise
        return faiss.index_factory(d, name, faiss.METRIC_L2)  # on rows of length 1 in the same order


def iter_layers(index: faiss.Index) -> Iterator[faiss.Index]:
    """The index and those that it is made of, but for the coarse quantizer of IVF, which holds no rows."""
    index = faiss.downcast_index(index)
    yield index
    if isinstance(index, faiss.IndexPreTransform | faiss.IndexIDMap):
        yield from iter_layers(index.index)
    elif isinstance(index, faiss.IndexRefine):
        yield from iter_layers(index.base_index)
        yield from iter_layers(index.refine_index)
    elif isinstance(index, faiss.IndexHNSW):
        yield from iter_layers(index.storage)


def iter_transforms(layer: faiss.IndexPreTransform) -> Iterator[faiss.VectorTransform]:
    return (faiss.downcast_VectorTransform(layer.chain.at(place)) for place in range(layer.chain.size()))


def measure_embedding_bytes(index: faiss.Index) -> int:
    """Bytes that each row takes in an index."""
    total = 0
    for layer in iter_layers(index):
        if isinstance(layer, faiss.IndexHNSW):
            total += 8 * layer.hnsw.nb_neighbors(1) + _PER_ROW_OF_GRAPH
        else:
            total += getattr(layer, "code_size", 0) + (_ID if isinstance(layer, faiss.IndexIVF) else 0)
    return total


_PER_ROW_OF_GRAPH = 24
"""Beside its links (measured: HNSW32 takes 2.6 kB a row of 576 numbers, which are 2.3 kB)."""

_ID = 8


def infer_name(index: faiss.Index) -> str:
    """About the factory string that it was made of."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return f"{type(faiss.downcast_VectorTransform(index.chain.at(0))).__name__}," + infer_name(index.index)
    if isinstance(index, faiss.IndexIDMap):
        return "IDMap," + infer_name(index.index)
    if isinstance(index, faiss.IndexRefine):
        return f"{infer_name(index.base_index)},R{infer_name(index.refine_index)}"
    if isinstance(index, faiss.IndexHNSW):
        storage = infer_name(index.storage)
        return f"HNSW{index.hnsw.nb_neighbors(1)}" + ("" if storage == "Flat" else f",{storage}")
    kind = _CODES.get(type(index).__name__.removeprefix("IndexIVF").removeprefix("Index"), type(index).__name__)
    if kind == "PQ":
        kind += str(index.pq.M)
    return f"IVF{index.nlist},{kind}" if isinstance(index, faiss.IndexIVF) else kind


_CODES = {"Flat": "Flat", "FlatIP": "Flat", "FlatL2": "Flat", "ScalarQuantizer": "SQ8", "PQ": "PQ"}


def explain_too_few(name: str, n: int, error: str) -> str:
    """What faiss said of rows that do not suffice, in words for the user."""
    asked = re.search(r"number of clusters \((\d+)\)|smaller than (\d+)|cannot output (\d+) dimensions", error)
    if asked:
        needed = int(next(filter(None, asked.groups())))
        return (
            f"faiss_mode={name!r} needs at least {needed:,} images to be built, and here are {n:,}: "
            "take Flat, or leave faiss_mode out."
        )
    return (
        f"faiss_mode={name!r} cannot hold these {n:,} rows: {shorten_error(error)}; take Flat, or leave faiss_mode out."
    )


def shorten_error(error: str) -> str:
    """What faiss said, without the places in its source."""
    told = re.sub(r"^Error in .*? at \S+\.cpp:\d+: ", "", " ".join(error.split()))
    asserted = re.fullmatch(r"Error: '(.*)' failed:? ?(.*)", told)
    return (asserted[2] or f"faiss needs {asserted[1]}") if asserted else told
