"""Neighbors in files, so that a step can read them without holding all of them in memory."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import AnyArray
from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.common.records import Neighbors
from fastdup_ray.neighbors.metrics import is_distance
from fastdup_ray.neighbors.search_plan import SearchPlan
from fastdup_ray.storage import Store


@dataclass(frozen=True, slots=True)
class StoredNeighbors:
    """Neighbors that are stored in a work_dir: see `records.Neighbors`.

    Attributes:
        summary: What was searched, how, and the measured recall.
        metric: Metric of the distances.
        files: The set of files that they are of.
        plan: How they were searched; None if without an index of this run.
        index_sha256: Digest of faiss.index; None if that is not known.
        kept: Whether their files are those that stay in the work_dir.
    """

    summary: SearchSummary
    metric: str
    files: FileSet
    plan: SearchPlan | None = None
    index_sha256: str | None = None
    kept: bool = False

    def open(self, store: Store) -> Neighbors:
        """Map the arrays from their files.

        Raises:
            FileNotFoundError: If they are not in the work_dir.
        """
        indices, distance = (self._map_array(store, name) for name in ("indices", "distance"))
        similarity = self._map_array(store, "similarity") if is_distance(self.metric) else distance
        return Neighbors(similarity, indices, self.summary, distance, self.metric)

    def get_plan(self) -> SearchPlan:
        """Return the plan of the index that was searched.

        Raises:
            ValueError: If there is none: the search was partitioned, or used a stored index.
        """
        if self.plan is None:
            raise ValueError("These neighbors were not searched with an index of this run.")
        return self.plan

    def _map_array(self, store: Store, name: str) -> AnyArray:
        path = store.fetch(_array_name(self.files, name, kept=self.kept))
        array: AnyArray = np.load(path, mmap_mode="r")
        return array


@contextmanager
def create_neighbors(
    store: Store, n: int, k: int, metric: str, files: FileSet = INDEXED, *, kept: bool = False
) -> Iterator[Neighbors]:
    """Create mapped arrays to fill, without a summary; they are put into the work_dir on a clean exit.

    Args:
        store: The work_dir.
        n: Number of images.
        k: Neighbors of each.
        metric: Metric of the distances. For `cosine`, `similarity` and `distance` are one array.
        files: The set of files to write to.
        kept: Write to the files that stay in the work_dir.
    """
    with ExitStack() as stack:

        def create(name: str, dtype: npt.DTypeLike) -> "np.memmap[Any, np.dtype[Any]]":
            path = stack.enter_context(store.create(_array_name(files, name, kept=kept)))
            return np.lib.format.open_memmap(path, "w+", dtype, (n, k))

        indices, distance = create("indices", np.int64), create("distance", np.float64)
        similarity = create("similarity", np.float64) if is_distance(metric) else distance
        yield Neighbors(similarity, indices, {}, distance, metric)
        for array in (indices, distance, similarity):
            array.flush()


def store_neighbors(
    store: Store, neighbors: Neighbors, files: FileSet = INDEXED, plan: SearchPlan | None = None, *, kept: bool = False
) -> StoredNeighbors:
    """Copy neighbors into the work_dir, block by block.

    Args:
        store: The work_dir.
        neighbors: What to copy.
        files: The set of files to write to.
        plan: How they were searched.
        kept: Write to the files that stay in the work_dir.
    """
    with create_neighbors(store, len(neighbors), neighbors.k, neighbors.metric, files, kept=kept) as new:
        for block in neighbors.blocks():
            new.indices[block], new.distance[block] = neighbors.indices[block], neighbors.distance[block]
            if new.similarity is not new.distance:
                new.similarity[block] = neighbors.similarity[block]
    return StoredNeighbors(neighbors.summary, neighbors.metric, files, plan, kept=kept)


def _array_name(files: FileSet, name: str, *, kept: bool) -> str:
    return files.name(layout.KEPT_ARRAYS[name] if kept else f"{layout.NEIGHBORS}/{name}.npy")
