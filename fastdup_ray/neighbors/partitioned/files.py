"""The files of a partitioned search: embeddings by cell, the neighbors found in each cell, and the merged neighbors.

All are below `PartitionLayout.folder`, and each is complete or missing. A step reads only the part of a file that it
needs, from a bucket as well as from a disk.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fastdup_ray.common.arrays import AnyArray, FloatArray, IntArray
from fastdup_ray.neighbors.metrics import is_distance
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.neighbors.search import check_unit_length
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import read_json, write_json
from fastdup_ray.storage.feature_rows import open_range_reader

_ID = np.dtype("<i8")

READ = 1 << 14
"""Embeddings that are read at a time: they are in memory twice meanwhile."""

ROOT = "all"
"""Name of the cell that has all embeddings, as they are in the features file."""


@dataclass(frozen=True)
class Piece:
    """Consecutive embeddings of a file.

    Attributes:
        stem: Name of the file without its suffix; None for the features file.
        start: Index of the first embedding in it.
        count: Number of embeddings.
    """

    stem: str | None
    start: int
    count: int


@dataclass(frozen=True)
class Cell:
    """Embeddings that are searched together.

    Attributes:
        name: Name of the cell; a cell that another one was divided into has that one's name, a dot and a number.
        pieces: Where the embeddings are. Their indices in the features file ascend.
    """

    name: str
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """Number of embeddings."""
        return sum(piece.count for piece in self.pieces)

    def part(self, start: int, stop: int) -> "Cell":
        """Return the cell with its embeddings from `start` to `stop` - 1 only."""
        pieces, first = [], 0
        for piece in self.pieces:
            low, high = max(start - first, 0), min(stop - first, piece.count)
            if low < high:
                pieces.append(Piece(piece.stem, piece.start + low, high - low))
            first += piece.count
        return Cell(self.name, tuple(pieces))


def make_root_cell(partitioning: PartitionLayout) -> Cell:
    """Return the cell of all embeddings, with a piece for each block of the features."""
    n, block = partitioning.n, partitioning.block
    return Cell(ROOT, tuple(Piece(None, start, min(block, n - start)) for start in range(0, n, block)))


def neighbor_dtype(k: int, metric: str) -> "np.dtype[Any]":
    """Return the dtype of a stored embedding's neighbors.

    Its fields are `row`, the index of the embedding; `index`, those of its k neighbors, -1 for none; `distance`; and
    `similarity` if that is not the distance itself.
    """
    fields = [("row", "<i8"), ("index", "<i8", (k,)), ("distance", "<f8", (k,))]
    return np.dtype([*fields, ("similarity", "<f8", (k,))] if is_distance(metric) else fields)


def make_empty_neighbors(shape: int | tuple[int, ...], partitioning: PartitionLayout) -> AnyArray:
    """Return an array of `neighbor_dtype` without any neighbors."""
    neighbors = np.zeros(shape, neighbor_dtype(partitioning.k, partitioning.metric))
    for name in list_columns(neighbors):
        neighbors[name] = -1 if name == "index" else np.nan
    return neighbors


def list_columns(neighbors: AnyArray) -> tuple[str, ...]:
    """Return the fields of an array of `neighbor_dtype` that have a value for each neighbor."""
    return (neighbors.dtype.names or ())[1:]


# Embeddings of a cell


def read_cell(store: Store, partitioning: PartitionLayout, cell: Cell) -> tuple[FloatArray, IntArray]:
    """Return the embeddings of a cell, (m, d) float32 of unit length, and their indices in the features file, (m,)."""
    embeddings, indices = np.empty((cell.rows, partitioning.d), "<f4"), np.empty(cell.rows, _ID)
    first = 0
    for piece in cell.pieces:
        for start in range(0, piece.count, READ):
            part = Piece(piece.stem, piece.start + start, min(READ, piece.count - start))
            own = slice(first, first + part.count)
            embeddings[own], indices[own] = _read_piece(store, partitioning, part)
            first = own.stop
    return embeddings, indices


def _read_piece(store: Store, partitioning: PartitionLayout, piece: Piece) -> tuple[FloatArray, IntArray]:
    width, stop = 4 * partitioning.d, piece.start + piece.count
    if piece.stem is None:
        read = _open_features(store, partitioning.features, partitioning.digest, partitioning.d)
        return check_unit_length(read(piece.start, stop)), np.arange(piece.start, stop)
    content = store.read(piece.stem + ".dat", piece.start * width, piece.count * width)
    embeddings = np.frombuffer(content, "<f4").reshape(-1, partitioning.d)
    indices = store.read(piece.stem + ".ids", piece.start * _ID.itemsize, piece.count * _ID.itemsize)
    return embeddings, np.frombuffer(indices, _ID)


@lru_cache(maxsize=1)
def _open_features(
    store: Store,
    name: str,
    digest: str,  # noqa: ARG001 (part of the key)
    d: int,
) -> Callable[[int, int], FloatArray]:
    """Return a reader of the features with a digest: a step may read single rows of them many times."""
    return open_range_reader(store, name, d)


def write_groups(
    store: Store, stem: str, embeddings: FloatArray, indices: IntArray, groups: Sequence[IntArray]
) -> None:
    """Write embeddings group by group, for the cells that they are divided into.

    The file of counts is written last; without it the others do not count.

    Args:
        store: The work_dir.
        stem: Name of the files without their suffix, as `format_embeddings_stem` gives it.
        embeddings: (m, d) float32.
        indices: (m,) int64, their indices in the features file.
        groups: For each group, positions in both.
    """
    with store.create(stem + ".dat") as path, open(path, "wb") as file:
        for group in groups:
            file.write(np.ascontiguousarray(embeddings[group]).data)
    with store.create(stem + ".ids") as path, open(path, "wb") as file:
        for group in groups:
            file.write(np.ascontiguousarray(indices[group]).data)
    write_json(store, _format_counts_name(stem), {"counts": [len(group) for group in groups]})


def read_group_counts(store: Store, stem: str) -> list[int] | None:
    """Return the size of each group that `write_groups` has written; None if it did not finish."""
    name = _format_counts_name(stem)
    return read_json(store, name)["counts"] if store.exists(name) else None


def _format_counts_name(stem: str) -> str:
    return stem.replace("/rows/", "/counts/") + ".json"


def format_embeddings_stem(partitioning: PartitionLayout, cell: str, number: int) -> str:
    """Return the stem of the files with the embeddings of a cell's piece `number`, divided among smaller cells."""
    return f"{partitioning.folder}/rows/{cell}/{number:06d}"


