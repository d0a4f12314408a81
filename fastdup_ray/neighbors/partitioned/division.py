"""Divide a cell that is too large: the first steps of a partitioned search. See `tasks` for the others.

If a cell is to be divided into many, its embeddings move twice: first into groups of cells, then from each group into
its cells. So a file has few groups, and what a step reads of it is large. The cells do not depend on the groups.
"""

from functools import partial
from itertools import pairwise

import numpy as np

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.neighbors.partitioned.cell_files import (
    Cell,
    format_centers_name,
    read_cell,
    read_embeddings_at,
    read_group,
    write_part,
)
from fastdup_ray.neighbors.partitioned.kmeans import (
    find_centers_within,
    find_nearest_centers,
    fit_centers,
    fit_margin,
    group_by_label,
)
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.storage import Store

SAMPLE_ROWS_PER_CELL = 256
MOST_SAMPLE_ROWS = 100_000
"""Size of the sample that the centers are trained on."""

HELD_OUT = 8
"""One in so many embeddings of the sample is not trained on, but used to fit the margin: an embedding is nearer to a
center that was trained on it than others are."""


def learn_centers(
    store: Store,
    partitioning: PartitionLayout,
    cell: Cell,
    threads: int,  # noqa: ARG001 (passed by the executor)
) -> None:
    """Train the centers that a cell which is too large is divided by, and the margin for its embeddings on borders.

    Centers of one group, which are near each other, are numbered consecutively.
    """
    count = partitioning.count_cells(cell.rows)
    size = min(cell.rows, MOST_SAMPLE_ROWS, SAMPLE_ROWS_PER_CELL * count)
    sample = read_embeddings_at(store, partitioning, cell, draw_sample(cell.rows, size))
    held_out = np.arange(len(sample)) % HELD_OUT == 0
    centers = fit_centers(sample[~held_out], count, seed=0)
    order, starts = np.arange(count), np.array([0, count])
    if (groups := partitioning.count_groups(count)) > 1:
        labels = find_nearest_centers(centers, fit_centers(centers, groups, seed=0), 1, 1)[:, 0]
        order, starts = group_by_label(labels, groups)
    margin = fit_margin(sample[held_out], centers, partitioning.copies, partitioning.most_copies)
    with store.create(format_centers_name(partitioning, cell.name)) as path, open(path, "wb") as file:
        np.savez(file, centers=centers[order], margin=margin, starts=np.unique(starts))


def read_groups(store: Store, partitioning: PartitionLayout, cell: str) -> list[range]:
    """Return the numbers of the centers of each group that a cell's embeddings are gathered in.

    It is one group if they are divided at once.
    """
    with np.load(store.fetch(format_centers_name(partitioning, cell))) as arrays:
        return [range(start, stop) for start, stop in pairwise(arrays["starts"].tolist())]


def divide_part(store: Store, partitioning: PartitionLayout, part: Cell, number: int, threads: int) -> None:
    """Put each embedding of a part into the cells of its nearest centers: more cells if it is near a border.

    If there are several groups of cells, the embeddings are only gathered by group, with the numbers of their cells.
    """
    embeddings, indices = read_cell(store, partitioning, part)
    with np.load(store.fetch(format_centers_name(partitioning, part.name))) as arrays:
        centers, margin, starts = arrays["centers"], float(arrays["margin"]), arrays["starts"]
    positions, labels = find_centers_within(embeddings, centers, margin, partitioning.most_copies, threads)
    write = partial(write_part, store, partitioning, part.name, number, embeddings, indices)
    if len(starts) == 2:
        write(_group_positions(positions, labels, len(centers)))
        return
    cells = np.full((len(embeddings), partitioning.most_copies), -1, np.int32)
    cells[positions, np.arange(len(positions)) - np.searchsorted(positions, positions)] = labels
    gathered = [np.flatnonzero(((cells >= start) & (cells < stop)).any(axis=1)) for start, stop in pairwise(starts)]
    write(gathered, [cells[own] for own in gathered])


def split_part(
    store: Store,
    partitioning: PartitionLayout,
    part: Cell,
    number: int,
    threads: int,  # noqa: ARG001 (passed by the executor)
) -> None:
    """Put each embedding of a part of a group into its cells."""
    embeddings, indices, cells = read_group(store, partitioning, part)
    group = part.group or range(0)
    positions, copy = np.nonzero((cells >= group.start) & (cells < group.stop))
    groups = _group_positions(positions, cells[positions, copy].astype(np.int64) - group.start, len(group))
    write_part(store, partitioning, part.name, number, embeddings, indices, groups)


def _group_positions(positions: IntArray, labels: IntArray, count: int) -> list[IntArray]:
    """Return the positions with each label from 0 to `count` - 1, in order."""
    order, starts = group_by_label(labels, count)
    return [positions[order[start:stop]] for start, stop in pairwise(starts)]


def draw_sample(n: int, size: int) -> IntArray:
    """Return `size` of n indices, sorted, the same each time."""
    return np.sort(np.random.default_rng(0).choice(n, size, replace=False))
