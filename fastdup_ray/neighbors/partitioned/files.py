"""The files of a partitioned search, each whole or not there: rows by cell, what was found in a cell, what was merged.

All stand below `plan.folder`. Who reads a part of one reads nothing else of it, from a bucket as from a disk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastdup_ray.neighbors.metrics import is_distance
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.neighbors.search import check_unit_length
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import read_json, write_json

_ID = np.dtype("<i8")

READ = 1 << 14
"""Rows that are read at once: they are in memory twice meanwhile."""

ROOT = "all"
"""The cell that has all rows, as they stand in the features."""


@dataclass(frozen=True)
class Piece:
    """`count` rows from row `start` on of the file of rows `stem`, or of the features where that is None."""

    stem: str | None
    start: int
    count: int


@dataclass(frozen=True)
class Cell:
    """Rows that are searched together, in pieces; their numbers in the features rise from each to the next."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        return sum(piece.count for piece in self.pieces)

    def part(self, start: int, stop: int) -> "Cell":
        """Its rows from the one at `start` to that before `stop`."""
        pieces, first = [], 0
        for piece in self.pieces:
            low, high = max(start - first, 0), min(stop - first, piece.count)
            if low < high:
                pieces.append(Piece(piece.stem, piece.start + low, high - low))
            first += piece.count
        return Cell(self.name, tuple(pieces))


def make_root_cell(plan: PartitionLayout) -> Cell:
    """All rows, in a piece for each block of the plan."""
    starts = range(0, plan.n, plan.block)
    return Cell(ROOT, tuple(Piece(None, start, min(plan.block, plan.n - start)) for start in starts))


def neighbor_dtype(k: int, metric: str) -> np.dtype:
    """A row's number, its k neighbours' numbers and values, and the cosines to them where those are distances."""
    fields = [("row", "<i8"), ("index", "<i8", (k,)), ("distance", "<f8", (k,))]
    return np.dtype([*fields, ("similarity", "<f8", (k,))] if is_distance(metric) else fields)


def make_empty_neighbors(shape: int | tuple[int, ...], plan: PartitionLayout) -> np.ndarray:
    """`found_dtype` without any neighbours."""
    found = np.zeros(shape, neighbor_dtype(plan.k, plan.metric))
    for name in found.dtype.names[1:]:
        found[name] = -1 if name == "index" else np.nan
    return found


# Rows of a cell


def read_cell(store: Store, plan: PartitionLayout, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """(m, d) float32 rows of length 1, and (m,) int64 numbers of them in the features."""
    rows, numbers = np.empty((cell.rows, plan.d), "<f4"), np.empty(cell.rows, _ID)
    first = 0
    for piece in cell.pieces:
        for start in range(0, piece.count, READ):
            part = Piece(piece.stem, piece.start + start, min(READ, piece.count - start))
            own = slice(first, first + part.count)
            rows[own], numbers[own] = _read_piece(store, plan, part)
            first = own.stop
    return rows, numbers


def _read_piece(store: Store, plan: PartitionLayout, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
    width, name = 4 * plan.d, plan.features if piece.stem is None else piece.stem + ".dat"
    rows = np.frombuffer(store.read(name, piece.start * width, piece.count * width), "<f4").reshape(-1, plan.d)
    if piece.stem is None:
        return check_unit_length(rows), np.arange(piece.start, piece.start + piece.count)
    numbers = store.read(piece.stem + ".ids", piece.start * _ID.itemsize, piece.count * _ID.itemsize)
    return rows, np.frombuffer(numbers, _ID)


def write_groups(
    store: Store, plan: PartitionLayout, stem: str, rows: np.ndarray, numbers: np.ndarray, groups: Sequence[np.ndarray]
) -> None:
    """Rows and numbers of one group after the other (places in both); how many each has is written last."""
    with store.create(stem + ".dat") as path, open(path, "wb") as file:
        for group in groups:
            file.write(np.ascontiguousarray(rows[group]))
    with store.create(stem + ".ids") as path, open(path, "wb") as file:
        for group in groups:
            file.write(np.ascontiguousarray(numbers[group]))
    write_json(store, stem.replace("/rows/", "/counts/") + ".json", {"counts": [len(group) for group in groups]})


def read_group_counts(store: Store, stem: str) -> list[int] | None:
    """Rows of each group that `write_groups` wrote; None where it did not, to the end."""
    name = stem.replace("/rows/", "/counts/") + ".json"
    return read_json(store, name)["counts"] if store.exists(name) else None


def format_embeddings_stem(plan: PartitionLayout, cell: str, number: int) -> str:
    """Of the rows of the `number`-th piece of a cell, put into the cells that come of it."""
    return f"{plan.folder}/rows/{cell}/{number:06d}"


def format_centers_name(plan: PartitionLayout, cell: str) -> str:
    return f"{plan.folder}/centres/{cell}.npz"


# What was found


def format_neighbors_name(plan: PartitionLayout, cell: str) -> str:
    return f"{plan.folder}/found/{cell}.dat"


def write_cell_neighbors(store: Store, plan: PartitionLayout, cell: str, found: np.ndarray) -> None:
    """found: `found_dtype`, by number. Before it stands where each block of the features starts in it."""
    edges = np.minimum(np.arange(plan.blocks + 1) * plan.block, plan.n)
    with store.create(format_neighbors_name(plan, cell)) as path, open(path, "wb") as file:
        file.write(np.searchsorted(found["row"], edges).astype(_ID))
        file.write(found)


def read_cell_neighbors(store: Store, plan: PartitionLayout, cell: str, block: int) -> np.ndarray:
    """What was found in a cell for the rows of a block of the features."""
    name, dtype = format_neighbors_name(plan, cell), neighbor_dtype(plan.k, plan.metric)
    start, stop = np.frombuffer(store.read(name, block * _ID.itemsize, 2 * _ID.itemsize), _ID)
    first = (plan.blocks + 1) * _ID.itemsize
    part = store.read(name, first + int(start) * dtype.itemsize, int(stop - start) * dtype.itemsize)
    return np.frombuffer(part, dtype)


def format_merged_name(plan: PartitionLayout, block: int) -> str:
    return f"{plan.folder}/merged/{block:06d}.dat"


def write_merged(store: Store, plan: PartitionLayout, block: int, merged: np.ndarray) -> None:
    with store.create(format_merged_name(plan, block)) as path, open(path, "wb") as file:
        file.write(merged)


def read_merged(store: Store, plan: PartitionLayout) -> Iterator[np.ndarray]:
    """Block by block, `found_dtype`."""
    dtype = neighbor_dtype(plan.k, plan.metric)
    return (np.fromfile(store.fetch(format_merged_name(plan, block)), dtype) for block in range(plan.blocks))
