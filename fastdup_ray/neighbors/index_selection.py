"""Which index a run uses, and why: as asked, else by the number of rows, k, and memory."""

from dataclasses import dataclass

import faiss

from fastdup_ray.config import AUTO, RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.neighbors.exact_and_lsh import BallTree, Lsh
from fastdup_ray.neighbors.faiss_factory import iter_layers, make_empty_index, measure_embedding_bytes
from fastdup_ray.neighbors.faiss_index import EF_SEARCH, TRAINING_EMBEDDINGS, TRAINING_EMBEDDINGS_PER_LIST
from fastdup_ray.neighbors.int8_bruteforce import Int8Index
from fastdup_ray.neighbors.metrics import COSINE, MANHATTAN
from fastdup_ray.system.memory import measure_free_memory

FLAT, HNSW = "Flat", "HNSW32"

PARTITIONED = "partitioned"
"""No index: see `neighbors.partitioned`."""

FEW = 5_000
"""Rows up to which the exact search takes no time to speak of."""

INT8_UP_TO = 100_000
"""Rows up to which the search in 8 bits is taken, beyond which it is partitioned (200,000 clustered rows of 576, with
VNNI: 127 s of CPU and recall 1.0; partitioned 63 s and 0.9965; HNSW32, on an older processor, 287 s and 0.97)."""

GPU_UP_TO = 2_000_000
"""Rows up to which a GPU searches exactly (an H100 compares 200,000 x 576 with each other in a second; they take
4.6 GB, which GPUs have)."""

INT8_K = 100
"""Neighbours up to which that holds."""

FLAT_UP_TO = 50_000
"""Rows up to which, where 8 bits cannot do it, the exact index is as fast as HNSW32 (50,000 x 576: 15 s and 12 s)."""

USABLE_SHARE = 0.8
"""Part of the memory that is free which an index may take; the rest is for the search and for the outputs."""


@dataclass(frozen=True)
class IndexChoice:
    """name: of the index. why: for people."""

    name: str
    why: str


def choose_ef_search(k: int) -> int:
    """Candidates that HNSW keeps: twice the neighbours asked for, where that is more than usual."""
    return max(EF_SEARCH, 2 * (k + 1))


