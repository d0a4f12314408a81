"""similarity.csv, outliers.csv, the component files, and their Parquet twins, written block by block."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.components import Components, find_components
from fastdup_ray.analysis.edges import Edges, build_edges
from fastdup_ray.analysis.outliers import iter_sorted_outliers
from fastdup_ray.analysis.pairs import (
    count_distinct,
    iter_sorted_pairs,
    select_similar,
)
from fastdup_ray.analysis.verified_pairs import VERIFIED, VerifiedPairs
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import DoubleArray, EmbeddingArray, IntArray
from fastdup_ray.common.facts import Counts
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.records import Neighbors, Pairs
from fastdup_ray.config import RunConfig
from fastdup_ray.inputs import ReadEntry, make_reader
from fastdup_ray.outputs.exact_copies import ExactCopies, find_exact_copies, write_exact_copies
from fastdup_ray.outputs.formats import COMPONENTS, IMAGES, OF_ENTRIES, PAIRS
from fastdup_ray.outputs.images import Images, name_pairs
from fastdup_ray.outputs.verified_csv import write_verified_csv
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import open_csv
from fastdup_ray.storage.parquet_files import map_parquet, open_parquet
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, escape_names

COMPONENT_FILES = (layout.COMPONENTS_CSV, layout.COMPONENTS_INFO_CSV, layout.COMPONENTS)


@dataclass(frozen=True)
class Results:
    """What `write_results` found, besides what it wrote.

    Attributes:
        counts: For summary.json.
        copies: The exact duplicates.
        verified: The verified pairs; None if there are none.
        edges: Of images that are more similar than `ccthreshold`, or have the same bytes.
        components: The components that they form; None with run_cc=0.
    """

    counts: Counts
    copies: ExactCopies
    verified: VerifiedPairs | None
    edges: Edges
    components: Components | None


def write_results(
    store: Store,
    config: RunConfig,
    images: Images,
    features: EmbeddingArray,
    neighbors: Neighbors,
    read: ReadEntry | None = None,
) -> Results:
    """Write pairs, outliers, exact duplicates and components.

    Args:
        store: The work_dir.
        config: Of the run.
        images: The n images.
        features: Their (n, d) embeddings.
        neighbors: Of all of them, `nearest_neighbors_k` of each.
        read: Reads the images; by default, by their names.
    """
    read = read or make_reader(store.access)
    copies = find_exact_copies(images, images, neighbors, config.cores, config.max_pixels, read)
    verified = _read_verified(store, config, images, copies)
    if verified is not None:
        write_verified_csv(store, images, features, neighbors.metric, verified, config.threshold)
    counts = _write_tables(store, config, images, images, neighbors, layout.INDEXED, verified)
    write_exact_copies(store, images, images, copies, layout.INDEXED)
    counts |= copies.counts
    edges = build_edges(neighbors, config.ccthreshold, images.first_of_bytes, store.scratch)
    components = None
    if config.run_cc:
        components = find_components(
            edges, len(images), store.scratch, pagerank=config.run_pagerank, degree=config.run_degree
        )
        _write_components(store, components)
        _write_components_info(store, components)
        contents = copies.contents(len(images), store.scratch)
        counts |= {"components": len(components) - components.count_single()}
        counts |= {"near_copies": _count_near_copies(components, contents)}
    else:
        for name in COMPONENT_FILES:
            store.remove(name)
    return Results(counts, copies, verified, edges, components)


def write_scored_results(
    store: Store, config: RunConfig, images: Images, indexed: Images, neighbors: Neighbors
) -> Counts:
    """Write pairs, outliers and exact duplicates of a scoring.

    Args:
        store: The work_dir.
        config: Of the scoring.
        images: The new images.
        indexed: The indexed images.
        neighbors: Of the new images; their indices are of `indexed`.

    Returns:
        The counts for test_summary.json.
    """
    counts: Counts = {"indexed": len(indexed)}
    counts |= _write_tables(store, config, images, indexed, neighbors, layout.SCORED)
    copies = find_exact_copies(images, indexed, neighbors, config.cores, config.max_pixels, make_reader(store.access))
    write_exact_copies(store, images, indexed, copies, layout.SCORED)
    paired = [np.unique(pairs.source) for pairs in select_similar(neighbors, config.threshold)]
    near = sum(len(np.setdiff1d(sources, copies.copy, assume_unique=True)) for sources in paired)
    return counts | copies.counts | {"near_copies": near}


def _write_tables(
    store: Store,
    config: RunConfig,
    sources: Images,
    targets: Images,
    neighbors: Neighbors,
    files: FileSet,
    verified: VerifiedPairs | None = None,
) -> Counts:
    """Write the images, their pairs and their outliers; return their numbers."""
    _write_images(store, sources, files)
    orders = sources.order, targets.order
    pairs = iter_sorted_pairs(neighbors, config.threshold, *orders, store.scratch)
    counts = _write_pairs(store, sources, targets, neighbors, config.threshold, pairs, files, verified)
    outliers = 0
    with open_csv(store, files.name(layout.OUTLIERS_CSV), csv_columns.PAIRS_HEADER) as write:
        for some in iter_sorted_outliers(neighbors, config.lower_threshold, *orders, store.scratch):
            write([*name_pairs(sources, targets, some), some.value])
            outliers += len(some)
    return counts | {"outliers": outliers}


def _write_images(store: Store, images: Images, files: FileSet) -> None:
    optional = {"label": images.labels, "reference": images.reference}
    more = {name: column for name, column in optional.items() if column is not None}
    schema = IMAGES.select(["index", "filename", *OF_ENTRIES, *more]).schema
    with open_parquet(store, files.name(layout.IMAGES), schema) as write:
        for start in range(0, len(images), ROWS_PER_BLOCK):
            part = slice(start, start + ROWS_PER_BLOCK)
            names = escape_names(images.names[part])
            entries = images.entries.slice(start, ROWS_PER_BLOCK)
            columns = [np.arange(start, start + len(names)), names, *(entries[name] for name in OF_ENTRIES)]
            write(pa.table([*columns, *(column[part] for column in more.values())], schema))


def _write_pairs(
    store: Store,
    sources: Images,
    targets: Images,
    neighbors: Neighbors,
    threshold: float,
    pairs: Iterator[Pairs],
    files: FileSet,
    verified: VerifiedPairs | None,
) -> Counts:
    """Write similarity.csv, its twin, and the pairs with different labels in the same order; return their numbers."""
    conflicts_csv = files.name(layout.LABEL_CONFLICTS_CSV)
    source_labels, target_labels = sources.labels, targets.labels
    counts: Counts = {"pairs": 0, "distinct_pairs": 0}
    if source_labels is not None and target_labels is not None:
        counts |= {"labelled": len(sources) - source_labels.null_count, "label_conflicts": 0}
    within = sources is targets

    def count_once(some: Pairs) -> int:
        return count_distinct(neighbors, some, threshold) if within else len(some)

    with ExitStack() as stack:
        csv = stack.enter_context(open_csv(store, layout.SIMILARITY_CSV, csv_columns.PAIRS_HEADER))
        schema = PAIRS.schema if verified else PAIRS.select(csv_columns.PAIRS_HEADER).schema
        parquet = stack.enter_context(open_parquet(store, layout.SIMILARITY, schema))
        conflicts = None
        if source_labels is not None and target_labels is not None:
            conflicts = stack.enter_context(open_csv(store, conflicts_csv, csv_columns.LABEL_CONFLICTS_HEADER))
        for some in pairs:
            ends = name_pairs(sources, targets, some)
            csv([*ends, some.value])
            evidence = verified.look_up(some.source, some.target).columns if verified else []
            parquet(pa.table([*map(escape_names, ends), some.value, *evidence], schema))
            counts["pairs"] += len(some)
            counts["distinct_pairs"] += count_once(some)
            if conflicts and source_labels is not None and target_labels is not None:
                labels = source_labels.take(pa.array(some.source)), target_labels.take(pa.array(some.target))
                differ = pc.fill_null(pc.not_equal(*labels), pa.scalar(value=False))
                conflicts([column.filter(differ) for column in (*ends, pa.array(some.value), *labels)])
                counts["label_conflicts"] += count_once(some.select(differ.to_numpy(zero_copy_only=False)))
    if conflicts is None:
        store.remove(conflicts_csv)
    return counts


def _read_verified(store: Store, config: RunConfig, images: Images, copies: ExactCopies) -> VerifiedPairs | None:
    if config.verify in (None, "off"):
        store.remove(layout.VERIFIED)
        store.remove(layout.VERIFIED_CSV)
        return None
    table = map_parquet(store.fetch(layout.VERIFIED), VERIFIED, store.scratch())
    return VerifiedPairs(table, images.first_of_bytes, copies.contents(len(images), store.scratch))


def _write_components(store: Store, components: Components) -> None:
    with (
        open_csv(store, layout.COMPONENTS_CSV, csv_columns.COMPONENTS_HEADER) as csv,
        open_parquet(store, layout.COMPONENTS, COMPONENTS.schema) as parquet,
    ):
        for start in range(0, len(components.number), ROWS_PER_BLOCK):
            rows = components.block(start, start + ROWS_PER_BLOCK)
            n = len(rows.component)
            pagerank = pa.nulls(n, pa.float64()) if rows.pagerank is None else _format_reals(rows.pagerank)
            degree = pa.nulls(n, pa.int64()) if rows.degree is None else pa.array(rows.degree)
            columns = [
                np.arange(start, start + n),
                rows.component,
                pagerank,
                degree,
                rows.count,
                _format_reals(rows.low),
            ]
            table = pa.table(columns, COMPONENTS.schema)
            csv(table.columns)
            parquet(table)


def _write_components_info(store: Store, components: Components) -> None:
    """Write the largest first, then by number; components of one image have no similarities."""
    similarities = components.mean, components.low, components.high
    with open_csv(store, layout.COMPONENTS_INFO_CSV, csv_columns.COMPONENTS_INFO_HEADER) as write:
        for number in components.numbers_by_size(store.scratch):
            write([number, components.count[number], *(_format_reals(values[number]) for values in similarities)])


def _count_near_copies(components: Components, contents: IntArray) -> int:
    """Return the number of images that are not needed if one of each component is kept, without exact duplicates."""
    distinct, apart = 0, [np.empty((2, 0), np.int64)]
    for start in range(0, len(contents), ROWS_PER_BLOCK):
        content = contents[start : start + ROWS_PER_BLOCK]
        number, its_number = components.number[start : start + ROWS_PER_BLOCK], components.number[content]
        distinct += int(np.count_nonzero(content == np.arange(start, start + len(content))))
        apart.append(np.stack([number, content])[:, number != its_number])
    distinct += len(np.unique(np.concatenate(apart, axis=1), axis=1).T)
    return distinct - len(components)


def _format_reals(values: DoubleArray) -> pa.Array:
    """Round to 6 decimals; null for NaN."""
    return pa.array(np.round(values, 6), from_pandas=True)
