"""The plan of a search: which index, why, and how much memory it needs.

`plan_search` is the one place that decides how embeddings are searched. The driver plans with the memory that a step
can have at most, to refuse early and to reserve; the process that searches plans with the memory that is free where it
runs, and builds the index of that plan. The index alone depends on the memory, never whether the search is partitioned.
"""

from dataclasses import dataclass

from fastdup_ray.config import AUTO, RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.neighbors.index_selection import (
    PARTITIONED,
    USABLE_SHARE,
    choose_index,
    estimate_index_bytes,
    format_bytes,
)
from fastdup_ray.neighbors.partitioned.partition_layout import make_layout

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
    size, best_size = (estimate_index_bytes(name, n, d, config.distance) for name in (choice.name, best.name))
    transformed = 4 * n * d if config.invariant else 0  # the queries: one transform of each image
    reserved = int((best_size + transformed) / USABLE_SHARE)
    requested = config.nn_provider == "faiss" and config.faiss_mode not in (None, AUTO)
    return SearchPlan(choice.name, choice.why, n, d, size, reserved, requested)
