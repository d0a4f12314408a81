"""Embeddings by cell: the files that they are moved to before the cells are searched.

All are below `PartitionLayout.folder`, and each is complete or missing. A step reads only the part of a file that it
needs, from a bucket as well as from a disk.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdup_ray.common.arrays import AnyArray, FloatArray, IntArray
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.neighbors.search import check_unit_length
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import read_json, write_json
from fastdup_ray.storage.feature_rows import open_range_reader

CellNumbers = npt.NDArray[np.int32]

READ = 1 << 14
"""Embeddings that are read, or written, at a time: they are in memory twice meanwhile."""

READERS = 4
"""Of these, how many are read at the same time if they are in a bucket."""

ROW_READERS = 16
"""Single embeddings that are read at the same time: each takes a request if they are in a bucket."""

ROOT = "all"
"""Name of the cell that has all embeddings, as they are in the features file."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive embeddings of a file.

    Attributes:
        file: Name of the file; None for the features file.
        start: Index of the first embedding in it.
        count: Number of embeddings.
    """

    file: str | None
    start: int
    count: int

    def cut(self, start: int, stop: int) -> "Piece":
        """Return the piece with its embeddings from `start` to `stop` - 1 only."""
        return Piece(self.file, self.start + start, stop - start)


@dataclass(frozen=True)
class Cell:
    """Embeddings that are searched together, or divided into smaller cells.

    Attributes:
        name: Name of the cell; a cell that another one was divided into has that one's name, a dot and a number.
        pieces: Where the embeddings are. Their indices in the features file ascend.
        group: Numbers of the smaller cells whose embeddings are gathered here, each embedding with the numbers of its
            cells; None for any other cell.
    """

    name: str
    pieces: tuple[Piece, ...]
    group: range | None = None

    @property
    def rows(self) -> int:
        """Number of embeddings."""
        return sum(piece.count for piece in self.pieces)

    def cut(self, size: int) -> Iterator["Cell"]:
        """Yield parts of the cell with `size` embeddings each, in order; the last one may have fewer."""
        pieces: list[Piece] = []
        room = size
        for piece in self.pieces:
            start = 0
            while start < piece.count:
                stop = min(piece.count, start + room)
                pieces.append(piece.cut(start, stop))
                start, room = stop, room - (stop - start)
                if not room:
                    yield Cell(self.name, tuple(pieces), self.group)
                    pieces, room = [], size
        if pieces:
            yield Cell(self.name, tuple(pieces), self.group)


def make_root_cell(partitioning: PartitionLayout) -> Cell:
    """Return the cell of all embeddings."""
    return Cell(ROOT, (Piece(None, 0, partitioning.n),))


# Read


def read_cell(store: Store, partitioning: PartitionLayout, cell: Cell) -> tuple[FloatArray, IntArray]:
    """Return the embeddings of a cell, (m, d) float32 of unit length, and their indices in the features file, (m,)."""
    embeddings, indices, _ = read_group(store, partitioning, cell)
    return embeddings, indices


def read_group(store: Store, partitioning: PartitionLayout, cell: Cell) -> tuple[FloatArray, IntArray, CellNumbers]:
    """Return the embeddings of a group of cells, their indices, and their cells.

    Returns:
        (m, d) float32 of unit length; (m,) int64 indices in the features file; (m, `most_copies`) int32 numbers of
        cells, -1 for none, or (m, 0) if the cell is no group.
    """
    m, labels = cell.rows, partitioning.most_copies if cell.group else 0
    embeddings, indices = np.empty((m, partitioning.d), np.float32), np.empty(m, np.int64)
    cells = np.empty((m, labels), np.int32)

    def read(work: tuple[int, Piece]) -> None:
        first, piece = work
        own = slice(first, first + piece.count)
        if piece.file is None:
            embeddings[own] = _read_features(store, partitioning, piece.start, piece.count)
            indices[own] = np.arange(piece.start, piece.start + piece.count)
        else:
            dtype = _record_dtype(partitioning.d, labels)
            content = store.read(piece.file, piece.start * dtype.itemsize, piece.count * dtype.itemsize)
            records: AnyArray = np.frombuffer(content, dtype)
            embeddings[own], indices[own], cells[own] = records["embedding"], records["row"], records["cells"]

    with ThreadPoolExecutor(min(store.at_once, READERS)) as pool:
        list(pool.map(read, _cut_reads(cell)))
    return embeddings, indices, cells


def _cut_reads(cell: Cell) -> Iterator[tuple[int, Piece]]:
    """Yield what is read at a time, with the position of its first embedding in the cell."""
    first = 0
    for piece in cell.pieces:
        for start in range(0, piece.count, READ):
            yield first + start, piece.cut(start, min(start + READ, piece.count))
        first += piece.count


def _read_features(store: Store, partitioning: PartitionLayout, start: int, count: int) -> FloatArray:
    """Return consecutive embeddings of the features file, (count, d) float32 of unit length."""
    read = _open_features(store, partitioning.features, partitioning.digest, partitioning.d)
    return check_unit_length(read(start, start + count))


@lru_cache(maxsize=1)
def _open_features(
    store: Store,
    name: str,
    digest: str,  # noqa: ARG001 (part of the key)
    d: int,
) -> Callable[[int, int], FloatArray]:
    """Return a reader of the features with a digest: a step may read single rows of them many times."""
    return open_range_reader(store, name, d)


def _record_dtype(d: int, labels: int) -> "np.dtype[Any]":
    """Return the dtype of a stored embedding: its index in the features file, itself, and the numbers of its cells."""
    return np.dtype([("row", "<i8"), ("embedding", "<f4", (d,)), ("cells", "<i4", (labels,))])


def read_embeddings_at(store: Store, partitioning: PartitionLayout, cell: Cell, positions: IntArray) -> FloatArray:
    """Return the embeddings at sorted positions of a cell, (s, d) float32 of unit length."""
    starts = np.cumsum([0, *(piece.count for piece in cell.pieces)])
    numbers = np.searchsorted(starts, positions, side="right") - 1
    pieces = [
        cell.pieces[i].cut(start, start + 1)
        for i, start in zip(numbers.tolist(), (positions - starts[numbers]).tolist(), strict=True)
    ]
    with ThreadPoolExecutor(ROW_READERS) as pool:
        parts = list(pool.map(lambda piece: read_cell(store, partitioning, Cell(cell.name, (piece,)))[0], pieces))
    return np.concatenate(parts)


# Write


def write_part(
    store: Store,
    partitioning: PartitionLayout,
    cell: str,
    number: int,
    embeddings: FloatArray,
    indices: IntArray,
    groups: Sequence[IntArray],
    cells: Sequence[CellNumbers] | None = None,
) -> None:
    """Write the embeddings of a part of a cell, divided among smaller cells or groups of them.

    The file of counts is written last; without it the other one does not count.

    Args:
        store: The work_dir.
        partitioning: The layout of the search.
        cell: Name of the cell.
        number: Number of the part.
        embeddings: (m, d) float32.
        indices: (m,) int64, their indices in the features file.
        groups: For each smaller cell, or group, positions in both, ascending.
        cells: For each group, (g, `most_copies`) int32, the cells of its embeddings.
    """
    dtype = _record_dtype(partitioning.d, partitioning.most_copies if cells else 0)
    with store.create(format_part_name(partitioning, cell, number)) as path, open(path, "wb") as file:
        for group, positions in enumerate(groups):
            for start in range(0, len(positions), READ):
                own = slice(start, start + READ)
                records: AnyArray = np.empty(len(positions[own]), dtype)
                records["row"], records["embedding"] = indices[positions[own]], embeddings[positions[own]]
                if cells:
                    records["cells"] = cells[group][own]
                file.write(records.data)
    counts = {"counts": [len(positions) for positions in groups]}
    write_json(store, _format_counts_name(partitioning, cell, number), counts)


def list_written_parts(store: Store, partitioning: PartitionLayout, cell: str) -> set[int]:
    """Return the numbers of the parts of a cell that `write_part` has written."""
    names = store.names(_format_counts_folder(partitioning, cell))
    return {int(stem) for name in names if (stem := name.rpartition("/")[2].removesuffix(".json")).isdigit()}


def read_counts(store: Store, partitioning: PartitionLayout, cell: str, parts: int) -> IntArray:
    """Return how many embeddings of each part of a cell went to each smaller one, (parts, groups) int64."""
    names = [_format_counts_name(partitioning, cell, number) for number in range(parts)]
    with ThreadPoolExecutor(store.at_once) as pool:
        return np.array(list(pool.map(lambda name: read_json(store, name)["counts"], names)), np.int64)


def make_pieces(partitioning: PartitionLayout, cell: str, counts: IntArray) -> list[tuple[Piece, ...]]:
    """Return the pieces of each cell that another one was divided into, by its name and `read_counts` of it."""
    starts = np.cumsum(counts, axis=1) - counts
    names = [format_part_name(partitioning, cell, number) for number in range(len(counts))]
    return [
        tuple(Piece(names[i], int(starts[i, j]), int(counts[i, j])) for i in np.flatnonzero(counts[:, j]))
        for j in range(counts.shape[1])
    ]


def format_part_name(partitioning: PartitionLayout, cell: str, number: int) -> str:
    """Return the name of the file with the embeddings of a part of a cell, by smaller cells."""
    return f"{format_rows_folder(partitioning, cell)}/{number:06d}.dat"


def format_rows_folder(partitioning: PartitionLayout, cell: str | None = None) -> str:
    """Return the folder of the embeddings of a cell, by smaller cells; without a name, that of all of them."""
    return f"{partitioning.folder}/rows" + (f"/{cell}" if cell else "")


def format_centers_name(partitioning: PartitionLayout, cell: str) -> str:
    """Return the name of the file with the centers that a cell is divided by."""
    return f"{format_centers_folder(partitioning)}/{cell}.npz"


def format_centers_folder(partitioning: PartitionLayout) -> str:
    """Return the folder of the centers of all cells."""
    return f"{partitioning.folder}/centers"


def _format_counts_folder(partitioning: PartitionLayout, cell: str) -> str:
    return f"{partitioning.folder}/counts/{cell}"


def _format_counts_name(partitioning: PartitionLayout, cell: str, number: int) -> str:
    return f"{_format_counts_folder(partitioning, cell)}/{number:06d}.json"
