"""Partitioned search: for more images than one index takes. The executor maps each of its stages over cells."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

from fastdup_ray.common import layout
from fastdup_ray.common.facts import SearchSummary
from fastdup_ray.config import RunConfig
from fastdup_ray.executors import Executor
from fastdup_ray.neighbors.checkpoint import get_features_digest
from fastdup_ray.neighbors.exact_distances import merge_nearest
from fastdup_ray.neighbors.faiss_factory import check_parameters
from fastdup_ray.neighbors.kept_neighbors import KEPT_ABOVE, load_kept_neighbors, remove_kept_neighbors
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.neighbors.partition_threshold import PARTITIONED
from fastdup_ray.neighbors.partitioned import added, division, recall, tasks
from fastdup_ray.neighbors.partitioned.cell_files import (
    ROOT,
    Cell,
    Piece,
    format_centers_name,
    format_rows_folder,
    list_written_parts,
    make_pieces,
    make_root_cell,
    read_counts,
)
from fastdup_ray.neighbors.partitioned.earlier_search import keep_search
from fastdup_ray.neighbors.partitioned.neighbor_records import (
    format_found_folder,
    format_found_name,
    format_merged_folder,
    format_merged_name,
    neighbor_dtype,
)
from fastdup_ray.neighbors.partitioned.partition_layout import (
    MERGED_AT_ONCE,
    MOST_MERGED,
    PROCESS_BYTES,
    PartitionLayout,
    make_layout,
)
from fastdup_ray.runs.added_search import hash_embeddings, plan_added
from fastdup_ray.runs.search_stage import describe_code
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
    plan, code = make_layout(config, n, d, features, digest), describe_code()
    key = {"partitions": plan.features_folder, **code} if n > KEPT_ABOVE else None
    if key and config.reuse:
        if (kept := executor.call("index", load_kept_neighbors, store, key)) is not None:
            return kept
        plan = plan_added(executor, store, plan, code)
    if not plan.earlier:
        executor.call("index", remove_kept_neighbors, store)
    index_sha256 = executor.call("index", tasks.write_index, store, plan)
    about: SearchSummary = {"faiss_index": index_sha256 is not None}
    if unused := list(check_parameters(config.faiss_param)):
        about["unused_parameters"] = unused

    def keep(neighbors: StoredNeighbors) -> StoredNeighbors:
        neighbors = replace(neighbors, summary={**neighbors.summary, **about}, index_sha256=index_sha256)
        if key is None:
            return neighbors
        hash_embeddings(executor, store, plan)
        return executor.call("index", keep_search, store, key, neighbors, plan, code)

    return search_layout(executor, store, plan, keep)


def search_layout(
    executor: Executor,
    store: Store,
    plan: PartitionLayout,
    keep: Callable[[StoredNeighbors], StoredNeighbors] = lambda neighbors: neighbors,
) -> StoredNeighbors:
    """Find the neighbors in the partitions of `plan`; resume a search that was interrupted.

    Args:
        executor: Runs the steps.
        store: The work_dir.
        plan: The layout of the search.
        keep: Is given the neighbors before the files of the search are removed; what it returns is the result.
    """
    search = _PartitionedSearch(executor, store, plan)
    search.remove_other_searches()
    cells = search.divide()
    search.search(cells)
    merged = search.merge(cells)
    measured = search.measure_recall(merged)
    summary = search.summarize(cells) | measured
    neighbors = keep(executor.call("index", tasks.gather_neighbors, store, plan, merged, summary))
    store.remove(layout.PARTITIONS)
    return neighbors


NOT_DIVIDED = 0.9
"""Share of a cell in the largest of its parts above which dividing it was of no use."""


class _PartitionedSearch:
    def __init__(self, executor: Executor, store: Store, plan: PartitionLayout) -> None:
        self.plan = plan
        self._executor, self._store = executor, store
        self._seconds: dict[str, float] = {}

    def remove_other_searches(self) -> None:
        """Remove the files of searches of other features, or with other parameters."""
        others = {name.split("/")[2] for name in self._store.names(layout.PARTITIONS)}
        for other in others - {self.plan.features_folder.rpartition("/")[2]}:
            self._store.remove(f"{layout.PARTITIONS}/{other}")

    def divide(self) -> list[Cell]:
        """Divide the images into cells that fit into a worker each; return them, neighboring ones together."""
        cells = [make_root_cell(self.plan)]
        with self._time_stage("divide"):
            while too_large := [cell for cell in cells if cell.rows > self.plan.capacity]:
                cells = [cell for cell in cells if cell.rows <= self.plan.capacity] + self._divide_cells(too_large)
        return sorted((cell for cell in cells if cell.rows), key=lambda cell: list(map(int, cell.name.split(".")[1:])))

    def _divide_cells(self, cells: list[Cell]) -> list[Cell]:
        """Return the cells that some cells are divided into."""
        plan, store = self.plan, self._store
        missing = [cell for cell in cells if not store.exists(format_centers_name(plan, cell.name))]
        self._map(division.learn_centers, [(cell,) for cell in missing], plan.estimate_memory(plan.part))
        groups = {cell.name: division.read_groups(store, plan, cell.name) for cell in cells}
        divided = self._divide_parts(division.divide_part, cells)
        gathered = {
            name: [Cell(f"{name}.g{i}", divided[name][i], group) for i, group in enumerate(own)]
            for name, own in groups.items()
            if len(own) > 1
        }
        to_split = [part for part in chain.from_iterable(gathered.values()) if part.rows]
        split = self._divide_parts(division.split_part, to_split)
        for name, parts in gathered.items():
            none: list[tuple[Piece, ...]] = [()]
            own = (split.get(part.name, none * len(part.group or ())) for part in parts)
            divided[name] = list(chain.from_iterable(own))
            store.remove(format_rows_folder(plan, name))
        return [part for cell in cells for part in self._make_parts(cell, divided[cell.name])]

    def _divide_parts(self, step: Callable[..., None], cells: list[Cell]) -> dict[str, list[tuple[Piece, ...]]]:
        """Divide each part of some cells by a step; return, by cell, the pieces of all that it was divided into."""
        plan, store = self.plan, self._store
        counts = {cell.name: -(-cell.rows // plan.part) for cell in cells}
        items: list[tuple[Cell, int]] = []
        for cell in cells:
            written = list_written_parts(store, plan, cell.name)
            if len(written) < counts[cell.name]:
                parts = enumerate(cell.cut(plan.part))
                items += [(part, number) for number, part in parts if number not in written]
        self._map(step, items, plan.estimate_memory(plan.part))
        return {name: make_pieces(plan, name, read_counts(store, plan, name, n)) for name, n in counts.items()}

    def _make_parts(self, cell: Cell, divided: list[tuple[Piece, ...]]) -> list[Cell]:
        """Return the cells that a cell was divided into.

        A cell whose embeddings are all but equal is cut instead into parts of consecutive ones: none is better.
        """
        parts = [Cell("", pieces) for pieces in divided]
        if max(part.rows for part in parts) > NOT_DIVIDED * cell.rows:
            count = -(-cell.rows // self.plan.capacity)
            parts = list(cell.cut(-(-cell.rows // count)))
        return [replace(part, name=f"{cell.name}.{number}") for number, part in enumerate(parts)]

    def search(self, cells: list[Cell]) -> None:
        """Search each cell, the largest first, since they take the longest; of an update, only what is new in it."""
        step = added.search_added if self.plan.earlier else tasks.search_cell
        there = set(self._store.names(format_found_folder(self.plan)))
        missing = [cell for cell in cells if format_found_name(self.plan, cell.name) not in there]
        missing.sort(key=lambda cell: -cell.rows)
        with self._time_stage("search"):
            if missing:
                memory = self.plan.estimate_memory(missing[0].rows)
                self._map(step, [(cell,) for cell in missing], memory)
        self._store.remove(format_rows_folder(self.plan))

    def merge(self, cells: list[Cell]) -> list[str]:
        """Merge the neighbors that were found in the cells, and of an update the earlier ones.

        Returns the names of the files, in order.
        """
        plan, size = self.plan, neighbor_dtype(self.plan.k, self.plan.metric).itemsize
        with self._time_stage("merge"):
            sources = [format_found_name(plan, cell.name) for cell in cells]
            if len(cells) > MERGED_AT_ONCE:
                groups = list(_group_cells(cells, plan.merge_bytes // size))
                names = [tuple(format_found_name(plan, cell.name) for cell in group) for group in groups]
                most = max(sum(cell.rows for cell in group) for group in groups) * size
                sources = self._merge(1, [(own, range(plan.blocks)) for own in names], most)
            if plan.earlier:
                sources.append(added.format_earlier_name(plan))
            each = plan.block * (plan.most_copies + bool(plan.earlier)) * size  # of one block, at most
            step = max(1, min(plan.merge_bytes // each, MOST_MERGED // plan.block))
            blocks = [range(start, min(start + step, plan.blocks)) for start in range(0, plan.blocks, step)]
            return self._merge(2, [(tuple(sources), some) for some in blocks], step * each)

    def _merge(self, level: int, items: list[tuple[tuple[str, ...], range]], size: int) -> list[str]:
        """Merge the blocks of each item's files into one file; return the names of the new files.

        size: most bytes of neighbors that one of the steps holds.
        """
        plan, there = self.plan, set(self._store.names(format_merged_folder(self.plan, level)))
        names = [format_merged_name(plan, level, number) for number in range(len(items))]
        missing = [
            (sources, name, blocks) for name, (sources, blocks) in zip(names, items, strict=True) if name not in there
        ]
        self._map(tasks.merge_neighbors, missing, PROCESS_BYTES + size)
        return names

    def measure_recall(self, merged: list[str]) -> SearchSummary:
        """Measure the recall of the merged neighbors on a sample."""
        plan, memory = self.plan, self.plan.estimate_memory(self.plan.block)
        with self._time_stage("recall"):
            (sample,) = self._map(recall.read_sample, [(merged,)], memory)
            true = sample.distance
            items = [(sample, block) for block in range(plan.blocks)]
            for closer in self._each(recall.find_closer_in_block, items, memory):
                true = merge_nearest(true, closer, plan.metric)
            return recall.measure_recalls(true, sample.distance, plan.metric)

    def summarize(self, cells: list[Cell]) -> SearchSummary:
        """Return what summary.json says of the search."""
        plan, largest = self.plan, max(cell.rows for cell in cells)
        each = "" if cells[0].name == ROOT else f", each image in {plan.copies} of them on average"
        summary: SearchSummary = {
            "index": PARTITIONED,
            "why": f"{plan.n:,} images in cells of at most {plan.capacity:,}{each}",
            "metric": plan.metric,
            "k": plan.k,
            "cells": len(cells),
            "worker_bytes": plan.estimate_memory(largest),
            "seconds": self._seconds,
        }
        if plan.earlier:
            summary["added"] = added.read_added(self._store, plan)
        return summary

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


def _group_cells(cells: list[Cell], most: int) -> Iterator[list[Cell]]:
    """Yield consecutive cells, about as many groups as cells in each; none has more than `most` embeddings.

    A single cell may have more.
    """
    most = min(most, -(-sum(cell.rows for cell in cells) // math.isqrt(len(cells))))
    group: list[Cell] = []
    for cell in cells:
        if group and sum(other.rows for other in group) + cell.rows > most:
            yield group
            group = []
        group.append(cell)
    yield group
