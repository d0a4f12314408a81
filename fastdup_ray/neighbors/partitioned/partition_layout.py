"""The layout of a partitioned search, known before it starts: how many cells, and how much memory each worker takes."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from fastdup_ray.common import layout
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.neighbors.metrics import is_distance
from fastdup_ray.neighbors.partitioned.cell_knn import PART, choose_group_size
from fastdup_ray.neighbors.search import SPARE

BLOCK = 65_536
"""Most embeddings of a block of the features."""

PART_SHARE = 4
"""A cell that is too large is divided in parts: so many of them fill a worker. Larger parts make fewer files."""

LEAST_RANGE = 4 << 20
"""Bytes that should be read at a time: for fewer, a request to a bucket takes longer than the transfer. If a cell had
less of each part, embeddings are first gathered in groups of cells."""

MERGED_AT_ONCE = 64
"""Most cells whose neighbors are merged in one step. More cells are first merged in groups."""

MOST_MERGED = 1 << 22
"""Most embeddings whose neighbors are merged by one task of the last step."""

FILL_FACTOR = 0.7
"""Average size of a cell divided by what fits into a worker's memory: cells of k-means differ in size."""

BORDER_COPIES = 1
"""How many more copies than on average an embedding on the border between cells has at most.

Of planted duplicates of cosine 0.90 and above, 63 cells separate 0.5 % with 3 copies on average and 4 at most, 0.6 %
with 6 at most; with 2 on average, 4.0 % with 3 at most, 4.5 % with 4. Of 2,942 pairs of photos above 0.85 they
separate, in this order, none, 0.1 to 1.3 %, 0.2 to 2.3 %, and 0.3 to 5 %."""

PROCESS_BYTES = 600 << 20
"""Memory of a worker before it does anything, with the libraries that it needs, and of its blocks."""

LEAST_CAPACITY = 10_000
"""Least capacity of a cell; with less there would be too many cells."""

FORMAT = 3
"""Version of the files below shards/; raised when they change."""


_OF_ONE_SEARCH = frozenset(["features", "digest", "n", "earlier"])


@dataclass(frozen=True)
class PartitionLayout:
    """How the embeddings of a features file are split into cells.

    Attributes:
        features: Name of the features file.
        digest: The sha256 of that file.
        n: Number of embeddings.
        d: Length of an embedding.
        k: Neighbors of each embedding, at most n - 1.
        metric: Metric that the neighbors are ranked by.
        copies: Cells that each embedding is put into, on average.
        capacity: Most embeddings of a cell.
        earlier: The sha256 of the record of the earlier search whose neighbors are updated; "" if all are searched.
    """

    features: str
    digest: str
    n: int
    d: int
    k: int
    metric: str
    copies: int
    capacity: int
    earlier: str = ""

    @property
    def block(self) -> int:
        """Number of embeddings in one block of the features. One task compares it with the sample."""
        return max(1, min(BLOCK, self.capacity // 2))

    @property
    def blocks(self) -> int:
        """Number of blocks of the features."""
        return -(-self.n // self.block)

    @property
    def part(self) -> int:
        """Number of embeddings of a cell that one task divides among smaller cells."""
        return max(1, self.capacity // PART_SHARE)

    @property
    def most_copies(self) -> int:
        """Most cells that an embedding is put into; only one on the border of many cells is in so many."""
        return self.copies + BORDER_COPIES if self.copies > 1 else 1

    @property
    def parameters(self) -> dict[str, Any]:
        """What a search has to have in common with an earlier one whose neighbors it updates."""
        return {name: value for name, value in asdict(self).items() if name not in _OF_ONE_SEARCH}

    @property
    def features_folder(self) -> str:
        """Folder of all searches of these features with these parameters."""
        key = json.dumps([FORMAT, asdict(replace(self, earlier=""))], sort_keys=True)
        return f"{layout.PARTITIONS}/{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    @property
    def folder(self) -> str:
        """Folder of all files of this search; another search has another folder."""
        return f"{self.features_folder}/added-{self.earlier[:16]}" if self.earlier else self.features_folder

    def count_cells(self, size: int) -> int:
        """Return into how many cells so many embeddings are divided, if they are too many for one."""
        return max(self.copies + 1, -int(-self.copies * size // (FILL_FACTOR * self.capacity)))

    def count_groups(self, cells: int) -> int:
        """Return in how many groups of cells embeddings are gathered before they are divided among `cells`.

        It is 1 if they are divided at once, which moves them once instead of twice.
        """
        is_large = 4 * self.d * self.copies * self.part // cells >= LEAST_RANGE
        return 1 if is_large else math.isqrt(cells - 1) + 1

    @property
    def merge_bytes(self) -> int:
        """Bytes of neighbors that a worker can merge: half of what a cell takes."""
        return self.capacity * get_bytes_per_embedding(self.d, self.k, self.metric) // 2

    def estimate_memory(self, size: int) -> int:
        """Return the bytes that a worker takes for a cell of so many embeddings."""
        return self._estimate_floats(size) + (size * self.d if self.holds_quantized(size) else 0)

    def holds_quantized(self, size: int) -> bool:
        """Return whether a worker holds so many embeddings in 8 bits, too: if they take no more than a full cell."""
        return self._estimate_floats(size) + size * self.d <= self._estimate_floats(self.capacity)

    def _estimate_floats(self, size: int) -> int:
        return get_fixed_bytes(size, self.d, self.k) + size * get_bytes_per_embedding(self.d, self.k, self.metric)


def get_bytes_per_embedding(d: int, k: int, metric: str) -> int:
    """Return the memory for each embedding of a cell: itself, its index, group, candidates and neighbors."""
    neighbors = k * (24 if is_distance(metric) else 16)
    return 4 * d + 8 + 24 + 8 * (k + SPARE) + 2 * neighbors


def get_fixed_bytes(size: int, d: int, k: int) -> int:
    """Return the memory of a worker besides that: the process, and the products with centers and within a group."""
    centers = -(-size // choose_group_size(size, k))
    return PROCESS_BYTES + 24 * 4 * d * centers + 16 * PART * max(centers, choose_group_size(size, k))


def compute_capacity(memory: int, d: int, k: int, metric: str) -> int:
    """Return how many embeddings a worker with so many bytes can search; 0 if none."""
    size = max(0, (memory - PROCESS_BYTES) // get_bytes_per_embedding(d, k, metric))
    while size and get_fixed_bytes(size, d, k) + size * get_bytes_per_embedding(d, k, metric) > memory:
        size = int(0.98 * size)
    return size


def make_layout(
    config: RunConfig, n: int, d: int, features: str = layout.FEATURES, digest: str = ""
) -> PartitionLayout:
    """Return the layout for n embeddings of d numbers.

    Args:
        config: The parameters of the run.
        n: Number of embeddings.
        d: Length of an embedding.
        features: Name of the features file.
        digest: The sha256 of that file.

    Raises:
        ConfigError: If `partition_memory` is too small for any search.
    """
    k, memory = min(config.nearest_neighbors_k, n - 1), config.partition_memory << 20
    capacity = compute_capacity(memory, d, k, config.distance)
    if capacity < min(n, LEAST_CAPACITY):
        raise ConfigError(
            f"Invalid value for partition_memory: {config.partition_memory} (holds {capacity:,} embeddings of {d} "
            f"numbers with {k} neighbors). Give enough MiB for {LEAST_CAPACITY:,}."
        )
    return PartitionLayout(features, digest, n, d, k, config.distance, config.partition_copies, capacity)
