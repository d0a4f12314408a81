"""Neighbours in files, so that who goes on with them need not hold them: three arrays below shards/."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.common.records import Neighbors
from fastdup_ray.neighbors.metrics import is_distance
from fastdup_ray.storage import Store


@dataclass(frozen=True, slots=True)
class StoredNeighbors:
    """What is told of neighbours that lie in a work_dir: see `records.Neighbors`."""

    summary: SearchSummary
    metric: str
    files: FileSet

    def open(self, store: Store) -> Neighbors:
        """The arrays are mapped; raises `FileNotFoundError`."""
        indices, distance = (_map_array(store, self.files, name) for name in ("indices", "distance"))
        similarity = _map_array(store, self.files, "similarity") if is_distance(self.metric) else distance
        return Neighbors(similarity, indices, self.summary, distance, self.metric)


@contextmanager
def create_neighbors(store: Store, n: int, k: int, metric: str, files: FileSet = INDEXED) -> Iterator[Neighbors]:
    """Mapped arrays to fill, without a summary; they are put into the work_dir on a clean exit.

    For `cosine`, `similarity` and `distance` are one array.
    """
    with ExitStack() as stack:

        def create(name: str, dtype: type) -> np.ndarray:
            path = stack.enter_context(store.create(_array_name(files, name)))
            return np.lib.format.open_memmap(path, "w+", dtype, (n, k))

        indices, distance = create("indices", np.int64), create("distance", np.float64)
        similarity = create("similarity", np.float64) if is_distance(metric) else distance
        yield Neighbors(similarity, indices, {}, distance, metric)
        for array in (indices, distance, similarity):
            array.flush()


def store_neighbors(store: Store, neighbors: Neighbors, files: FileSet = INDEXED) -> StoredNeighbors:
    """Copies them into the work_dir, part by part."""
    with create_neighbors(store, len(neighbors), neighbors.k, neighbors.metric, files) as new:
        for part in neighbors.blocks():
            new.indices[part], new.distance[part] = neighbors.indices[part], neighbors.distance[part]
            if new.similarity is not new.distance:
                new.similarity[part] = neighbors.similarity[part]
    return StoredNeighbors(neighbors.summary, neighbors.metric, files)


def _array_name(files: FileSet, name: str) -> str:
    return files.name(f"{layout.NEIGHBORS}/{name}.npy")


def _map_array(store: Store, files: FileSet, name: str) -> np.ndarray:
    return np.load(store.fetch(_array_name(files, name)), mmap_mode="r")
