"""Which index a run uses, and why: as asked, else by the number of rows, k, and memory."""

from dataclasses import dataclass

from fastdup_ray.config import AUTO, RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.memory import free_memory
from fastdup_ray.neighbors.faiss_index import EF_SEARCH, TRAINING_ROWS, TRAINING_ROWS_PER_LIST

FLAT, HNSW = "Flat", "HNSW32"

FLAT_UP_TO = 50_000
"""Rows up to which the exact index is as fast as HNSW32 (50,000 x 576 on two cores: 15 s and 12 s)."""

USABLE = 0.8
"""Part of the memory that is free which an index may take; the rest is for the search and for the outputs."""

_LINKS = 280
"""Bytes of a row in the graph of HNSW32 (measured: 2.6 kB a row of 576 numbers, which are 2.3 kB)."""

_ID = 8


@dataclass(frozen=True)
class Choice:
    """name: of the index. why: for people."""

    name: str
    why: str


def ef_search(k: int) -> int:
    """Candidates that HNSW keeps: twice the neighbours asked for, where that is more than usual."""
    return max(EF_SEARCH, 2 * (k + 1))


def choose(config: RunConfig, n: int, d: int, memory: int | None = None) -> Choice:
    """The index for n rows of d numbers. memory: bytes that are free, default: of this machine or its cgroup.

    Raises `ConfigError` where none fits.
    """
    if config.nn_provider == "turi":
        name = FLAT if config.nnmodel == "brute_force" else config.nnmodel
        return Choice(name, f"nnmodel={config.nnmodel}")
    if config.faiss_mode not in (None, AUTO):
        return Choice(config.faiss_mode, f"faiss_mode={config.faiss_mode}")
    memory = free_memory() if memory is None else memory
    usable = int(USABLE * memory)
    k = min(config.nearest_neighbors_k, n)
    flat_up_to = FLAT_UP_TO * ef_search(k) // EF_SEARCH
    lists = _lists(n)
    compressed = f"IVF{lists},SQ8"
    needs = {FLAT: 4 * d * n, HNSW: (4 * d + _LINKS) * n, compressed: _in_lists(n, d, d, lists)}
    if n <= flat_up_to and needs[FLAT] <= usable:
        return Choice(FLAT, f"exact, and no slower than others up to {flat_up_to:,} images at k={k}")
    room = f"of {_gigabytes(memory)} of free memory"
    if needs[HNSW] <= usable:
        return Choice(HNSW, f"{n:,} images are more than {flat_up_to:,}, and it takes {_gigabytes(needs[HNSW])} {room}")
    if config.distance == "manhattan":
        raise ConfigError(
            f"No index of {n:,} images fits into memory: with distance='manhattan' only {FLAT} and {HNSW} are possible,"
            f" which take {_gigabytes(needs[FLAT])} and {_gigabytes(needs[HNSW])} {room}, {USABLE:.0%} of it usable; "
            "take distance='euclidean', or a machine with more."
        )
    if needs[compressed] <= usable:
        why = f"{HNSW} would take {_gigabytes(needs[HNSW])} {room}; this takes {_gigabytes(needs[compressed])}"
        return Choice(compressed, why)
    code = max(m for m in range(1, d // 6 + 1) if d % m == 0) if d >= 6 else 1
    smallest = f"IVF{lists},PQ{code}"
    raise ConfigError(
        f"No index of {n:,} images fits into memory: {compressed} takes {_gigabytes(needs[compressed])} {room}, "
        f"{USABLE:.0%} of it usable; faiss_mode='{smallest}' takes {_gigabytes(_in_lists(n, d, code, lists))} and "
        f"finds less, or take a machine with {_gigabytes(int(needs[compressed] / USABLE))} free."
    )


def _lists(n: int) -> int:
    """For IVF, a power of two near to 4 √n, as faiss advises."""
    return 1 << max(0, round(4 * n**0.5 or 1).bit_length() - 1)


def _in_lists(n: int, d: int, code: int, lists: int) -> int:
    """Bytes of an IVF index whose rows take `code` bytes each, and of the rows that it learns from."""
    learned = min(n, max(TRAINING_ROWS, TRAINING_ROWS_PER_LIST * lists))
    return n * (code + _ID) + 4 * d * (lists + learned)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
