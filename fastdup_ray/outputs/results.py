"""similarity.csv, outliers.csv, the component files, and the same tables in parquet: each grows block by block."""

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.components import Components, find_components
from fastdup_ray.analysis.edges import build_edges_from_neighbors
from fastdup_ray.analysis.pairs import (
    NameOrder,
    count_distinct,
    iter_sorted_outliers,
    iter_sorted_pairs,
    select_similar,
)
from fastdup_ray.common import layout
from fastdup_ray.common.facts import Counts
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.records import Neighbors, Pairs
from fastdup_ray.config import RunConfig
from fastdup_ray.outputs.exact_copies import ExactCopies, find_exact_copies, write_exact_copies
from fastdup_ray.outputs.formats import COMPONENTS, IMAGES, OF_ENTRIES, PAIRS
from fastdup_ray.outputs.images import Images
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, escape_names, open_csv, open_parquet

COMPONENT_FILES = (layout.COMPONENTS_CSV, layout.COMPONENTS_INFO_CSV, layout.COMPONENTS)


def write_results(store: Store, config: RunConfig, images: Images, neighbors: Neighbors) -> Counts:
    """Writes all that follows from the neighbours; returns the counts for summary.json."""
    counts = _write_tables(store, config, images, images, neighbors, layout.INDEXED)
    copies = find_exact_copies(images, images, neighbors, config.cores, config.max_pixels)
    write_exact_copies(store, images, images, copies, layout.INDEXED)
    counts |= copies.counts
    if config.run_cc:
        edges = build_edges_from_neighbors(neighbors, config.ccthreshold, images.first_of_bytes, store.scratch)
        found = find_components(edges, len(images), pagerank=config.run_pagerank, degree=config.run_degree)
        _write_components(store, found)
        _write_components_info(store, found)
        return counts | {"components": len(found.count), "near_copies": _count_near_copies(found, copies)}
    for name in COMPONENT_FILES:
        store.remove(name)
    return counts


def write_scored_results(
    store: Store, config: RunConfig, images: Images, indexed: Images, neighbors: Neighbors
) -> Counts:
    """The same of new images that were looked for among the indexed ones; returns the counts for test_summary.json.

    neighbors: indices are of `indexed`.
    """
    counts = {"indexed": len(indexed)} | _write_tables(store, config, images, indexed, neighbors, layout.SCORED)
    copies = find_exact_copies(images, indexed, neighbors, config.cores, config.max_pixels)
    write_exact_copies(store, images, indexed, copies, layout.SCORED)
    paired = [np.unique(pairs.source) for pairs in select_similar(neighbors, config.threshold)]
    near = sum(len(np.setdiff1d(sources, copies.copy, assume_unique=True)) for sources in paired)
    return counts | copies.counts | {"near_copies": near}


def _write_tables(
    store: Store, config: RunConfig, sources: Images, targets: Images, neighbors: Neighbors, files: FileSet
) -> Counts:
    """Writes the sources, their pairs, and their outliers; returns how many there are."""
    _write_images(store, sources, files)
    order = NameOrder.from_names(sources.names)
    orders = order, order if sources is targets else NameOrder.from_names(targets.names)
    pairs = iter_sorted_pairs(neighbors, config.threshold, *orders, store.scratch)
    counts = _write_pairs(store, sources, targets, neighbors, config.threshold, pairs, files)
    outliers = 0
    with open_csv(store, files.name(layout.OUTLIERS_CSV), layout.PAIRS_HEADER) as write:
        for some in iter_sorted_outliers(neighbors, config.lower_threshold, *orders, store.scratch):
            write([*_name_pairs(sources, targets, some), some.value])
            outliers += len(some)
    return counts | {"outliers": outliers}