def format_centers_name(partitioning: PartitionLayout, cell: str) -> str:
    """Return the name of the file with the centers that a cell is divided by."""
    return f"{partitioning.folder}/centres/{cell}.npz"


# Neighbors


def format_neighbors_name(partitioning: PartitionLayout, cell: str) -> str:
    """Return the name of the file with the neighbors found in a cell."""
    return f"{partitioning.folder}/found/{cell}.dat"


def write_cell_neighbors(store: Store, partitioning: PartitionLayout, cell: str, neighbors: AnyArray) -> None:
    """Write the neighbors found in a cell.

    The file starts with (blocks + 1) int64: where each block of the features starts in the array that follows.

    Args:
        store: The work_dir.
        partitioning: The layout of the search.
        cell: Name of the cell.
        neighbors: An array of `neighbor_dtype`, sorted by `row`.
    """
    edges = np.minimum(np.arange(partitioning.blocks + 1) * partitioning.block, partitioning.n)
    with store.create(format_neighbors_name(partitioning, cell)) as path, open(path, "wb") as file:
        file.write(np.searchsorted(neighbors["row"], edges).astype(_ID).data)
        file.write(neighbors.data)


def read_cell_neighbors(store: Store, partitioning: PartitionLayout, cell: str, block: int) -> AnyArray:
    """Return the neighbors found in a cell for the embeddings of one block of the features."""
    name, dtype = format_neighbors_name(partitioning, cell), neighbor_dtype(partitioning.k, partitioning.metric)
    start, stop = np.frombuffer(store.read(name, block * _ID.itemsize, 2 * _ID.itemsize), _ID)
    first = (partitioning.blocks + 1) * _ID.itemsize
    content = store.read(name, first + int(start) * dtype.itemsize, int(stop - start) * dtype.itemsize)
    return np.frombuffer(content, dtype)


def format_merged_name(partitioning: PartitionLayout, block: int) -> str:
    """Return the name of the file with the merged neighbors of one block of the features."""
    return f"{partitioning.folder}/merged/{block:06d}.dat"


def write_merged(store: Store, partitioning: PartitionLayout, block: int, merged: AnyArray) -> None:
    """Write the merged neighbors of one block of the features, an array of `neighbor_dtype`."""
    with store.create(format_merged_name(partitioning, block)) as path, open(path, "wb") as file:
        file.write(merged.data)


def read_merged(store: Store, partitioning: PartitionLayout) -> Iterator[AnyArray]:
    """Yield the merged neighbors, block by block, as arrays of `neighbor_dtype`."""
    dtype = neighbor_dtype(partitioning.k, partitioning.metric)
    for block in range(partitioning.blocks):
        yield np.fromfile(store.fetch(format_merged_name(partitioning, block)), dtype)
