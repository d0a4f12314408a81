"""The plan of a search: which index, why, and how much memory it needs.

`plan_search` is the one place that decides how embeddings are searched. The driver plans with the memory that a step
can have at most, to refuse early and to reserve; the process that searches plans with the memory that is free where it
runs, and builds the index of that plan. The index alone depends on the memory, never whether the search is partitioned.
"""

from dataclasses import dataclass

import faiss

from fastdup_ray.config import AUTO, RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.neighbors.all_pairs import estimate_blocks
from fastdup_ray.neighbors.exact_and_lsh import BallTree, Lsh
from fastdup_ray.neighbors.faiss_factory import iter_layers, make_empty_index, measure_embedding_bytes
from fastdup_ray.neighbors.faiss_index import EF_SEARCH, TRAINING_EMBEDDINGS, TRAINING_EMBEDDINGS_PER_LIST
from fastdup_ray.neighbors.int8_bruteforce import Int8Index
from fastdup_ray.neighbors.metrics import COSINE, MANHATTAN
from fastdup_ray.neighbors.partition_threshold import (
    INT8_K,
    PARTITIONED,
    PARTITIONED_ABOVE,
    PARTITIONED_ABOVE_ON_GPU,
    get_one_index_limit,
    is_partitioned,
)
from fastdup_ray.neighbors.partitioned.partition_layout import make_layout

FLAT, HNSW = "Flat", "HNSW32"

FEW = 5_000
"""Embeddings up to which an exact search takes no noticeable time."""

FLAT_UP_TO = 50_000
"""Embeddings up to which, if 8 bits are not possible, the exact index is as fast as HNSW32 (50,000 x 576: 15 s and
12 s)."""

USABLE_SHARE = 0.8
"""Part of the free memory that an index may take; the rest is for the search and the outputs."""

_UNLIMITED = 1 << 62


@dataclass(frozen=True)
class SearchPlan:
    """How n embeddings are searched.

    Attributes:
        index: Name of the index: a faiss factory string, a method of turi, `Int8Index.name` or `PARTITIONED`.
        why: Why it was chosen, for people.
        n: Number of embeddings.
        d: Length of an embedding.
        process_bytes: Memory of the process that builds and searches the index; of one worker, if partitioned.
        reserved_bytes: Memory to reserve on the node that searches: enough for the index that would be chosen if memory
            were no limit. 0 if partitioned, as each worker reserves its own.
        requested: Whether the user named the index, so that it is taken even where it does not fit.
    """

    index: str
    why: str
    n: int
    d: int
    process_bytes: int
    reserved_bytes: int
    requested: bool

    @property
    def partitioned(self) -> bool:
        """Whether the search is split into cells instead of using one index."""
        return self.index == PARTITIONED

    def check_fits(self, memory: int) -> None:
        """Check that one process can hold the search.

        Args:
            memory: Bytes that a process can have.

        Raises:
            ConfigError: If it needs more. The message says what would fit.
        """
        if self.process_bytes <= memory:
            return
        if self.partitioned:
            what, advice = f"a worker of the search of {self.n:,} images", f"set partition_memory to {memory >> 20} MiB"
        elif self.requested:
            what = f"faiss_mode={self.index!r} with {self.n:,} images"
            advice = f"use faiss_mode={PARTITIONED!r}, or leave faiss_mode out"
        else:
            return
        raise ConfigError(
            f"Not enough memory: {what} takes {format_bytes(self.process_bytes)}, and a process can have at most "
            f"{format_bytes(memory)}. To fix this, {advice}."
        )


def plan_search(config: RunConfig, n: int, d: int, memory: int) -> SearchPlan:
    """Decide how n embeddings are searched.

    Args:
        config: The parameters of the run.
        n: Number of embeddings.
        d: Length of an embedding.
        memory: Bytes that the process that searches can have.

    Returns:
        The plan. An index that the user named is planned even if it needs more than `memory`: see
        `SearchPlan.check_fits`.

    Raises:
        ConfigError: If no index fits into `memory`, or no cell into `partition_memory`.
    """
    choice = choose_index(config, n, d, memory)
    if choice.name == PARTITIONED:
        layout = make_layout(config, n, d)
        cell_bytes = layout.estimate_memory(min(n, layout.capacity))
        return SearchPlan(choice.name, choice.why, n, d, cell_bytes, 0, config.faiss_mode == PARTITIONED)
    best = choose_index(config, n, d, _UNLIMITED)
    size, best_size = (
        estimate_index_bytes(name, n, d, config.distance, config.cores) for name in (choice.name, best.name)
    )
    transformed = 4 * n * d if config.invariant else 0  # the queries: one transform of each image
    reserved = int((best_size + transformed) / USABLE_SHARE)
    requested = config.nn_provider == "faiss" and config.faiss_mode not in (None, AUTO)
    return SearchPlan(choice.name, choice.why, n, d, size, reserved, requested)


