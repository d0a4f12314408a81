"""Update the neighbors of an earlier search: the steps that search only what is new, besides those in `tasks`.

New images are put into cells by the centers of the earlier search, and compared with all images of their cells. So are
images that had a removed one as a neighbor. What is found is merged with the earlier neighbors.
"""

from collections.abc import Iterator
from typing import cast

import numpy as np

from fastdup_ray.common.arrays import AnyArray, BoolArray, FloatArray, IntArray
from fastdup_ray.common.facts import AddedSummary
from fastdup_ray.common.records import Neighbors
from fastdup_ray.errors import DamagedError
from fastdup_ray.neighbors.partitioned.cell_files import READ, Cell, read_cell
from fastdup_ray.neighbors.partitioned.cell_knn import search_chosen
from fastdup_ray.neighbors.partitioned.earlier_search import EarlierSearch, open_earlier, restore_centers
from fastdup_ray.neighbors.partitioned.embedding_digests import map_digests, match_digests
from fastdup_ray.neighbors.partitioned.neighbor_records import (
    format_found_name,
    list_columns,
    make_empty_neighbors,
    write_records,
)
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.neighbors.partitioned.tasks import make_records
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import read_json, write_json


def prepare_added(store: Store, partitioning: PartitionLayout, earlier: EarlierSearch) -> AddedSummary | None:
    """Write what the steps need of an earlier search, so that it may be replaced from then on.

    Args:
        store: The work_dir.
        partitioning: The layout of this search.
        earlier: The one that `find_earlier` has found.

    Returns:
        What is to do; None if too much is new, or a file of the earlier search is damaged.
    """
    if store.is_file(_format_summary_name(partitioning)):
        return read_added(store, partitioning)
    try:
        digests, neighbors = open_earlier(store, partitioning, earlier)
    except (DamagedError, FileNotFoundError):
        return None
    old = match_digests(map_digests(store, partitioning), digests)
    new = np.full(earlier.n, -1)
    new[old[old >= 0]] = np.flatnonzero(old >= 0)
    added_count, removed = int((old < 0).sum()), int((new < 0).sum())
    if not earlier.allows(added_count + removed, added_count, partitioning.n):
        return None
    is_searched, least = old < 0, np.full(partitioning.n, -1, np.float32)
    records = _update_records(partitioning, neighbors, old, new, is_searched, least)
    write_records(store, partitioning, format_earlier_name(partitioning), records)
    if not earlier.allows(added_count + removed, int(is_searched.sum()), partitioning.n):
        return None
    _save(store, partitioning, "searched", np.flatnonzero(is_searched))
    _save(store, partitioning, "least", least)
    restore_centers(store, partitioning)
    added: AddedSummary = {
        "new": added_count,
        "removed": removed,
        "searched": int(is_searched.sum()),
        "last_full": earlier.full,
        "changed_since": earlier.changed + added_count + removed,
    }
    write_json(store, _format_summary_name(partitioning), added)
    return added


def read_added(store: Store, partitioning: PartitionLayout) -> AddedSummary:
    """Return what `prepare_added` has returned."""
    return cast("AddedSummary", read_json(store, _format_summary_name(partitioning)))


def _update_records(
    partitioning: PartitionLayout,
    neighbors: Neighbors,
    old: IntArray,
    new: IntArray,
    is_searched: BoolArray,
    least: FloatArray,
) -> Iterator[AnyArray]:
    """Yield what is left of the earlier neighbors of each embedding: none if it is new.

    Args:
        partitioning: The layout of this search.
        neighbors: The earlier ones.
        old: (n,) index that each embedding had in the earlier search, -1 for none.
        new: (m,) index that each embedding of the earlier search has in this one, -1 for none.
        is_searched: (n,) bool, set for the embeddings that have lost a neighbor.
        least: (n,) float32, set to the similarity of the last neighbor of those that have all.
    """
    for start in range(0, partitioning.n, READ):
        stop = min(start + READ, partitioning.n)
        there = np.flatnonzero(old[start:stop] >= 0)
        own, rows = old[start + there], start + there
        before = np.asarray(neighbors.indices[own])
        index = np.where(before < 0, -1, new[before])
        records = make_empty_neighbors(stop - start, partitioning)
        records["row"] = np.arange(start, stop)
        records["index"][there] = index
        for column in list_columns(records)[1:]:
            records[column][there] = np.where(index < 0, np.nan, getattr(neighbors, column)[own])
        is_searched[rows] = ((index < 0) & (before >= 0)).any(axis=1)
        has_all = (index >= 0).all(axis=1)
        least[rows[has_all]] = neighbors.similarity[own][has_all].min(axis=1, initial=1)
        yield records


def search_added(store: Store, partitioning: PartitionLayout, cell: Cell, threads: int) -> None:
    """Find the nearest neighbors of the embeddings to search in a cell, and those of which they are neighbors."""
    embeddings, indices = read_cell(store, partitioning, cell)
    searched, least = (_load(store, partitioning, name) for name in ("searched", "least"))
    chosen = np.flatnonzero(np.isin(indices, searched, assume_unique=True))
    k = min(partitioning.k, len(embeddings) - 1)
    records = make_empty_neighbors(0, partitioning)
    if k and len(chosen):
        hold_quantized = partitioning.holds_quantized(len(embeddings))
        rows, found = search_chosen(
            embeddings, chosen, least[indices], k, partitioning.metric, threads, hold_quantized=hold_quantized
        )
        records = make_records(partitioning, embeddings, indices, rows, found, threads)
    write_records(store, partitioning, format_found_name(partitioning, cell.name), [records])


def format_earlier_name(partitioning: PartitionLayout) -> str:
    """Return the name of the file with what is left of the earlier neighbors."""
    return _format_name(partitioning, "earlier.dat")


def _format_summary_name(partitioning: PartitionLayout) -> str:
    return _format_name(partitioning, "added.json")


def _save(store: Store, partitioning: PartitionLayout, name: str, array: AnyArray) -> None:
    with store.create(_format_name(partitioning, f"{name}.npy")) as path, open(path, "wb") as file:
        np.save(file, array)


def _load(store: Store, partitioning: PartitionLayout, name: str) -> AnyArray:
    array: AnyArray = np.load(store.fetch(_format_name(partitioning, f"{name}.npy")), mmap_mode="r")
    return array


def _format_name(partitioning: PartitionLayout, name: str) -> str:
    return f"{partitioning.folder}/{name}"
