"""The neighbors found in cells, and merged: arrays of records sorted by embedding, and their files.

A file is complete or missing. It starts with (blocks + 1) int64: where each block of the features starts in the records
that follow, so that a step can read those of some blocks only.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastdup_ray.common.arrays import AnyArray
from fastdup_ray.neighbors.metrics import is_distance, to_score
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.storage import Store

_EDGE = np.dtype("<i8")

READ = 1 << 16
"""Records of a file that are read at a time."""


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


def merge_records(found: Sequence[AnyArray], partitioning: PartitionLayout) -> AnyArray:
    """Return the k nearest neighbors of each embedding among all that were found for it.

    Args:
        found: Arrays of `neighbor_dtype`. An embedding may be in several of them, once in each.
        partitioning: The layout of the search.

    Returns:
        An array of `neighbor_dtype` with a record for each embedding, sorted by `row`.
    """
    records = np.concatenate(found)
    records = records[np.argsort(records["row"], kind="stable")]
    rows, first, counts = np.unique(records["row"], return_index=True, return_counts=True)
    if not len(rows):
        return records
    copy = np.arange(len(records)) - np.repeat(first, counts)
    table = make_empty_neighbors((len(rows), int(counts.max())), partitioning)
    table[np.repeat(np.arange(len(rows)), counts), copy] = records
    columns = {name: table[name].reshape(len(rows), -1) for name in list_columns(table)}
    order = np.lexsort((columns["index"], -to_score(columns["distance"], partitioning.metric)), axis=-1)
    index = np.take_along_axis(columns["index"], order, 1)
    repeated = np.zeros(index.shape, bool)
    repeated[:, 1:] = index[:, 1:] == index[:, :-1]  # a pair has the same value in each cell
    best = np.argsort(repeated, axis=1, kind="stable")[:, : partitioning.k]
    repeated, order = np.take_along_axis(repeated, best, 1), np.take_along_axis(order, best, 1)
    merged = make_empty_neighbors(len(rows), partitioning)
    merged["row"] = rows
    for name, column in columns.items():
        merged[name] = np.where(repeated, merged[name], np.take_along_axis(column, order, 1))
    return merged


# Files


def write_records(store: Store, partitioning: PartitionLayout, name: str, parts: Iterable[AnyArray]) -> None:
    """Write a file of neighbors.

    Args:
        store: The work_dir.
        partitioning: The layout of the search.
        name: Name of the file.
        parts: Arrays of `neighbor_dtype`, sorted by `row` one after the other.
    """
    counts = np.zeros(partitioning.blocks + 1, _EDGE)  # of the embeddings before each block
    with store.create(name) as path, open(path, "wb") as file:
        file.write(counts.data)
        for part in parts:
            file.write(part.data)
            blocks, own = np.unique(part["row"] // partitioning.block, return_counts=True)
            counts[blocks + 1] += own
        file.seek(0)
        file.write(np.cumsum(counts, dtype=_EDGE).data)


def read_records(store: Store, partitioning: PartitionLayout, name: str, blocks: range) -> AnyArray:
    """Return the neighbors in a file of the embeddings in consecutive blocks, an array of `neighbor_dtype`."""
    dtype = neighbor_dtype(partitioning.k, partitioning.metric)
    edges = np.frombuffer(store.read(name, blocks.start * _EDGE.itemsize, (len(blocks) + 1) * _EDGE.itemsize), _EDGE)
    first = (partitioning.blocks + 1) * _EDGE.itemsize + int(edges[0]) * dtype.itemsize
    return np.frombuffer(store.read(name, first, int(edges[-1] - edges[0]) * dtype.itemsize), dtype)


def iter_records(store: Store, partitioning: PartitionLayout, name: str) -> Iterator[AnyArray]:
    """Yield all neighbors in a file, as arrays of `neighbor_dtype` of bounded size."""
    dtype = neighbor_dtype(partitioning.k, partitioning.metric)
    with open(store.fetch(name), "rb") as file:
        file.seek((partitioning.blocks + 1) * _EDGE.itemsize)
        while len(records := np.fromfile(file, dtype, READ)):
            yield records


def format_found_name(partitioning: PartitionLayout, cell: str) -> str:
    """Return the name of the file with the neighbors found in a cell."""
    return f"{format_found_folder(partitioning)}/{cell}.dat"


def format_found_folder(partitioning: PartitionLayout) -> str:
    """Return the folder of the neighbors found in cells."""
    return f"{partitioning.folder}/found"


def format_merged_name(partitioning: PartitionLayout, level: int, number: int) -> str:
    """Return the name of a file with merged neighbors: of a group of cells (level 1), of some blocks (level 2)."""
    return f"{format_merged_folder(partitioning, level)}/{number:06d}.dat"


def format_merged_folder(partitioning: PartitionLayout, level: int) -> str:
    """Return the folder of merged neighbors."""
    return f"{partitioning.folder}/merged-{level}"