@dataclass(frozen=True)
class IndexChoice:
    """An index and the reason for it.

    Attributes:
        name: Name of the index.
        why: The reason, for people.
    """

    name: str
    why: str


def choose_ef_search(k: int) -> int:
    """Return efSearch of HNSW: twice the number of neighbors, if that is more than usual."""
    return max(EF_SEARCH, 2 * (k + 1))


def choose_index(config: RunConfig, n: int, d: int, memory: int) -> IndexChoice:
    """Choose the index for n embeddings of d numbers.

    Args:
        config: The parameters of the run.
        n: Number of embeddings.
        d: Length of an embedding.
        memory: Bytes that are free for the process that searches.

    Raises:
        ConfigError: If none fits.
    """
    if config.nn_provider == "turi":
        name = FLAT if config.nnmodel == "brute_force" else config.nnmodel
        return IndexChoice(name, f"nnmodel={config.nnmodel}")
    if config.faiss_mode not in (None, AUTO):
        return IndexChoice(config.faiss_mode, f"faiss_mode={config.faiss_mode}")
    if is_partitioned(config, n):
        return IndexChoice(PARTITIONED, f"more than {get_one_index_limit(config):,} images")
    usable = int(USABLE_SHARE * memory)
    k = min(config.nearest_neighbors_k, n)
    flat_up_to = FLAT_UP_TO * choose_ef_search(k) // EF_SEARCH
    if config.compute == "gpu":  # an exact search on it takes seconds
        flat_up_to = max(flat_up_to, PARTITIONED_ABOVE_ON_GPU)
    lists = _choose_lists(n)
    compressed = f"IVF{lists},SQ8"
    needs = {name: estimate_index_bytes(name, n, d) for name in (FLAT, HNSW, compressed)}
    int8_possible = config.distance != MANHATTAN and k <= INT8_K and FEW < n <= PARTITIONED_ABOVE
    int8_bytes = estimate_index_bytes(Int8Index.name, n, d, threads=config.cores)
    if config.compute == "cpu" and int8_possible and int8_bytes <= usable:
        why = f"{FEW:,} to {PARTITIONED_ABOVE:,} images: all against all in 8-bit integers, then ranked by exact values"
        return IndexChoice(Int8Index.name, why)
    if n <= flat_up_to and needs[FLAT] <= usable:
        return IndexChoice(FLAT, "exact, and no slower than others for so few images")
    size = {name: format_bytes(need) for name, need in needs.items()}
    room = f"of {format_bytes(memory)} of free memory"
    if needs[HNSW] <= usable:
        return IndexChoice(HNSW, f"{n:,} images are too many for an exact search; it takes {size[HNSW]} {room}")
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
        f"{format_bytes(estimate_index_bytes(smallest, n, d))} and finds fewer neighbors, or a machine (on Ray: a "
        f"node) with {format_bytes(int(needs[compressed] / USABLE_SHARE))} free."
    )


def _choose_lists(n: int) -> int:
    """Return the number of lists of an IVF index: a power of two near 4 √n, as faiss advises."""
    return 1 << max(0, round(4 * n**0.5 or 1).bit_length() - 1)


def estimate_index_bytes(name: str, n: int, d: int, metric: str = COSINE, threads: int = 0) -> int:
    """Estimate the memory of an index.

    Args:
        name: Name of the index: a faiss factory string, or another name that `choose_index` gives.
        n: Number of embeddings.
        d: Length of an embedding.
        metric: Metric of the index.
        threads: Threads that search it, if what they take is to be counted, too.

    Returns:
        Bytes of the index, and of the sample that it is trained on.

    Raises:
        ConfigError: If faiss cannot make such an index.
    """
    if name in _BYTES_PER_NUMBER:
        blocks = estimate_blocks(n, threads) if name == Int8Index.name else 0
        return _BYTES_PER_NUMBER[name] * d * n + blocks
    index = make_empty_index(name, d, metric)
    lists = max((layer.nlist for layer in iter_layers(index) if isinstance(layer, faiss.IndexIVF)), default=0)
    trained = 0 if index.is_trained else min(n, max(TRAINING_EMBEDDINGS, TRAINING_EMBEDDINGS_PER_LIST * lists))
    return n * measure_embedding_bytes(index) + 4 * d * (lists + trained)


_BYTES_PER_NUMBER = {Int8Index.name: 5, PARTITIONED: 4, BallTree.name: 8, Lsh.name: 4}
"""For each number of an embedding: float32 and int8; the float32 of the stored index; a tree of float64; float32."""


def format_bytes(size: int) -> str:
    """Return a size for people, such as `2.6 GB`."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
