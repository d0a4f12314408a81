"""The steps of a partitioned search: plain functions over a work_dir, each for one cell, piece or block.

Each leaves a whole file or none, and one that is there is not made again by who asks. `threads` is how many a step may
use; what comes out does not depend on it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.neighbors.flat_file import write_flat
from fastdup_ray.neighbors.index_selection import USABLE_SHARE
from fastdup_ray.neighbors.metrics import COSINE, DECIMALS, compute_values, from_cosine, is_distance, to_score
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, create_neighbors
from fastdup_ray.neighbors.partitioned.cell_knn import LOOK_ALIKES, STRANGERS, search_within
from fastdup_ray.neighbors.partitioned.files import (
    ROOT,
    Cell,
    Piece,
    format_centers_name,
    format_embeddings_stem,
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
from fastdup_ray.storage import Store
from fastdup_ray.system.memory import measure_free_memory

SAMPLE_ROWS_PER_CELL = 256
MOST_SAMPLE_ROWS = 100_000
"""From which the cells are learnt."""

NOT_LEARNT = 8
"""One in so many rows of the sample tells how far its centres are from each other instead."""

READERS = 16
"""Single rows that are read at once: from a bucket each takes its time."""


# Rows into cells


def learn_centres(store: Store, plan: PartitionLayout, cell: Cell, threads: int) -> None:
    """Centres for a cell that has too many rows, and how far from the nearest another may be that a row is put to."""
    count = plan.count_cells(cell.rows)
    size = min(cell.rows, MOST_SAMPLE_ROWS, SAMPLE_ROWS_PER_CELL * count)
    sample = _read_embeddings_at(store, plan, cell, _draw_sample(cell.rows, size))
    others = np.arange(len(sample)) % NOT_LEARNT == 0  # to what was learnt from a centre is nearer than to others
    centres = fit_centers(sample[~others], count, seed=0)
    margin = fit_margin(sample[others], centres, plan.copies, plan.most_copies)
    with store.create(format_centers_name(plan, cell.name)) as path, open(path, "wb") as file:
        np.savez(file, centres=centres, margin=margin)


def divide_piece(store: Store, plan: PartitionLayout, cell: Cell, number: int, threads: int) -> None:
    """Puts each row of a piece into the cells of its nearest centres: the more of them, the less they differ."""
    rows, numbers = read_cell(store, plan, Cell(cell.name, cell.pieces[number : number + 1]))
    with np.load(store.fetch(format_centers_name(plan, cell.name))) as learnt:
        centres, margin = learnt["centres"], float(learnt["margin"])
    places, labels = find_centers_within(rows, centres, margin, plan.most_copies, threads)
    order, starts = group_by_label(labels, len(centres))
    groups = [places[order[start:stop]] for start, stop in pairwise(starts)]
    write_groups(store, plan, format_embeddings_stem(plan, cell.name, number), rows, numbers, groups)


def _draw_sample(n: int, size: int) -> np.ndarray:
    """`size` of n numbers, the same each time, sorted."""
    return np.sort(np.random.default_rng(0).choice(n, size, replace=False))


def _read_embeddings_at(store: Store, plan: PartitionLayout, cell: Cell, places: np.ndarray) -> np.ndarray:
    """(s, d) float32 of length 1: the rows of a cell at sorted places."""
    ends = np.cumsum([piece.count for piece in cell.pieces])
    of = np.searchsorted(ends, places, side="right")
    wanted = [
        Piece(cell.pieces[i].stem, cell.pieces[i].start + int(place - ends[i] + cell.pieces[i].count), 1)
        for i, place in zip(of, places, strict=True)
    ]
    with ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(lambda piece: read_cell(store, plan, Cell(cell.name, (piece,)))[0], wanted))
    return np.concatenate(read)


# Search and merge


def search_cell(store: Store, plan: PartitionLayout, cell: Cell, threads: int) -> None:
    """The nearest of each row of a cell among the others of it."""
    rows, numbers = read_cell(store, plan, cell)
    least = STRANGERS if cell.name == ROOT else LOOK_ALIKES
    within = search_within(rows, min(plan.k, len(rows) - 1), plan.metric, threads, least)
    k = within.index.shape[1]
    found = make_empty_neighbors(len(rows), plan)
    found["row"] = numbers
    found["index"][:, :k] = np.where(within.index < 0, -1, numbers[within.index])
    found["distance"][:, :k] = within.distance
    if is_distance(plan.metric):
        parts = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
        cosines = map_threads(threads, lambda part: compute_values(rows[part], rows, within.index[part], COSINE), parts)
        found["similarity"][:, :k] = np.concatenate(cosines)
    write_cell_neighbors(store, plan, cell.name, found)


def merge_block(store: Store, plan: PartitionLayout, cells: Sequence[str], block: int, threads: int) -> None:
    """The nearest of each row of a block of the features, of what was found in all cells."""
    start = block * plan.block
    found = np.concatenate([read_cell_neighbors(store, plan, cell, block) for cell in cells])
    found = found[np.argsort(found["row"], kind="stable")]
    rows = found["row"] - start
    size = min(plan.block, plan.n - start)
    place = np.arange(len(found)) - np.searchsorted(rows, np.arange(size))[rows]
    table = make_empty_neighbors((size, int(place.max()) + 1), plan)
    table[rows, place] = found
    columns = {name: table[name].reshape(size, -1) for name in table.dtype.names if name != "row"}
    order = np.lexsort((columns["index"], -to_score(columns["distance"], plan.metric)), axis=-1)
    index = np.take_along_axis(columns["index"], order, 1)
    again = np.zeros(index.shape, bool)
    again[:, 1:] = index[:, 1:] == index[:, :-1]  # in each cell a pair has the same value
    first = np.argsort(again, axis=1, kind="stable")[:, : plan.k]
    again, order = np.take_along_axis(again, first, 1), np.take_along_axis(order, first, 1)
    merged = make_empty_neighbors(size, plan)
    merged["row"] = start + np.arange(size)
    for name, column in columns.items():
        merged[name] = np.where(again, merged[name], np.take_along_axis(column, order, 1))
    write_merged(store, plan, block, merged)


# What it is worth


def choose_sample(plan: PartitionLayout) -> np.ndarray:
    """Numbers of the rows whose true nearest are looked for, to measure the recall."""
    return _draw_sample(plan.n, min(plan.n, SAMPLE))


def read_sample(store: Store, plan: PartitionLayout, threads: int) -> np.ndarray:
    """Those rows, (s, d) float32."""
    return _read_embeddings_at(store, plan, make_root_cell(plan), choose_sample(plan))


def find_true_nearest(store: Store, plan: PartitionLayout, sample: np.ndarray, number: int, threads: int) -> np.ndarray:
    """(s, k) float64: the exact values of the sample's nearest among a block of the features, NaN for none."""
    rows, numbers = read_cell(store, plan, Cell("", make_root_cell(plan).pieces[number : number + 1]))
    asked = choose_sample(plan)

    def nearest(part: slice) -> np.ndarray:
        queries, candidates = sample[part], []
        for start in range(0, len(rows), BLOCK):
            products = queries @ rows[start : start + BLOCK].T  # by which all these metrics rank
            wanted = min(plan.k + 1 + SPARE, products.shape[1])
            candidates.append(start + np.argpartition(products, -wanted, axis=1)[:, -wanted:])
        index = np.concatenate(candidates, axis=1)
        index = np.where(numbers[index] == asked[part, None], -1, index)
        best = select_closest(queries, rows, index, plan.metric, plan.k)[0]
        return np.pad(best, ((0, 0), (0, plan.k - best.shape[1])), constant_values=np.nan)

    parts = [slice(start, start + SAMPLE // 8) for start in range(0, len(sample), SAMPLE // 8)]
    return np.concatenate(map_threads(threads, nearest, parts))


def merge_nearest(plan: PartitionLayout, known: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The k best of both, (s, k) each, the closest first."""
    values = np.concatenate([known, more], axis=1)
    order = np.argsort(-to_score(values, plan.metric), axis=1, kind="stable")[:, : plan.k]
    return np.take_along_axis(values, order, 1)


def gather_neighbors(store: Store, plan: PartitionLayout, true: np.ndarray, summary: SearchSummary) -> StoredNeighbors:
    """All that was merged, as the neighbours that the outputs are made of. true: `kth_nearest` of all blocks."""
    sample, start = choose_sample(plan), 0
    found = np.empty((len(sample), plan.k))
    with create_neighbors(store, plan.n, plan.k, plan.metric) as neighbors:
        for merged in read_merged(store, plan):
            own = slice(start, start + len(merged))
            neighbors.indices[own], neighbors.distance[own] = merged["index"], merged["distance"]
            if is_distance(plan.metric):
                neighbors.similarity[own] = merged["similarity"]
            here = (sample >= start) & (sample < own.stop)
            found[here] = merged["distance"][sample[here] - start]
            start = own.stop
    return StoredNeighbors(summary | _measure_recalls(true, found, plan.metric), plan.metric, INDEXED)


def _measure_recalls(true: np.ndarray, found: np.ndarray, metric: str) -> SearchSummary:
    """Of all neighbours, and of look-alikes, for which cells are searched. (s, k) both, the closest first."""
    true, found = to_score(true, metric), to_score(found, metric) + 10.0**-DECIMALS
    near = true >= to_score(np.float64(from_cosine(LOOK_ALIKES, metric)), metric)
    of_all, of_look_alikes = (
        round(float(hit.mean()), 6) if hit.size else 1.0 for hit in (found >= true[:, -1:], (found >= true)[near])
    )
    return {"recall": of_all, "recall_of_look_alikes": of_look_alikes}


def write_index(store: Store, plan: PartitionLayout) -> bool:
    """Puts faiss.index, exact, where a process of this node could load it; whether it did. Takes little memory itself.

    Who has more images than that scores new ones by another index of them.
    """
    if 4 * plan.d * plan.n > USABLE_SHARE * measure_free_memory():
        store.remove(layout.FAISS_INDEX)
        return False
    pieces = (Cell(ROOT, (piece,)) for piece in make_root_cell(plan).pieces)
    with store.create(layout.FAISS_INDEX) as path:
        write_flat(path, plan.n, plan.d, plan.metric, (read_cell(store, plan, piece)[0] for piece in pieces))
    return True