def _write_images(store: Store, images: Images, files: FileSet) -> None:
    more = {"label": images.labels, "reference": images.reference}
    more = {name: column for name, column in more.items() if column is not None}
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
) -> Counts:
    """similarity.csv and its twin, and the pairs whose labels differ, in the same order; returns their numbers."""
    conflicts_csv = files.name(layout.LABEL_CONFLICTS_CSV)
    labelled = sources.labels is not None and targets.labels is not None
    counts: Counts = {"pairs": 0, "distinct_pairs": 0}
    if labelled:
        counts |= {"labelled": len(sources) - sources.labels.null_count, "label_conflicts": 0}
    within = sources is targets

    def once(some: Pairs) -> int:
        return count_distinct(neighbors, some, threshold) if within else len(some)

    with ExitStack() as stack:
        csv = stack.enter_context(open_csv(store, layout.SIMILARITY_CSV, layout.PAIRS_HEADER))
        parquet = stack.enter_context(open_parquet(store, layout.SIMILARITY, PAIRS.schema))
        if labelled:
            conflicts = stack.enter_context(open_csv(store, conflicts_csv, layout.LABEL_CONFLICTS_HEADER))
        for some in pairs:
            ends = _name_pairs(sources, targets, some)
            csv([*ends, some.value])
            parquet(pa.table([*map(escape_names, ends), some.value], PAIRS.schema))
            counts["pairs"] += len(some)
            counts["distinct_pairs"] += once(some)
            if labelled:
                labels = sources.labels.take(pa.array(some.source)), targets.labels.take(pa.array(some.target))
                differ = pc.fill_null(pc.not_equal(*labels), False)
                conflicts([column.filter(differ) for column in (*ends, pa.array(some.value), *labels)])
                counts["label_conflicts"] += once(some.select(differ.to_numpy(zero_copy_only=False)))
    if not labelled:
        store.remove(conflicts_csv)
    return counts


def _name_pairs(sources: Images, targets: Images, pairs: Pairs) -> list[pa.Array]:
    """The names of both."""
    return [sources.names.take(pa.array(pairs.source)), targets.names.take(pa.array(pairs.target))]


def _write_components(store: Store, found: Components) -> None:
    with (
        open_csv(store, layout.COMPONENTS_CSV, layout.COMPONENTS_HEADER) as csv,
        open_parquet(store, layout.COMPONENTS, COMPONENTS.schema) as parquet,
    ):
        for start in range(0, found.n, ROWS_PER_BLOCK):
            rows = found.block(start, min(start + ROWS_PER_BLOCK, found.n))
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


def _write_components_info(store: Store, found: Components) -> None:
    """The largest first, then by number: those of one image, of which there is nothing to tell, come last."""
    largest = np.argsort(-found.count, kind="stable")
    with open_csv(store, layout.COMPONENTS_INFO_CSV, layout.COMPONENTS_INFO_HEADER) as write:
        for start in range(0, len(largest), ROWS_PER_BLOCK):
            part = largest[start : start + ROWS_PER_BLOCK]
            similarities = (_format_reals(values[part]) for values in (found.mean, found.low, found.high))
            write([found.number[part], found.count[part], *similarities])
        for start in range(0, len(found), ROWS_PER_BLOCK):
            number = np.arange(start, min(start + ROWS_PER_BLOCK, len(found)))
            single = number[~np.isin(number, found.number, assume_unique=True)]
            write([single, np.ones(len(single), np.int64), *[pa.nulls(len(single), pa.float64())] * 3])


def _count_near_copies(found: Components, copies: ExactCopies) -> int:
    """Images that one would be rid of by keeping one of each component, beside those that are exact copies."""
    alike = np.unique(np.concatenate([copies.copy, copies.of]))
    contents = np.stack([found.component_of(alike), copies.contents(found.n)[alike]])
    distinct = found.n - len(alike) + np.unique(contents, axis=1).shape[1]
    return distinct - len(found)


def _format_reals(values: np.ndarray) -> pa.Array:
    """6 decimals; empty for NaN."""
    return pa.array(np.round(values, 6), from_pandas=True)
