"""The steps of a partitioned search: functions over a work_dir, each for one cell, part of a cell, or some blocks.

Those of `division` come first. Each step writes a complete file or none; the caller skips steps whose file is there. An
executor calls a step with `threads`, the number of threads that it may use, as its last argument; no result depends on
that.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import AnyArray, DoubleArray, FloatArray, IntArray
from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.neighbors.flat_file import write_flat
from fastdup_ray.neighbors.kept_neighbors import KEPT_ABOVE
from fastdup_ray.neighbors.metrics import COSINE, DECIMALS, compute_values, from_cosine, is_distance, to_score
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, create_neighbors
from fastdup_ray.neighbors.partitioned.cell_files import (
    READ,
    ROOT,
    Cell,
    Piece,
    make_root_cell,
    read_cell,
    read_embeddings_at,
)
from fastdup_ray.neighbors.partitioned.cell_knn import LOOK_ALIKE_FROM, UNRELATED_BELOW, CellNeighbors, search_within
from fastdup_ray.neighbors.partitioned.division import draw_sample
from fastdup_ray.neighbors.partitioned.neighbor_records import (
    format_found_name,
    iter_records,
    make_empty_neighbors,
    merge_records,
    read_records,
    write_records,
)
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.neighbors.search import BLOCK, SAMPLE, SPARE, select_closest
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


# Measure the recall


def choose_sample(partitioning: PartitionLayout) -> IntArray:
    """Return the indices of the embeddings that are also searched exactly, to measure the recall."""
    return draw_sample(partitioning.n, min(partitioning.n, SAMPLE))


def read_sample(
    store: Store,
    partitioning: PartitionLayout,
    threads: int,  # noqa: ARG001 (passed by the executor)
) -> FloatArray:
    """Return the embeddings of the sample, (s, d) float32."""
    return read_embeddings_at(store, partitioning, make_root_cell(partitioning), choose_sample(partitioning))


def find_true_nearest(
    store: Store, partitioning: PartitionLayout, sample: FloatArray, number: int, threads: int
) -> DoubleArray:
    """Search the sample exactly in one block of the features.

    Args:
        store: The work_dir.
        partitioning: The layout of the search.
        sample: (s, d) float32, as `read_sample` returns it.
        number: Number of the block.
        threads: Threads to use.

    Returns:
        (s, k) float64, the distances of the nearest, the closest first; NaN for none.
    """
    start = number * partitioning.block
    count = min(partitioning.block, partitioning.n - start)
    embeddings, indices = read_cell(store, partitioning, Cell(ROOT, (Piece(None, start, count),)))
    sample_indices = choose_sample(partitioning)

    def search_part(part: slice) -> DoubleArray:
        queries, candidates = sample[part], []
        for start in range(0, len(embeddings), BLOCK):
            products = queries @ embeddings[start : start + BLOCK].T  # all these metrics rank as the cosine does
            count = min(partitioning.k + 1 + SPARE, products.shape[1])
            candidates.append(start + np.argpartition(products, -count, axis=1)[:, -count:])
        index = np.concatenate(candidates, axis=1)
        index = np.where(indices[index] == sample_indices[part, None], -1, index)
        nearest = select_closest(queries, embeddings, index, partitioning.metric, partitioning.k)[0]
        return np.pad(nearest, ((0, 0), (0, partitioning.k - nearest.shape[1])), constant_values=np.nan)

    parts = [slice(start, start + SAMPLE // 8) for start in range(0, len(sample), SAMPLE // 8)]
    return np.concatenate(map_threads(threads, search_part, parts))


def merge_nearest(partitioning: PartitionLayout, nearest: DoubleArray, more: DoubleArray) -> DoubleArray:
    """Return the k closest of two arrays of distances, (s, k) each, the closest first."""
    values = np.concatenate([nearest, more], axis=1)
    order = np.argsort(-to_score(values, partitioning.metric), axis=1, kind="stable")[:, : partitioning.k]
    return np.take_along_axis(values, order, 1)


# Collect


def gather_neighbors(
    store: Store, partitioning: PartitionLayout, merged: Sequence[str], true: DoubleArray, summary: SearchSummary
) -> StoredNeighbors:
    """Store the merged neighbors as the outputs read them, and measure the recall.

    Args:
        store: The work_dir.
        partitioning: The layout of the search.
        merged: Names of the files with the merged neighbors of all embeddings, in order.
        true: (s, k) float64, the distances of the sample's true nearest in all blocks.
        summary: What was searched and how; the recall is added to it.
    """
    sample, start = choose_sample(partitioning), 0
    found = np.empty((len(sample), partitioning.k))
    kept = partitioning.n > KEPT_ABOVE
    with create_neighbors(store, partitioning.n, partitioning.k, partitioning.metric, kept=kept) as neighbors:
        for records in chain.from_iterable(iter_records(store, partitioning, name) for name in merged):
            own = slice(start, start + len(records))
            neighbors.indices[own], neighbors.distance[own] = records["index"], records["distance"]
            if is_distance(partitioning.metric):
                neighbors.similarity[own] = records["similarity"]
            here = (sample >= start) & (sample < own.stop)
            found[here] = records["distance"][sample[here] - start]
            start = own.stop
    summary = summary | _measure_recalls(true, found, partitioning.metric)
    return StoredNeighbors(summary, partitioning.metric, INDEXED, kept=kept)


def _measure_recalls(true: DoubleArray, found: DoubleArray, metric: str) -> SearchSummary:
    """Return the recall of all neighbors, and that of look-alikes, from distances, (s, k) each, the closest first."""
    true_score, found_score = to_score(true, metric), to_score(found, metric) + 10.0**-DECIMALS
    near = true_score >= to_score(np.array(from_cosine(LOOK_ALIKE_FROM, metric)), metric)
    of_all, of_look_alikes = (
        round(float(hit.mean()), 6) if hit.size else 1.0
        for hit in (found_score >= true_score[:, -1:], (found_score >= true_score)[near])
    )
    return {"recall": of_all, "recall_of_look_alikes": of_look_alikes}


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
