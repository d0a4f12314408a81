"""Faiss factory strings: the indexes that they make, the parameters of these, and readable errors."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import faiss

from fastdup_ray.errors import ConfigError
from fastdup_ray.neighbors.metrics import COSINE, MANHATTAN
from fastdup_ray.parameter_types import parse_pairs

FAISS_METRIC = {
    COSINE: faiss.METRIC_INNER_PRODUCT,
    "euclidean": faiss.METRIC_L2,
    "squared_euclidean": faiss.METRIC_L2,
    MANHATTAN: faiss.METRIC_L1,
}

_ALIASES = {"nprobes": "nprobe"}
_NAMES = ("efConstruction", "efSearch", "nprobe", "ht", "k_factor", "k_factor_rf", "max_codes")
_QUANTIZER_PREFIX = "quantizer_"
LARGEST = 1 << 24
"""Largest value of a parameter: a larger efSearch would take too much memory."""

_NUMBERS = {"HNSW": (4, 1_024), "NSG": (8, 1_024), "NNDescent": (8, 1_024), "x": (1, 16)}
"""Least and largest number in a factory string, by the letters before it: links of a node, bits of a code."""

WHOLE = (faiss.IndexFlat, faiss.IndexIDMap)
"""Indexes that compare each query with every embedding."""

_MANHATTAN = (*WHOLE, faiss.IndexHNSWFlat)
"""Indexes that support this metric. Some others of faiss end the process when asked for it."""


def check_parameters(text: str, subject: str = "it has", names: Sequence[str] = _NAMES) -> dict[str, int]:
    """Parse `faiss_param`.

    Args:
        text: Pairs such as `efSearch=175,nprobes=200`.
        subject: Start of the list of possible names in the error message, such as `HNSW32 has`.
        names: The names to list there.

    Returns:
        The values by faiss's own names.

    Raises:
        ConfigError: If a name is unknown to faiss, given twice with different values, or a value is out of range.
    """
    parameters: dict[str, int] = {}
    for given, value in parse_pairs("faiss_param", text).items():
        name = _ALIASES.get(given, given)
        if re.sub(rf"^({_QUANTIZER_PREFIX})+", "", name) not in _NAMES:
            choices = ", ".join(names) or "no parameters"
            raise ConfigError(f"Invalid value for faiss_param: faiss has no parameter {name!r}; {subject} {choices}.")
        if not value.isascii() or not value.isdigit() or len(value) > 9 or not 1 <= int(value) <= LARGEST:
            raise ConfigError(
                f"Invalid value for faiss_param: {given}={value} (must be a whole number from 1 to {LARGEST:,})."
            )
        if parameters.setdefault(name, int(value)) != int(value):
            raise ConfigError(f"faiss_param: {name} is given twice: {parameters[name]} and {value}. Give it once.")
    return parameters


def list_parameters(name: str, d: int, metric: str = COSINE) -> list[str]:
    """Return what `faiss_param` can set in an index.

    Args:
        name: Factory string of the index.
        d: Length of an embedding.
        metric: Metric of the index.

    Raises:
        ConfigError: If faiss cannot make the index.
    """
    index = make_empty_index(name, d, metric)
    return [each for each in (*_NAMES, *(_QUANTIZER_PREFIX + own for own in _NAMES)) if set_parameter(index, each, 1)]


def set_parameter(index: faiss.Index, parameter: str, value: int) -> bool:
    """Set a parameter of an index, and return whether the index has it."""
    try:
        faiss.ParameterSpace().set_index_parameter(index, parameter, value)
    except RuntimeError:
        return False
    return True


def make_empty_index(name: str, d: int, metric: str) -> faiss.Index:
    """Return the index that faiss makes from a factory string.

    Args:
        name: Factory string, such as `HNSW32`.
        d: Length of an embedding.
        metric: Metric of the index.

    Raises:
        ConfigError: If faiss cannot make it, or it does not support the metric.
    """
    try:
        _check_numbers(name)
        index = _make_index(name, d, FAISS_METRIC[metric])
    except (RuntimeError, MemoryError, ValueError) as error:
        raise ConfigError(
            f"Invalid value for faiss_mode: {name!r} with embeddings of {d} numbers ({shorten_error(str(error))}). "
            "Use for example HNSW32, Flat, 'IVF256,Flat', SQ8 or PQ96."
        ) from None
    for layer in iter_layers(index):
        if isinstance(layer, faiss.IndexPreTransform) and any(
            transform.d_out > transform.d_in and isinstance(transform, faiss.PCAMatrix | faiss.ITQTransform)
            for transform in iter_transforms(layer)
        ):
            raise ConfigError(
                f"Invalid value for faiss_mode: {name!r} with embeddings of {d} numbers (it asks for more dimensions)."
            )
    if metric == MANHATTAN and not all(isinstance(layer, _MANHATTAN) for layer in iter_layers(index)):
        raise ConfigError(
            f"Invalid value for distance: 'manhattan' (not supported by faiss_mode={name!r}). "
            "Use Flat or HNSW32, or nn_provider='turi' with brute_force or ball_tree."
        )
    return index


def _check_numbers(name: str) -> None:
    """Refuse numbers that faiss accepts, but that make it crash or never return."""
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
        return faiss.index_factory(d, name, faiss.METRIC_L2)  # ranks embeddings of unit length in the same order


def iter_layers(index: faiss.Index) -> Iterator[Any]:
    """Yield an index and the indexes that it is made of.

    The coarse quantizer of IVF is left out, as it holds no embeddings. The layers are typed Any, since the type stubs
    of faiss lack what SWIG adds.
    """
    layer: Any = faiss.downcast_index(index)
    yield layer
    if isinstance(layer, faiss.IndexPreTransform | faiss.IndexIDMap):
        yield from iter_layers(layer.index)
    elif isinstance(layer, faiss.IndexRefine):
        yield from iter_layers(layer.base_index)
        yield from iter_layers(layer.refine_index)
    elif isinstance(layer, faiss.IndexHNSW):
        yield from iter_layers(layer.storage)


def iter_transforms(layer: Any) -> Iterator[Any]:
    """Yield the transforms of an `IndexPreTransform`."""
    return (faiss.downcast_VectorTransform(layer.chain.at(number)) for number in range(layer.chain.size()))


def measure_embedding_bytes(index: faiss.Index) -> int:
    """Return the bytes that each embedding takes in an index."""
    total = 0
    for layer in iter_layers(index):
        if isinstance(layer, faiss.IndexHNSW):
            total += 8 * _count_links(layer) + _GRAPH_BYTES
        else:
            total += getattr(layer, "code_size", 0) + (_ID_BYTES if isinstance(layer, faiss.IndexIVF) else 0)
    return total


_GRAPH_BYTES = 24
"""For each embedding besides its links (measured: HNSW32 takes 2.6 kB for an embedding of 2.3 kB)."""

_ID_BYTES = 8


def _count_links(layer: Any) -> int:
    """Return M of an HNSW index, the number in its name."""
    return int(layer.hnsw.nb_neighbors(1))


def infer_name(index: faiss.Index) -> str:
    """Return the factory string that an index was made of, or a name close to it."""
    layer: Any = faiss.downcast_index(index)
    if isinstance(layer, faiss.IndexPreTransform):
        return f"{type(next(iter_transforms(layer))).__name__},{infer_name(layer.index)}"
    if isinstance(layer, faiss.IndexIDMap):
        return "IDMap," + infer_name(layer.index)
    if isinstance(layer, faiss.IndexRefine):
        return f"{infer_name(layer.base_index)},R{infer_name(layer.refine_index)}"
    if isinstance(layer, faiss.IndexHNSW):
        storage = infer_name(layer.storage)
        return f"HNSW{_count_links(layer)}" + ("" if storage == "Flat" else f",{storage}")
    return _infer_plain_name(layer)


def _infer_plain_name(layer: Any) -> str:
    """Return the name of an index that is not made of others."""
    class_name = type(layer).__name__
    name = _CODES.get(class_name.removeprefix("IndexIVF").removeprefix("Index"), class_name)
    if name == "PQ":
        name += str(layer.pq.M)
    return f"IVF{layer.nlist},{name}" if isinstance(layer, faiss.IndexIVF) else name


_CODES = {"Flat": "Flat", "FlatIP": "Flat", "FlatL2": "Flat", "ScalarQuantizer": "SQ8", "PQ": "PQ"}


def explain_too_few(name: str, n: int, error: str) -> str:
    """Turn faiss's error about too few embeddings into a message for the user.

    Args:
        name: Factory string of the index.
        n: Number of embeddings.
        error: What faiss said.
    """
    asked = re.search(r"number of clusters \((\d+)\)|smaller than (\d+)|cannot output (\d+) dimensions", error)
    if asked:
        needed = int(next(filter(None, asked.groups())))
        return (
            f"faiss_mode={name!r} needs at least {needed:,} images, and there are {n:,}. "
            "Use Flat, or leave faiss_mode out."
        )
    return (
        f"faiss_mode={name!r} cannot index these {n:,} images: {shorten_error(error)}. "
        "Use Flat, or leave faiss_mode out."
    )


def shorten_error(error: str) -> str:
    """Return an error of faiss without the position in its source."""
    text = re.sub(r"^Error in .*? at \S+\.cpp:\d+: ", "", " ".join(error.split()))
    assertion = re.fullmatch(r"Error: '(.*)' failed:? ?(.*)", text)
    return (assertion[2] or f"faiss needs {assertion[1]}") if assertion else text
