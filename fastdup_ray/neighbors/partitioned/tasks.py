"""The steps of a partitioned search: functions over a work_dir, each for one cell, part of a cell, or some blocks.

Those of `division` come first; those of `recall` come between merging and collecting. Each step writes a complete file
or none; the caller skips steps whose file is there. An executor calls a step with `threads`, the number of threads that
it may use, as its last argument; no result depends on that.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import AnyArray, FloatArray, IntArray
from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.neighbors.flat_file import write_flat
from fastdup_ray.neighbors.kept_neighbors import KEPT_ABOVE
from fastdup_ray.neighbors.metrics import COSINE, compute_values, is_distance
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, create_neighbors
from fastdup_ray.neighbors.partitioned.cell_files import (
    READ,
    ROOT,
    Cell,
    make_root_cell,
    read_cell,
)
from fastdup_ray.neighbors.partitioned.cell_knn import LOOK_ALIKE_FROM, UNRELATED_BELOW, CellNeighbors, search_within
from fastdup_ray.neighbors.partitioned.neighbor_records import (
    format_found_name,
    iter_records,
    make_empty_neighbors,
    merge_records,
    read_records,
    write_records,
)
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.neighbors.search import BLOCK
from fastdup_ray.neighbors.search_plan import USABLE_SHARE
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file
from fastdup_ray.system.memory import measure_free_memory
from fastdup_ray.system.threads import map_threads

MERGED_BYTES = 32 << 20
"""Bytes of neighbors that are sorted at a time."""


def search_cell(store: Store, partitioning: PartitionLayout, cell: Cell, threads: int) -> None:
    """Find the nearest neighbors of each embedding of a cell among the others of it."""
    embeddings, indices = read_cell(store, partitioning, cell)
    least = UNRELATED_BELOW if cell.name == ROOT else LOOK_ALIKE_FROM
    k = min(partitioning.k, len(embeddings) - 1)
    hold_quantized = partitioning.holds_quantized(len(embeddings))
    within = search_within(embeddings, k, partitioning.metric, threads, least, hold_quantized=hold_quantized)
    neighbors = make_records(partitioning, embeddings, indices, np.arange(len(embeddings)), within, threads)
    write_records(store, partitioning, format_found_name(partitioning, cell.name), [neighbors])


def make_records(
    partitioning: PartitionLayout,
    embeddings: FloatArray,
    indices: IntArray,
    rows: IntArray,
    found: CellNeighbors,
    threads: int,
) -> AnyArray:
    """Return neighbors that were found in a cell as an array of `neighbor_dtype`.

    Args:
        partitioning: The layout of the search.
        embeddings: (m, d) float32, those of the cell.
        indices: (m,) int64, their indices in the features file, ascending.
        rows: (r,) int64, which of them have neighbors, ascending.
        found: The neighbors of these.
        threads: Threads to use.
    """
    k = found.index.shape[1]
    neighbors = make_empty_neighbors(len(rows), partitioning)
    neighbors["row"] = indices[rows]
    neighbors["index"][:, :k] = np.where(found.index < 0, -1, indices[found.index])
    neighbors["distance"][:, :k] = found.distance
    if is_distance(partitioning.metric):
        parts = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
        cosines = map_threads(
            threads, lambda part: compute_values(embeddings[rows[part]], embeddings, found.index[part], COSINE), parts
        )
        neighbors["similarity"][:, :k] = np.concatenate([np.empty((0, k)), *cosines])
    return neighbors


def merge_neighbors(
    store: Store,
    partitioning: PartitionLayout,
    sources: Sequence[str],
    name: str,
    blocks: range,
    threads: int,  # noqa: ARG001 (passed by the executor)
) -> None:
    """Merge what several files say of the embeddings in some blocks into one file: the nearest neighbors of each.

    Args:
        store: The work_dir.
        partitioning: The layout of the search.
        sources: Names of files of neighbors. What they say of these blocks is held in memory.
        name: Name of the file to write.
        blocks: The blocks.
        threads: Of the worker.
    """
    with ThreadPoolExecutor(store.at_once) as pool:
        found = list(pool.map(lambda source: read_records(store, partitioning, source, blocks), sources))
    each = partitioning.most_copies * found[0].dtype.itemsize
    first, last = blocks.start * partitioning.block, min(blocks.stop * partitioning.block, partitioning.n)
    edges = [*range(first, last, max(1, MERGED_BYTES // each)), last]

    def merge_rows(start: int, stop: int) -> AnyArray:
        bounds = [np.searchsorted(records["row"], (start, stop)) for records in found]
        return merge_records([records[slice(*own)] for records, own in zip(found, bounds, strict=True)], partitioning)

    write_records(store, partitioning, name, (merge_rows(start, stop) for start, stop in pairwise(edges)))


# Collect


def gather_neighbors(
    store: Store, partitioning: PartitionLayout, merged: Sequence[str], summary: SearchSummary
) -> StoredNeighbors:
    """Store the merged neighbors as the outputs read them.

    Args:
        store: The work_dir.
        partitioning: The layout of the search.
        merged: Names of the files with the merged neighbors of all embeddings, in order.
        summary: What was searched, how, and the recall.
    """
    start, kept = 0, partitioning.n > KEPT_ABOVE
    with create_neighbors(store, partitioning.n, partitioning.k, partitioning.metric, kept=kept) as neighbors:
        for records in chain.from_iterable(iter_records(store, partitioning, name) for name in merged):
            own = slice(start, start + len(records))
            neighbors.indices[own], neighbors.distance[own] = records["index"], records["distance"]
            if is_distance(partitioning.metric):
                neighbors.similarity[own] = records["similarity"]
            start = own.stop
    return StoredNeighbors(summary, partitioning.metric, INDEXED, kept=kept)


def write_index(store: Store, partitioning: PartitionLayout) -> str | None:
    """Write an exact faiss.index, in little memory, if a process of this node could load it.

    Returns:
        Its SHA-256; None if it was not written. More images than that cannot be the index of run modes 3 and 4.
    """
    if 4 * partitioning.d * partitioning.n > USABLE_SHARE * measure_free_memory():
        store.remove(layout.FAISS_INDEX)
        return None
    n, d, metric = partitioning.n, partitioning.d, partitioning.metric
    cells = make_root_cell(partitioning).cut(READ)
    with store.create(layout.FAISS_INDEX) as path:
        write_flat(path, n, d, metric, (read_cell(store, partitioning, cell)[0] for cell in cells))
        return hash_file(path)