def choose_index(config: RunConfig, n: int, d: int, memory: int | None = None) -> IndexChoice:
    """The index for n rows of d numbers. memory: bytes that are free, default: of this machine or its cgroup.

    Raises `ConfigError` where none fits.
    """
    if config.nn_provider == "turi":
        name = FLAT if config.nnmodel == "brute_force" else config.nnmodel
        return IndexChoice(name, f"nnmodel={config.nnmodel}")
    if config.faiss_mode not in (None, AUTO):
        return IndexChoice(config.faiss_mode, f"faiss_mode={config.faiss_mode}")
    if is_partitioned(config, n):
        return IndexChoice(PARTITIONED, f"more than {_get_one_index_limit(config):,} images")
    memory = measure_free_memory() if memory is None else memory
    usable = int(USABLE_SHARE * memory)
    k = min(config.nearest_neighbors_k, n)
    flat_up_to = FLAT_UP_TO * choose_ef_search(k) // EF_SEARCH
    if config.compute == "gpu":  # which searches exactly in no time
        flat_up_to = max(flat_up_to, GPU_UP_TO)
    lists = _choose_lists(n)
    compressed = f"IVF{lists},SQ8"
    needs = {name: estimate_index_bytes(name, n, d) for name in (FLAT, HNSW, compressed)}
    in_eight_bits = config.distance != MANHATTAN and k <= INT8_K and FEW < n <= INT8_UP_TO
    if config.compute == "cpu" and in_eight_bits and estimate_index_bytes(Int8Index.name, n, d) <= usable:
        why = f"{FEW:,} to {INT8_UP_TO:,} images: all against all in whole numbers, ranked anew by the rows"
        return IndexChoice(Int8Index.name, why)
    if n <= flat_up_to and needs[FLAT] <= usable:
        return IndexChoice(FLAT, "exact, and no slower than others for so few images")
    size = {name: format_gigabytes(need) for name, need in needs.items()}
    room = f"of {format_gigabytes(memory)} of free memory"
    if needs[HNSW] <= usable:
        return IndexChoice(HNSW, f"{n:,} images are many, and it takes {size[HNSW]} {room}")
    if config.distance == MANHATTAN:
        raise ConfigError(
            f"Not enough memory for an index of {n:,} images: distance='manhattan' needs {FLAT} ({size[FLAT]}) or "
            f"{HNSW} ({size[HNSW]}) {room}, {USABLE_SHARE:.0%} of it usable. "
            "Use distance='euclidean', or a larger machine."
        )
    if needs[compressed] <= usable:
        return IndexChoice(compressed, f"{HNSW} would take {size[HNSW]} {room}; this takes {size[compressed]}")
    code = max(m for m in range(1, d // 6 + 1) if d % m == 0) if d >= 6 else 1
    smallest = f"IVF{lists},PQ{code}"
    raise ConfigError(
        f"Not enough memory for an index of {n:,} images: {compressed} takes {size[compressed]} {room}, "
        f"{USABLE_SHARE:.0%} of it usable. Use faiss_mode='{smallest}', which takes "
        f"{format_gigabytes(estimate_index_bytes(smallest, n, d))} and finds fewer neighbors, or a machine (on Ray: a "
        f"node) with {format_gigabytes(int(needs[compressed] / USABLE_SHARE))} free."
    )


def is_partitioned(config: RunConfig, n: int) -> bool:
    """Whether n rows are searched in partitions: as asked, or as they are many. It does not depend on the memory."""
    if config.nn_provider != "faiss" or config.faiss_mode not in (None, AUTO):
        return config.nn_provider == "faiss" and config.faiss_mode == PARTITIONED
    ranked_as_the_cosine = config.distance != MANHATTAN
    return ranked_as_the_cosine and config.nearest_neighbors_k <= INT8_K and n > _get_one_index_limit(config)


def _get_one_index_limit(config: RunConfig) -> int:
    return GPU_UP_TO if config.compute == "gpu" else INT8_UP_TO


def _choose_lists(n: int) -> int:
    """For IVF, a power of two near to 4 √n, as faiss advises."""
    return 1 << max(0, round(4 * n**0.5 or 1).bit_length() - 1)


def estimate_index_bytes(name: str, n: int, d: int, metric: str = COSINE) -> int:
    """What the index `name` of n rows of d numbers takes, with the rows that it learns from."""
    if name in _FLAT_STORED:
        return _FLAT_STORED[name] * d * n
    index = make_empty_index(name, d, metric)
    lists = max((layer.nlist for layer in iter_layers(index) if isinstance(layer, faiss.IndexIVF)), default=0)
    learned = 0 if index.is_trained else min(n, max(TRAINING_EMBEDDINGS, TRAINING_EMBEDDINGS_PER_LIST * lists))
    return n * measure_embedding_bytes(index) + 4 * d * (lists + learned)


_FLAT_STORED = {Int8Index.name: 5, PARTITIONED: 4, BallTree.name: 8, Lsh.name: 4}
"""Bytes for each number of a row: the rows, and 8 bits of each; what is stored of them; a tree of doubles; the rows."""


def estimate_memory(config: RunConfig, n: int, d: int) -> int:
    """Bytes that the node needs on which n rows of d numbers are indexed and searched, as `choose` counts them.

    Where the best index is told by memory alone, this is for the best: who has less will be given another.
    """
    name = choose_index(config, n, d, memory=1 << 62).name
    if name == PARTITIONED:  # its workers reserve for themselves
        return 0
    turned = 4 * n * d if config.invariant else 0  # the queries: one turn of each image
    return int((estimate_index_bytes(name, n, d, config.distance) + turned) / USABLE_SHARE)


def format_gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
