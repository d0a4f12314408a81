"""Measure the recall of a partitioned search: compare a sample with all embeddings, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from fastdup_ray.common.arrays import DoubleArray, FloatArray, IntArray
from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.neighbors.exact_distances import find_closer
from fastdup_ray.neighbors.metrics import DECIMALS, from_cosine, to_score
from fastdup_ray.neighbors.partitioned.cell_files import (
    ROOT,
    Cell,
    Piece,
    make_root_cell,
    read_cell,
    read_embeddings_at,
)
from fastdup_ray.neighbors.partitioned.cell_knn import LOOK_ALIKE_FROM
from fastdup_ray.neighbors.partitioned.division import draw_sample
from fastdup_ray.neighbors.partitioned.neighbor_records import iter_records
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.neighbors.search import SAMPLE
from fastdup_ray.storage import Store


@dataclass(frozen=True)
class RecallSample:
    """s embeddings, and what the search has found for each.

    Attributes:
        embeddings: (s, d) float32.
        rows: (s,) int64, their indices in the features file, ascending.
        index: (s, k) int64, their neighbors, the closest first; -1 for none.
        distance: (s, k) float64 of these; NaN for none.
    """

    embeddings: FloatArray
    rows: IntArray
    index: IntArray
    distance: DoubleArray


def read_sample(
    store: Store,
    partitioning: PartitionLayout,
    merged: Sequence[str],
    threads: int,  # noqa: ARG001 (passed by the executor)
) -> RecallSample:
    """Return the sample to measure the recall on, the same each time.

    Args:
        store: The work_dir.
        partitioning: The layout of the search.
        merged: Names of the files with the merged neighbors of all embeddings, in order.
        threads: Of the worker.
    """
    rows = draw_sample(partitioning.n, min(partitioning.n, SAMPLE))
    parts = chain.from_iterable(iter_records(store, partitioning, name) for name in merged)
    own = np.concatenate([records[np.isin(records["row"], rows, assume_unique=True)] for records in parts])
    embeddings = read_embeddings_at(store, partitioning, make_root_cell(partitioning), rows)
    return RecallSample(embeddings, rows, own["index"], own["distance"])


def find_closer_in_block(
    store: Store, partitioning: PartitionLayout, sample: RecallSample, number: int, threads: int
) -> DoubleArray:
    """Compare the sample with one block of the features.

    Args:
        store: The work_dir.
        partitioning: The layout of the search.
        sample: What `read_sample` has returned.
        number: Number of the block.
        threads: Threads to use.

    Returns:
        (s, k) float64, the distances of the nearest that the search has not found; see `find_closer`.
    """
    start = number * partitioning.block
    count = min(partitioning.block, partitioning.n - start)
    embeddings, _ = read_cell(store, partitioning, Cell(ROOT, (Piece(None, start, count),)))
    excluded = np.column_stack([sample.rows, sample.index]) - start
    return find_closer(sample.embeddings, embeddings, excluded, sample.distance, partitioning.metric, threads)


def measure_recalls(true: DoubleArray, found: DoubleArray, metric: str) -> SearchSummary:
    """Return the recall of all neighbors, and that of look-alikes, from distances, (s, k) each, the closest first."""
    true_score, found_score = to_score(true, metric), to_score(found, metric) + 10.0**-DECIMALS
    near = true_score >= to_score(np.array(from_cosine(LOOK_ALIKE_FROM, metric)), metric)
    of_all, of_look_alikes = (
        round(float(hit.mean()), 6) if hit.size else 1.0
        for hit in (found_score >= true_score[:, -1:], (found_score >= true_score)[near])
    )
    return {"recall": of_all, "recall_of_look_alikes": of_look_alikes}
