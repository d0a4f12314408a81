"""What a search takes, told before anything is read: memory, time, money; and a refusal that names what would fit."""

from dataclasses import dataclass

from fastdup_ray.config import AUTO, RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.neighbors.index_selection import (
    HNSW,
    PARTITIONED,
    choose_index,
    estimate_index_bytes,
    format_gigabytes,
)
from fastdup_ray.neighbors.partitioned.partition_layout import make_layout

CORE_HOUR = 0.0504
"""Dollars for a core and its 4 GB for an hour: m7i.4xlarge, us-east-1, on demand, November 2026."""

PRODUCTS = 50e9
"""Additions and multiplications of single precision a second and core, with the picking of the best (AVX2, Zen 3)."""

HNSW_ROW = 1.4e-3
"""Core seconds for each row of 576 numbers: 287 s for 200,000."""

ROWS = 200_000
WHOLE_ROW, WHOLE_GROWS = 0.35e-3, 0.65
CELL_ROW, CELL_GROWS = 0.19e-3, 0.3
"""Core seconds for each row where so many are one cell, or are in a cell among many, where there are fewer rounds; and
by which power of the cell's rows that grows (rows of 576, AVX-512). Seen: 70 s for 200,000 in one cell, where rounds
ended otherwise 921 s for a million; 0.128e-3 s a row in cells of 154,000, 0.182e-3 in cells of 500,000, in 8 rounds,
where photographs take 9 to 12. An older, busy processor takes three times as long."""


@dataclass(frozen=True)
class SearchCost:
    """index: how it is searched. workers: that can be at it together, of so many bytes each. core_seconds: in all."""

    index: str
    workers: int
    worker_bytes: int
    core_seconds: float

    @property
    def dollars(self) -> float:
        return self.core_seconds / 3600 * CORE_HOUR

    def text(self) -> str:
        each = f"{self.workers:,} workers" if self.workers > 1 else "one worker"
        return (
            f"Search: {self.index}, {each} of {format_gigabytes(self.worker_bytes)} at most, "
            f"about {self.core_seconds / 3600:,.2f} core hours (${self.dollars:,.2f})."
        )


def estimate_search(config: RunConfig, n: int, d: int, memory: int) -> SearchCost:
    """For n rows of d numbers, where a process can have `memory` bytes; raises `ConfigError` where it does not fit."""
    check_fits(config, n, d, memory)
    name, width = choose_index(config, n, d, memory).name, d / 576
    if name == PARTITIONED:
        plan = make_layout(config, n, d)
        if n <= plan.capacity:
            return SearchCost(name, 1, plan.estimate_memory(n), n * WHOLE_ROW * width * (n / ROWS) ** WHOLE_GROWS)
        cells, rows = plan.count_cells(n), n * plan.copies
        seconds = rows * CELL_ROW * width * (rows / cells / ROWS) ** CELL_GROWS
        return SearchCost(name, cells, plan.estimate_memory(plan.capacity), seconds)
    size = estimate_index_bytes(name, n, d, config.distance)
    seconds = n * HNSW_ROW * width if name == HNSW else 2 * d * n * n / PRODUCTS
    return SearchCost(name, 1, size, seconds)


def check_fits(config: RunConfig, n: int, d: int, memory: int) -> None:
    """Raises `ConfigError` where a process with `memory` bytes cannot search n rows of d numbers; it says what can."""
    name = choose_index(config, n, d, memory).name
    if name == PARTITIONED:
        plan = make_layout(config, n, d)
        needed = plan.estimate_memory(min(n, plan.capacity))
        what, advice = f"A worker of the search of {n:,} images", f"set partition_memory to {memory >> 20} (MiB)"
    elif config.nn_provider == "faiss" and config.faiss_mode not in (None, AUTO):
        needed = estimate_index_bytes(name, n, d, config.distance)
        what, advice = f"faiss_mode={name!r} of {n:,} images", f"take faiss_mode={PARTITIONED!r}, or leave it out"
    else:
        return
    if needed > memory:
        raise ConfigError(
            f"{what} takes {format_gigabytes(needed)}, and no process can have more than {format_gigabytes(memory)}: "
            f"{advice}."
        )
