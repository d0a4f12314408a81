"""Base class of indexes that search in a way of their own and are stored as an exact faiss index."""

from collections.abc import Sequence
from pathlib import Path

from fastdup_ray.common.arrays import FloatArray, IntArray
from fastdup_ray.neighbors.faiss_index import FaissIndex


class FlatStored:
    """What such indexes share of the protocol `NeighborIndex`; a subclass adds `candidates` and `search`.

    Args:
        d: Length of an embedding.
        threads: Threads that build and search the index.
        metric: Metric that the neighbors are ranked by.
        why: Why this index was chosen, for people.
        unused: Names in `faiss_param`, which such an index does not have.
    """

    name: str
    exact: bool

    def __init__(self, d: int, threads: int, metric: str, why: str = "as asked", unused: Sequence[str] = ()) -> None:
        self.n, self.d, self.metric, self._threads = 0, d, metric, threads
        self.why, self.unused = why, unused

    def add(self, xb: FloatArray) -> None:
        self._embeddings, self.n = xb, len(xb)

    def restore(self, xb: FloatArray, path: Path) -> None:  # noqa: ARG002 (the file has no more than the embeddings)
        self.add(xb)

    def search_within(self, k: int) -> IntArray | None:  # noqa: ARG002 (part of the protocol)
        return None

    def save(self, path: Path) -> None:
        flat = FaissIndex("Flat", self.d, {}, self._threads, self.metric)
        flat.add(self._embeddings)
        flat.save(path)

    def to_gpu(self, k: int) -> None:  # noqa: ARG002 (part of the protocol)
        self.why += f"; searched on the CPU: {self.name} is not on the GPU"
