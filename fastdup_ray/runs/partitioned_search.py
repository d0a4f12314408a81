"""Partitioned search: for more images than one index takes. The executor maps each of its stages over cells."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import DoubleArray
from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.config import RunConfig
from fastdup_ray.executors import Executor
from fastdup_ray.neighbors.checkpoint import get_features_digest
from fastdup_ray.neighbors.faiss_factory import check_parameters
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.neighbors.partition_threshold import PARTITIONED
from fastdup_ray.neighbors.partitioned import tasks
from fastdup_ray.neighbors.partitioned.files import (
    ROOT,
    Cell,
    Piece,
    format_centers_name,
    format_embeddings_stem,
    format_merged_name,
    format_neighbors_name,
    make_root_cell,
    read_group_counts,
)
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout, make_layout
from fastdup_ray.storage import Store


def search_partitioned(
    executor: Executor, store: Store, config: RunConfig, features: str, n: int, d: int
) -> StoredNeighbors:
    """Find the neighbors of n images in partitions; write them, and faiss.index if memory allows, into the work_dir.

    Args:
        executor: Runs the stages.
        store: The work_dir.
        config: Of the run.
        features: Name of the features file, n embeddings of d float32.
        n: Number of images.
        d: Numbers of an embedding.

    Returns:
        The neighbors, in files.
    """
    digest = executor.call("index", get_features_digest, store, features)
    plan = make_layout(config, n, d, features, digest)
    index_sha256 = executor.call("index", tasks.write_index, store, plan)
    neighbors = search_layout(executor, store, plan)
    summary: SearchSummary = {**neighbors.summary, "faiss_index": index_sha256 is not None}
    if unused := list(check_parameters(config.faiss_param)):
        summary["unused_parameters"] = unused
    return replace(neighbors, summary=summary, index_sha256=index_sha256)


def search_layout(executor: Executor, store: Store, plan: PartitionLayout) -> StoredNeighbors:
    """Find the neighbors in the partitions of `plan`; resume a search that was interrupted."""
    search = _PartitionedSearch(executor, store, plan)
    search.remove_other_searches()
    cells = search.divide()
    search.search(cells)
    search.merge(cells)
    nearest = search.find_true_nearest()
    neighbors = executor.call("index", tasks.gather_neighbors, store, plan, nearest, search.summarize(cells))
    store.remove(layout.PARTITIONS)
    return neighbors


class _PartitionedSearch:
    def __init__(self, executor: Executor, store: Store, plan: PartitionLayout) -> None:
        self.plan = plan
        self._executor, self._store = executor, store
        self._seconds: dict[str, float] = {}

    def remove_other_searches(self) -> None:
        """Remove the files of searches of other features, or with other parameters."""
        others = {name.split("/")[2] for name in self._store.names(layout.PARTITIONS)}
        for other in others - {self.plan.folder.rpartition("/")[2]}:
            self._store.remove(f"{layout.PARTITIONS}/{other}")

    def divide(self) -> list[Cell]:
        """Divide the images into cells that fit into a worker each; return them, the largest first."""
        fit, too_large = [], [make_root_cell(self.plan)]
        with self._time_stage("divide"):
            while too_large:
                cell = too_large.pop()
                if cell.rows <= self.plan.capacity:
                    fit.append(cell)
                else:
                    too_large += self._divide_cell(cell)
        return sorted((cell for cell in fit if cell.rows), key=lambda cell: (-cell.rows, cell.name))

    def _divide_cell(self, cell: Cell) -> list[Cell]:
        plan, store = self.plan, self._store
        memory = plan.estimate_memory(plan.block)
        if not store.exists(format_centers_name(plan, cell.name)):
            self._map(tasks.learn_centers, [(cell,)], memory)
        stems = [format_embeddings_stem(plan, cell.name, number) for number in range(len(cell.pieces))]
        missing = [number for number, stem in enumerate(stems) if read_group_counts(store, stem) is None]
        self._map(tasks.divide_piece, [(cell, number) for number in missing], memory)
        counts = np.array([read_group_counts(store, stem) for stem in stems])
        starts = np.cumsum(counts, axis=1) - counts
        if counts.sum(axis=0).max() > NOT_DIVIDED * cell.rows:
            return list(self._cut_cell(cell))
        return [
            Cell(
                f"{cell.name}.{group}",
                tuple(Piece(stem, int(starts[i, group]), int(counts[i, group])) for i, stem in enumerate(stems)),
            )
            for group in range(counts.shape[1])
        ]

    def _cut_cell(self, cell: Cell) -> Iterator[Cell]:
        """Cut a cell whose embeddings are all but equal into parts of consecutive ones: none is better than another."""
        edges = np.linspace(0, cell.rows, -(-cell.rows // self.plan.capacity) + 1).astype(int)
        for number, (start, stop) in enumerate(pairwise(edges)):
            yield Cell(f"{cell.name}.{number}", cell.part(int(start), int(stop)).pieces)

    def search(self, cells: list[Cell]) -> None:
        """Search each cell, the largest first, since they take the longest."""
        missing = [cell for cell in cells if not self._store.exists(format_neighbors_name(self.plan, cell.name))]
        with self._time_stage("search"):
            if missing:
                memory = self.plan.estimate_memory(missing[0].rows)
                self._map(tasks.search_cell, [(cell,) for cell in missing], memory)
        self._store.remove(f"{self.plan.folder}/rows")

    def merge(self, cells: list[Cell]) -> None:
        """Merge the neighbors that were found in the cells, block by block."""
        names, blocks = tuple(cell.name for cell in cells), range(self.plan.blocks)
        missing = [block for block in blocks if not self._store.exists(format_merged_name(self.plan, block))]
        with self._time_stage("merge"):
            self._map(
                tasks.merge_block, [(names, block) for block in missing], self.plan.estimate_memory(self.plan.block)
            )

    def find_true_nearest(self) -> DoubleArray:
        """Return the true nearest of the sample by which the recall is measured, (s, k) values of the metric."""
        plan, memory = self.plan, self.plan.estimate_memory(self.plan.block)
        with self._time_stage("recall"):
            (sample,) = self._map(tasks.read_sample, [()], memory)
            nearest: DoubleArray = np.full((len(sample), plan.k), np.nan)
            items = [(sample, block) for block in range(plan.blocks)]
            for some in self._each(tasks.find_true_nearest, items, memory):
                nearest = tasks.merge_nearest(plan, nearest, some)
        return nearest

    def summarize(self, cells: list[Cell]) -> SearchSummary:
        """Return what summary.json says of the search."""
        plan, largest = self.plan, max(cell.rows for cell in cells)
        each = "" if cells[0].name == ROOT else f", each image in {plan.copies} of them on average"
        return {
            "index": PARTITIONED,
            "why": f"{plan.n:,} images in cells of at most {plan.capacity:,}{each}",
            "metric": plan.metric,
            "k": plan.k,
            "cells": len(cells),
            "worker_bytes": plan.estimate_memory(largest),
            "seconds": self._seconds,
        }

    def _each(self, step: Callable[..., Any], items: Iterable[tuple[Any, ...]], memory: int) -> Iterator[Any]:
        work = [(self._store, self.plan, *item) for item in items]
        return self._executor.map(step, work, memory)

    def _map(self, step: Callable[..., Any], items: Iterable[tuple[Any, ...]], memory: int) -> list[Any]:
        return list(self._each(step, items, memory))

    @contextmanager
    def _time_stage(self, stage: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self._seconds[stage] = round(time.monotonic() - begin, 3)
        self._executor.record_stage(stage, self._seconds[stage])


NOT_DIVIDED = 0.9
"""Share of a cell in the largest of its parts above which dividing it was of no use."""
