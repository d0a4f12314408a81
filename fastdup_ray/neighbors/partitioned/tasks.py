"""The steps of a partitioned search: functions over a work_dir, each for one cell, piece or block.

Each step writes a complete file or none; the caller skips steps whose file is there. An executor calls a step with
`threads`, the number of threads that it may use, as its last argument; no result depends on that.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import DoubleArray, FloatArray, IntArray
from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.neighbors.flat_file import write_flat
from fastdup_ray.neighbors.metrics import COSINE, DECIMALS, compute_values, from_cosine, is_distance, to_score
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, create_neighbors
from fastdup_ray.neighbors.partitioned.cell_knn import LOOK_ALIKE_FROM, UNRELATED_BELOW, search_within
from fastdup_ray.neighbors.partitioned.files import (
    ROOT,
    Cell,
    Piece,
    format_centers_name,
    format_embeddings_stem,
    list_columns,
    make_empty_neighbors,
    make_root_cell,
    read_cell,
    read_cell_neighbors,
    read_merged,
    write_cell_neighbors,
    write_groups,
    write_merged,
)
from fastdup_ray.neighbors.partitioned.kmeans import (
    find_centers_within,
    fit_centers,
    fit_margin,
    group_by_label,
    map_threads,
)
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.neighbors.search import BLOCK, SAMPLE, SPARE, select_closest
from fastdup_ray.neighbors.search_plan import USABLE_SHARE
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file
from fastdup_ray.system.memory import measure_free_memory

SAMPLE_ROWS_PER_CELL = 256
MOST_SAMPLE_ROWS = 100_000
"""Size of the sample that the centers are trained on."""

HELD_OUT = 8
"""One in so many embeddings of the sample is not trained on, but used to fit the margin: an embedding is nearer to a
center that was trained on it than others are."""

READERS = 16
"""Single embeddings that are read at the same time: each takes a request if they are in a bucket."""


# Divide


def learn_centers(
    store: Store,
    partitioning: PartitionLayout,
    cell: Cell,
    threads: int,  # noqa: ARG001 (passed by the executor)
) -> None:
    """Train the centers that a cell which is too large is divided by, and the margin for its embeddings on borders."""
    count = partitioning.count_cells(cell.rows)
    size = min(cell.rows, MOST_SAMPLE_ROWS, SAMPLE_ROWS_PER_CELL * count)
    sample = _read_embeddings_at(store, partitioning, cell, _draw_sample(cell.rows, size))
    held_out = np.arange(len(sample)) % HELD_OUT == 0
    centers = fit_centers(sample[~held_out], count, seed=0)
    margin = fit_margin(sample[held_out], centers, partitioning.copies, partitioning.most_copies)
    with store.create(format_centers_name(partitioning, cell.name)) as path, open(path, "wb") as file:
        np.savez(file, centres=centers, margin=margin)


def divide_piece(store: Store, partitioning: PartitionLayout, cell: Cell, number: int, threads: int) -> None:
    """Put each embedding of a piece into the cells of its nearest centers: more cells if it is near a border."""
    embeddings, indices = read_cell(store, partitioning, Cell(cell.name, cell.pieces[number : number + 1]))
    with np.load(store.fetch(format_centers_name(partitioning, cell.name))) as arrays:
        centers, margin = arrays["centres"], float(arrays["margin"])
    positions, labels = find_centers_within(embeddings, centers, margin, partitioning.most_copies, threads)
    order, starts = group_by_label(labels, len(centers))
    groups = [positions[order[start:stop]] for start, stop in pairwise(starts)]
    write_groups(store, format_embeddings_stem(partitioning, cell.name, number), embeddings, indices, groups)


def _draw_sample(n: int, size: int) -> IntArray:
    """Return `size` of n indices, sorted, the same each time."""
    return np.sort(np.random.default_rng(0).choice(n, size, replace=False))


def _read_embeddings_at(store: Store, partitioning: PartitionLayout, cell: Cell, positions: IntArray) -> FloatArray:
    """Return the embeddings at sorted positions of a cell, (s, d) float32 of unit length."""
    ends = np.cumsum([piece.count for piece in cell.pieces])
    numbers = np.searchsorted(ends, positions, side="right")
    pieces = [
        Piece(cell.pieces[i].stem, cell.pieces[i].start + int(position - ends[i] + cell.pieces[i].count), 1)
        for i, position in zip(numbers, positions, strict=True)
    ]
    with ThreadPoolExecutor(READERS) as pool:
        parts = list(pool.map(lambda piece: read_cell(store, partitioning, Cell(cell.name, (piece,)))[0], pieces))
    return np.concatenate(parts)


# Search and merge


def search_cell(store: Store, partitioning: PartitionLayout, cell: Cell, threads: int) -> None:
    """Find the nearest neighbors of each embedding of a cell among the others of it."""
    embeddings, indices = read_cell(store, partitioning, cell)
    least = UNRELATED_BELOW if cell.name == ROOT else LOOK_ALIKE_FROM
    k = min(partitioning.k, len(embeddings) - 1)
    hold_quantized = partitioning.holds_quantized(len(embeddings))
    within = search_within(embeddings, k, partitioning.metric, threads, least, hold_quantized=hold_quantized)
    neighbors = make_empty_neighbors(len(embeddings), partitioning)
    neighbors["row"] = indices
    neighbors["index"][:, :k] = np.where(within.index < 0, -1, indices[within.index])
    neighbors["distance"][:, :k] = within.distance
    if is_distance(partitioning.metric):
        parts = [slice(start, start + BLOCK) for start in range(0, len(embeddings), BLOCK)]
        cosines = map_threads(
            threads, lambda part: compute_values(embeddings[part], embeddings, within.index[part], COSINE), parts
        )
        neighbors["similarity"][:, :k] = np.concatenate(cosines)
    write_cell_neighbors(store, partitioning, cell.name, neighbors)


def merge_block(
    store: Store,
    partitioning: PartitionLayout,
    cells: Sequence[str],
    block: int,
    threads: int,  # noqa: ARG001 (passed by the executor)
) -> None:
    """Merge what all cells have found for one block of the features: the nearest neighbors of each embedding."""
    start = block * partitioning.block
    found = np.concatenate([read_cell_neighbors(store, partitioning, cell, block) for cell in cells])
    found = found[np.argsort(found["row"], kind="stable")]
    rows = found["row"] - start
    size = min(partitioning.block, partitioning.n - start)
    copy = np.arange(len(found)) - np.searchsorted(rows, np.arange(size))[rows]
    table = make_empty_neighbors((size, int(copy.max()) + 1), partitioning)
    table[rows, copy] = found
    columns = {name: table[name].reshape(size, -1) for name in list_columns(table)}
    order = np.lexsort((columns["index"], -to_score(columns["distance"], partitioning.metric)), axis=-1)
    index = np.take_along_axis(columns["index"], order, 1)
    repeated = np.zeros(index.shape, bool)
    repeated[:, 1:] = index[:, 1:] == index[:, :-1]  # a pair has the same value in each cell
    first = np.argsort(repeated, axis=1, kind="stable")[:, : partitioning.k]
    repeated, order = np.take_along_axis(repeated, first, 1), np.take_along_axis(order, first, 1)
    merged = make_empty_neighbors(size, partitioning)
    merged["row"] = start + np.arange(size)
    for name, column in columns.items():
        merged[name] = np.where(repeated, merged[name], np.take_along_axis(column, order, 1))
    write_merged(store, partitioning, block, merged)


# Measure the recall


def choose_sample(partitioning: PartitionLayout) -> IntArray:
    """Return the indices of the embeddings that are also searched exactly, to measure the recall."""
    return _draw_sample(partitioning.n, min(partitioning.n, SAMPLE))


def read_sample(
    store: Store,
    partitioning: PartitionLayout,
    threads: int,  # noqa: ARG001 (passed by the executor)
) -> FloatArray:
    """Return the embeddings of the sample, (s, d) float32."""
    return _read_embeddings_at(store, partitioning, make_root_cell(partitioning), choose_sample(partitioning))


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
    piece = make_root_cell(partitioning).pieces[number : number + 1]
    embeddings, indices = read_cell(store, partitioning, Cell("", piece))
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
    store: Store, partitioning: PartitionLayout, true: DoubleArray, summary: SearchSummary
) -> StoredNeighbors:
    """Store the merged neighbors as the outputs read them, and measure the recall.

    Args:
        store: The work_dir.
        partitioning: The layout of the search.
        true: (s, k) float64, the distances of the sample's true nearest in all blocks.
        summary: What was searched and how; the recall is added to it.
    """
    sample, start = choose_sample(partitioning), 0
    found = np.empty((len(sample), partitioning.k))
    with create_neighbors(store, partitioning.n, partitioning.k, partitioning.metric) as neighbors:
        for merged in read_merged(store, partitioning):
            own = slice(start, start + len(merged))
            neighbors.indices[own], neighbors.distance[own] = merged["index"], merged["distance"]
            if is_distance(partitioning.metric):
                neighbors.similarity[own] = merged["similarity"]
            here = (sample >= start) & (sample < own.stop)
            found[here] = merged["distance"][sample[here] - start]
            start = own.stop
    summary = summary | _measure_recalls(true, found, partitioning.metric)
    return StoredNeighbors(summary, partitioning.metric, INDEXED)


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
    cells = (Cell(ROOT, (piece,)) for piece in make_root_cell(partitioning).pieces)
    with store.create(layout.FAISS_INDEX) as path:
        write_flat(path, n, d, metric, (read_cell(store, partitioning, cell)[0] for cell in cells))
        return hash_file(path)
