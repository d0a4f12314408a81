"""What a search costs: memory, core time and dollars, estimated from the number of embeddings alone."""

from dataclasses import dataclass

from fastdup_ray.config import RunConfig
from fastdup_ray.neighbors.int8_bruteforce import Int8Index
from fastdup_ray.neighbors.partitioned.partition_layout import make_layout
from fastdup_ray.neighbors.search_plan import HNSW, format_bytes, plan_search

CORE_HOUR = 0.0504
"""Dollars for a core and its 4 GB for an hour: m7i.4xlarge, us-east-1, on demand, November 2026."""

MULTIPLY_ADDS_PER_SECOND = 50e9
"""Multiply-adds of single precision for each second and core, including the selection of the best (AVX2, Zen 3)."""

INT8_MULTIPLY_ADDS_PER_SECOND = 150e9
"""The same in 8 bits, with VNNI (Zen 4). Each pair of embeddings is multiplied once."""

HNSW_SECONDS = 1.4e-3
"""Core seconds for each embedding of 576 numbers (measured: 287 s for 200,000)."""

REFERENCE_ROWS = 200_000
ONE_CELL_SECONDS, ONE_CELL_EXPONENT = 0.35e-3, 0.65
CELL_SECONDS, CELL_EXPONENT = 0.19e-3, 0.3
"""Core seconds for each embedding of 576 numbers in a cell of `REFERENCE_ROWS`, and the power of the cell's size that
they grow with: first for a search in one cell, then for a cell among many, which needs fewer rounds.

Measured with AVX-512: 70 s for 200,000 in one cell, 921 s for a million; 0.128e-3 s for each embedding in cells of
154,000 and 0.182e-3 s in cells of 500,000, in 8 rounds, where photos need 9 to 12. An older, busy processor takes three
times as long.
"""


@dataclass(frozen=True)
class SearchCost:
    """Estimated cost of a search.

    Attributes:
        index: Name of the index, or `partitioned`.
        workers: Workers that can run at the same time.
        worker_bytes: Memory of each worker.
        core_seconds: Core time of all workers together.
    """

    index: str
    workers: int
    worker_bytes: int
    core_seconds: float

    @property
    def dollars(self) -> float:
        """Price of the core time."""
        return self.core_seconds / 3600 * CORE_HOUR

    def text(self) -> str:
        """Return the cost as one line for people."""
        workers = f"{self.workers:,} workers" if self.workers > 1 else "one worker"
        return (
            f"Search: {self.index}, {workers} of {format_bytes(self.worker_bytes)} at most, "
            f"about {self.core_seconds / 3600:,.2f} core hours (${self.dollars:,.2f})."
        )


def estimate_search(config: RunConfig, n: int, d: int, memory: int) -> SearchCost:
    """Estimate the cost of searching n embeddings.

    Args:
        config: The parameters of the run.
        n: Number of embeddings.
        d: Length of an embedding.
        memory: Bytes that a process can have.

    Raises:
        ConfigError: If the search does not fit into `memory`.
    """
    plan = plan_search(config, n, d, memory)
    plan.check_fits(memory)
    if not plan.partitioned:
        return SearchCost(plan.index, 1, plan.process_bytes, _estimate_one_index(plan.index, n, d))
    layout, width = make_layout(config, n, d), d / 576
    if n <= layout.capacity:
        seconds = n * ONE_CELL_SECONDS * width * (n / REFERENCE_ROWS) ** ONE_CELL_EXPONENT
        return SearchCost(plan.index, 1, plan.process_bytes, seconds)
    cells, rows = layout.count_cells(n), n * layout.copies
    seconds = rows * CELL_SECONDS * width * (rows / cells / REFERENCE_ROWS) ** CELL_EXPONENT
    return SearchCost(plan.index, cells, plan.process_bytes, seconds)


def _estimate_one_index(index: str, n: int, d: int) -> float:
    """Return the core seconds of a search with one index."""
    if index == HNSW:
        return n * HNSW_SECONDS * d / 576
    if index == Int8Index.name:
        return d * n * n / 2 / INT8_MULTIPLY_ADDS_PER_SECOND
    return 2 * d * n * n / MULTIPLY_ADDS_PER_SECOND
