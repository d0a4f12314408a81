"""What a partitioned search does, told before it starts: how many cells, and how much memory each worker takes."""

import hashlib
import json
from dataclasses import asdict, dataclass

from fastdup_ray.common import layout
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.neighbors.metrics import is_distance
from fastdup_ray.neighbors.partitioned.cell_knn import PART, choose_group_size
from fastdup_ray.neighbors.search import SPARE

BLOCK = 65_536
"""Rows at most that one task reads, puts into cells, or merges."""

FULL = 0.7
"""Part of what fits into a worker's memory that a cell has on average: cells of k-means are not alike."""

MORE_ON_BORDERS = 2
"""Times as many copies as on average of a row that stands between cells. Of the pairs above 0.85 among 79,000 rows of
photographs and their copies, 13 cells divide 1.8 % where each row has its 2 nearest, and 0.7 % so; 63 cells 3.8 % and
1.5 %."""

PROCESS = 600 << 20
"""Bytes of a worker before it does anything, with the libraries that it needs, and of what it takes for blocks."""

LEAST_CAPACITY = 10_000
"""Rows of a cell; smaller ones would be too many."""

FORMAT = 2
"""Of the files below shards/; raised when they change."""


@dataclass(frozen=True)
class PartitionLayout:
    """features: their file, of n rows of d numbers. digest: of that file. k: neighbours of each row, at most n - 1.

    copies: cells that each row is put into, on average. capacity: rows of a cell at most.
    """

    features: str
    digest: str
    n: int
    d: int
    k: int
    metric: str
    copies: int
    capacity: int

    @property
    def block(self) -> int:
        """Rows of a range of the features; each has a task of its own to be put into cells, and to be merged."""
        return max(1, min(BLOCK, self.capacity // 2))

    @property
    def blocks(self) -> int:
        return -(-self.n // self.block)

    @property
    def most_copies(self) -> int:
        """Cells that a row is put into which stands between many; one that stands well within a cell has fewer."""
        return MORE_ON_BORDERS * self.copies if self.copies > 1 else 1

    @property
    def folder(self) -> str:
        """Below which all files of this search stand; those of another one have another folder."""
        words = json.dumps([FORMAT, asdict(self)], sort_keys=True)
        return f"{layout.PARTITIONS}/{hashlib.sha256(words.encode()).hexdigest()[:16]}"

    def count_cells(self, rows: int) -> int:
        """Into how many cells so many rows are divided, which are too many for one."""
        return max(self.copies + 1, -int(-self.copies * rows // (FULL * self.capacity)))

    def estimate_memory(self, rows: int) -> int:
        """Bytes that a worker takes for a cell of so many rows."""
        return get_fixed_bytes(rows, self.d, self.k) + rows * get_bytes_per_embedding(self.d, self.k, self.metric)


def get_bytes_per_embedding(d: int, k: int, metric: str) -> int:
    """Of each row of a cell: itself and its number, its group, candidates, and what is found for it."""
    found = k * (24 if is_distance(metric) else 16)
    return 4 * d + 8 + 24 + 8 * (k + SPARE) + 2 * found


def get_fixed_bytes(rows: int, d: int, k: int) -> int:
    """Of a worker, whatever it has: the process, and the blocks of products with centres or within a group."""
    centres = -(-rows // choose_group_size(rows, k))
    return PROCESS + 24 * 4 * d * centres + 16 * PART * max(centres, choose_group_size(rows, k))


def compute_capacity(memory: int, d: int, k: int, metric: str) -> int:
    """Rows of a cell that a worker with so many bytes can search; 0 where none."""
    rows = max(0, (memory - PROCESS) // get_bytes_per_embedding(d, k, metric))
    while rows and get_fixed_bytes(rows, d, k) + rows * get_bytes_per_embedding(d, k, metric) > memory:
        rows = int(0.98 * rows)
    return rows


def make_layout(
    config: RunConfig, n: int, d: int, features: str = layout.FEATURES, digest: str = ""
) -> PartitionLayout:
    """Raises `ConfigError` where a worker's memory does not suffice for any search."""
    k, memory = min(config.nearest_neighbors_k, n - 1), config.partition_memory << 20
    capacity = compute_capacity(memory, d, k, config.distance)
    if capacity < min(n, LEAST_CAPACITY):
        raise ConfigError(
            f"partition_memory={config.partition_memory} is not possible: it holds {capacity:,} rows of {d} numbers "
            f"with {k} neighbours; give enough MiB for {LEAST_CAPACITY:,}."
        )
    return PartitionLayout(features, digest, n, d, k, config.distance, config.partition_copies, capacity)
