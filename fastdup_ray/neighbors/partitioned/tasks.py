"""The steps of a partitioned search: plain functions over a work_dir, each for one cell, piece or block.

Each leaves a whole file or none, and one that is there is not made again by who asks. `threads` is how many a step may
use; what comes out does not depend on it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.neighbors.flat_file import write_flat
from fastdup_ray.neighbors.index_selection import USABLE
from fastdup_ray.neighbors.metrics import COSINE, DECIMALS, closeness, is_distance, of_cosine, values_of
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, new_neighbors
from fastdup_ray.neighbors.partitioned.cell_knn import LOOK_ALIKES, STRANGERS, nearest_within
from fastdup_ray.neighbors.partitioned.files import (
    ROOT,
    Cell,
    Piece,
    centres_name,
    nothing_found,
    read_cell,
    read_found,
    read_merged,
    root,
    rows_stem,
    write_found,
    write_groups,
    write_merged,
)
from fastdup_ray.neighbors.partitioned.kmeans import centres_of, centres_within, grouped, in_threads, margin_of
from fastdup_ray.neighbors.partitioned.partition_layout import Plan
from fastdup_ray.neighbors.search import BLOCK, SAMPLE, SPARE, closest
from fastdup_ray.storage import Store
from fastdup_ray.system.memory import free_memory

SAMPLE_ROWS_PER_CELL = 256
MOST_SAMPLE_ROWS = 100_000
"""From which the cells are learnt."""

NOT_LEARNT = 8
"""One in so many rows of the sample tells how far its centres are from each other instead."""

READERS = 16
"""Single rows that are read at once: from a bucket each takes its time."""


# Rows into cells


def learn_centres(store: Store, plan: Plan, cell: Cell, threads: int) -> None:
    """Centres for a cell that has too many rows, and how far from the nearest another may be that a row is put to."""
    count = plan.cells_of(cell.rows)
    size = min(cell.rows, MOST_SAMPLE_ROWS, SAMPLE_ROWS_PER_CELL * count)
    sample = _rows_at(store, plan, cell, _drawn(cell.rows, size))
    others = np.arange(len(sample)) % NOT_LEARNT == 0  # to what was learnt from a centre is nearer than to others
    centres = centres_of(sample[~others], count, seed=0)
    margin = margin_of(sample[others], centres, plan.copies, plan.most_copies)
    with store.create(centres_name(plan, cell.name)) as path, open(path, "wb") as file:
        np.savez(file, centres=centres, margin=margin)


def divide_piece(store: Store, plan: Plan, cell: Cell, number: int, threads: int) -> None:
    """Puts each row of a piece into the cells of its nearest centres: the more of them, the less they differ."""
    rows, numbers = read_cell(store, plan, Cell(cell.name, cell.pieces[number : number + 1]))
    with np.load(store.fetch(centres_name(plan, cell.name))) as learnt:
        centres, margin = learnt["centres"], float(learnt["margin"])
    places, labels = centres_within(rows, centres, margin, plan.most_copies, threads)
    order, starts = grouped(labels, len(centres))
    groups = [places[order[start:stop]] for start, stop in pairwise(starts)]
    write_groups(store, plan, rows_stem(plan, cell.name, number), rows, numbers, groups)


def _drawn(n: int, size: int) -> np.ndarray:
    """`size` of n numbers, the same each time, sorted."""
    return np.sort(np.random.default_rng(0).choice(n, size, replace=False))


def _rows_at(store: Store, plan: Plan, cell: Cell, places: np.ndarray) -> np.ndarray:
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


def search_cell(store: Store, plan: Plan, cell: Cell, threads: int) -> None:
    """The nearest of each row of a cell among the others of it."""
    rows, numbers = read_cell(store, plan, cell)
    least = STRANGERS if cell.name == ROOT else LOOK_ALIKES
    within = nearest_within(rows, min(plan.k, len(rows) - 1), plan.metric, threads, least)
    k = within.index.shape[1]
    found = nothing_found(len(rows), plan)
    found["row"] = numbers
    found["index"][:, :k] = np.where(within.index < 0, -1, numbers[within.index])
    found["distance"][:, :k] = within.distance
    if is_distance(plan.metric):
        parts = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
        cosines = in_threads(threads, lambda part: values_of(rows[part], rows, within.index[part], COSINE), parts)
        found["similarity"][:, :k] = np.concatenate(cosines)
    write_found(store, plan, cell.name, found)


def merge_block(store: Store, plan: Plan, cells: Sequence[str], block: int, threads: int) -> None:
    """The nearest of each row of a block of the features, of what was found in all cells."""
    start = block * plan.block
    found = np.concatenate([read_found(store, plan, cell, block) for cell in cells])
    found = found[np.argsort(found["row"], kind="stable")]
    rows = found["row"] - start
    size = min(plan.block, plan.n - start)
    place = np.arange(len(found)) - np.searchsorted(rows, np.arange(size))[rows]
    table = nothing_found((size, int(place.max()) + 1), plan)
    table[rows, place] = found
    columns = {name: table[name].reshape(size, -1) for name in table.dtype.names if name != "row"}
    order = np.lexsort((columns["index"], -closeness(columns["distance"], plan.metric)), axis=-1)
    index = np.take_along_axis(columns["index"], order, 1)
    again = np.zeros(index.shape, bool)
    again[:, 1:] = index[:, 1:] == index[:, :-1]  # in each cell a pair has the same value
    first = np.argsort(again, axis=1, kind="stable")[:, : plan.k]
    again, order = np.take_along_axis(again, first, 1), np.take_along_axis(order, first, 1)
    merged = nothing_found(size, plan)
    merged["row"] = start + np.arange(size)
    for name, column in columns.items():
        merged[name] = np.where(again, merged[name], np.take_along_axis(column, order, 1))
    write_merged(store, plan, block, merged)


# What it is worth


def sampled(plan: Plan) -> np.ndarray:
    """Numbers of the rows whose true nearest are looked for, to measure the recall."""
    return _drawn(plan.n, min(plan.n, SAMPLE))


def read_sample(store: Store, plan: Plan, threads: int) -> np.ndarray:
    """Those rows, (s, d) float32."""
    return _rows_at(store, plan, root(plan), sampled(plan))


def true_nearest(store: Store, plan: Plan, sample: np.ndarray, number: int, threads: int) -> np.ndarray:
    """(s, k) float64: the exact values of the sample's nearest among a block of the features, NaN for none."""
    rows, numbers = read_cell(store, plan, Cell("", root(plan).pieces[number : number + 1]))
    asked = sampled(plan)

    def nearest(part: slice) -> np.ndarray:
        queries, candidates = sample[part], []
        for start in range(0, len(rows), BLOCK):
            products = queries @ rows[start : start + BLOCK].T  # by which all these metrics rank
            wanted = min(plan.k + 1 + SPARE, products.shape[1])
            candidates.append(start + np.argpartition(products, -wanted, axis=1)[:, -wanted:])
        index = np.concatenate(candidates, axis=1)
        index = np.where(numbers[index] == asked[part, None], -1, index)
        best = closest(queries, rows, index, plan.metric, plan.k)[0]
        return np.pad(best, ((0, 0), (0, plan.k - best.shape[1])), constant_values=np.nan)

    parts = [slice(start, start + SAMPLE // 8) for start in range(0, len(sample), SAMPLE // 8)]
    return np.concatenate(in_threads(threads, nearest, parts))


def kth_nearest(plan: Plan, known: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The k best of both, (s, k) each, the closest first."""
    values = np.concatenate([known, more], axis=1)
    order = np.argsort(-closeness(values, plan.metric), axis=1, kind="stable")[:, : plan.k]
    return np.take_along_axis(values, order, 1)


def gather(store: Store, plan: Plan, true: np.ndarray, summary: dict) -> StoredNeighbors:
    """All that was merged, as the neighbours that the outputs are made of. true: `kth_nearest` of all blocks."""
    sample, start = sampled(plan), 0
    found = np.empty((len(sample), plan.k))
    with new_neighbors(store, plan.n, plan.k, plan.metric) as neighbors:
        for merged in read_merged(store, plan):
            own = slice(start, start + len(merged))
            neighbors.indices[own], neighbors.distance[own] = merged["index"], merged["distance"]
            if is_distance(plan.metric):
                neighbors.similarity[own] = merged["similarity"]
            here = (sample >= start) & (sample < own.stop)
            found[here] = merged["distance"][sample[here] - start]
            start = own.stop
    return StoredNeighbors(summary | _recalls(true, found, plan.metric), plan.metric, INDEXED)


def _recalls(true: np.ndarray, found: np.ndarray, metric: str) -> dict[str, float]:
    """Of all neighbours, and of look-alikes, for which cells are searched. (s, k) both, the closest first."""
    true, found = closeness(true, metric), closeness(found, metric) + 10.0**-DECIMALS
    near = true >= closeness(np.float64(of_cosine(LOOK_ALIKES, metric)), metric)
    hits = {"recall": found >= true[:, -1:], "recall_of_look_alikes": (found >= true)[near]}
    return {name: round(float(hit.mean()), 6) if hit.size else 1.0 for name, hit in hits.items()}


def write_index(store: Store, plan: Plan) -> bool:
    """Puts faiss.index, exact, where a process of this node could load it; whether it did. Takes little memory itself.

    Who has more images than that scores new ones by another index of them.
    """
    if 4 * plan.d * plan.n > USABLE * free_memory():
        store.remove(layout.FAISS_INDEX)
        return False
    pieces = (Cell(ROOT, (piece,)) for piece in root(plan).pieces)
    with store.create(layout.FAISS_INDEX) as path:
        write_flat(path, plan.n, plan.d, plan.metric, (read_cell(store, plan, piece)[0] for piece in pieces))
    return True
