"""What searches the rows in its own way, and is stored as an exact faiss index."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastdup_ray.neighbors.faiss_index import FaissIndex


class FlatStored:
    """The half of a `NeighborIndex` that such providers share; each adds `candidates` and `search`."""

    name: str
    exact: bool

    def __init__(self, d: int, threads: int, metric: str, why: str = "as asked", unused: Sequence[str] = ()):
        self.n, self.d, self.metric, self._threads = 0, d, metric, threads
        self.why, self.unused = why, unused

    def add(self, xb: np.ndarray) -> None:
        self._rows, self.n = xb, len(xb)

    def restore(self, xb: np.ndarray, path: Path) -> None:
        self.add(xb)

    def save(self, path: Path) -> None:
        flat = FaissIndex("Flat", self.d, {}, self._threads, self.metric)
        flat.add(self._rows)
        flat.save(path)

    def to_gpu(self, k: int) -> None:
        self.why += f"; searched on the CPU: {self.name} is not on the GPU"
