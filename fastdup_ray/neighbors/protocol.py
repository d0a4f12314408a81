"""The protocol that every index follows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fastdup_ray.common.arrays import AnyArray, FloatArray, IntArray


class NeighborIndex(Protocol):
    """An index over n embeddings of d numbers, all of unit length.

    An index returns candidates. `search.select_closest` computes their exact values and ranks them, so the values that
    an index returns need not be those of the metric.

    Attributes:
        name: Name of the index, as in `summary.json`.
        why: Why this index was chosen, for people.
        metric: Metric that the neighbors are ranked by.
        d: Length of an embedding.
        exact: Whether the index finds the true nearest neighbors by `metric`.
        unused: Names in `faiss_param` that this index does not have.
    """

    name: str
    why: str
    metric: str
    d: int
    exact: bool
    unused: Sequence[str]

    @property
    def n(self) -> int:
        """Number of embeddings in the index."""

    def add(self, xb: FloatArray) -> None:
        """Add all embeddings, (n, d) float32, in one call: an HNSW graph built in several has a lower recall."""

    def restore(self, xb: FloatArray, path: Path) -> None:
        """Do the same as `add(xb)`, from the file that `save` of an equal index has written."""

    def candidates(self, k: int) -> int:
        """Return how many candidates to ask for, so that the k nearest are among them."""

    def search(self, xq: FloatArray, k: int) -> tuple[AnyArray, IntArray]:
        """Return k candidates for each query.

        Args:
            xq: Queries, (m, d) float32.
            k: Number of candidates.

        Returns:
            Values of the index's own, and indices of embeddings, both (m, k); the index is -1 where there is none.
        """

    def search_within(self, k: int) -> IntArray | None:
        """Return k candidates for each embedding of the index, itself not among them.

        Returns:
            (n, k) indices, -1 where there is none; None if this takes no less than `search` for all embeddings.
        """

    def save(self, path: Path) -> None:
        """Write a faiss index to `path`."""

    def to_gpu(self, k: int) -> None:
        """Search for `k` neighbors on the GPU from now on, if possible, and add to `why` where it is searched."""
