"""similarity.csv, outliers.csv, the component files, and the same tables in parquet."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray import layout
from fastdup_ray.analysis.components import Components, components_of, digest_codes, edges_of
from fastdup_ray.analysis.pairs import name_ranks, ordered, outliers_below, pairs_above, similar_above
from fastdup_ray.config import RunConfig
from fastdup_ray.executors import cores
from fastdup_ray.layout import PictureSet
from fastdup_ray.manifest import STATISTICS
from fastdup_ray.outputs.exact_copies import find_exact_copies, write_exact_copies
from fastdup_ray.outputs.images import Images
from fastdup_ray.records import Neighbors, Pairs
from fastdup_ray.storage import Store
from fastdup_ray.tables import printable_column, write_csv, write_parquet

COMPONENT_FILES = (layout.COMPONENTS_CSV, layout.COMPONENTS_INFO_CSV, layout.COMPONENTS)


def write_results(store: Store, config: RunConfig, images: Images, neighbors: Neighbors) -> dict[str, int]:
    """Writes all that follows from the neighbours; returns the counts for summary.json."""
    pairs, outliers = _write_found(store, config, images, images, neighbors, layout.INDEXED)
    copies = find_exact_copies(images, images, neighbors, cores(config), config.max_pixels)
    write_exact_copies(store, images, images, copies, layout.INDEXED)
    counts = {"pairs": len(pairs), "distinct_pairs": _distinct(pairs), "outliers": len(outliers)} | copies.counts
    counts |= _write_label_conflicts(store, images, images, pairs, layout.INDEXED)
    if config.run_cc:
        found = _write_components(store, config, images, neighbors)
        near = _near_copies(found, copies.contents(len(images)))
        return counts | {"components": int((found.count > 1).sum()), "near_copies": near}
    for name in COMPONENT_FILES:
        store.remove(name)
    return counts


def write_scored(
    store: Store, config: RunConfig, images: Images, indexed: Images, neighbors: Neighbors
) -> dict[str, int]:
    """The same of new images that were looked for among the indexed ones; returns the counts for test_summary.json.

    neighbors: indices are of `indexed`.
    """
    pairs, outliers = _write_found(store, config, images, indexed, neighbors, layout.SCORED)
    copies = find_exact_copies(images, indexed, neighbors, cores(config), config.max_pixels)
    write_exact_copies(store, images, indexed, copies, layout.SCORED)
    counts = {"indexed": len(indexed), "pairs": len(pairs), "distinct_pairs": len(pairs), "outliers": len(outliers)}
    counts |= copies.counts | {"near_copies": len(np.setdiff1d(pairs.source, copies.copy))}
    return counts | _write_label_conflicts(store, images, indexed, pairs, layout.SCORED)


def _write_found(
    store: Store, config: RunConfig, sources: Images, targets: Images, neighbors: Neighbors, files: PictureSet
) -> tuple[Pairs, Pairs]:
    """Writes the sources, and their pairs and outliers, which are returned, each in the order of its file."""
    ranks = name_ranks(sources.names)
    target_ranks = ranks if sources is targets else name_ranks(targets.names)
    pairs = ordered(pairs_above(neighbors, config.threshold), ranks, target_ranks, closest_first=True)
    outliers = ordered(outliers_below(neighbors, config.lower_threshold), ranks, target_ranks, closest_first=False)
    _write_images(store, sources, files)
    _write_pairs(store, sources, targets, pairs, outliers, files)
    return pairs, outliers


def _write_images(store: Store, images: Images, files: PictureSet) -> None:
    columns = ("size", "mtime_or_etag", "sha256", "width", "height", "format", *STATISTICS)
    table = pa.table(
        {"index": np.arange(len(images)), "filename": printable_column(images.names)}
        | {name: images.entries[name] for name in columns}
    )
    if images.labels is not None:
        table = table.append_column("label", images.labels)
    if images.reference is not None:
        table = table.append_column("reference", images.reference)
    write_parquet(store, files.of(layout.IMAGES), table)


def _write_pairs(
    store: Store, sources: Images, targets: Images, pairs: Pairs, outliers: Pairs, files: PictureSet
) -> None:
    """Pairs and outliers, whose sources and targets are those."""
    columns = _columns(sources, targets, pairs)
    write_csv(store, layout.SIMILARITY_CSV, layout.PAIRS_HEADER, columns)
    outlier_columns = _columns(sources, targets, outliers)
    write_csv(store, files.of(layout.OUTLIERS_CSV), layout.PAIRS_HEADER, outlier_columns)
    ends = [printable_column(end) for end in columns[:2]]
    write_parquet(store, layout.SIMILARITY, pa.table([*ends, pa.array(pairs.value)], layout.PAIRS_HEADER))


def _columns(sources: Images, targets: Images, pairs: Pairs) -> list[pa.Array | pa.ChunkedArray | np.ndarray]:
    """The names of both ends, and the values."""
    return [sources.names.take(pa.array(pairs.source)), targets.names.take(pa.array(pairs.target)), pairs.value]


def _write_label_conflicts(
    store: Store, sources: Images, targets: Images, pairs: Pairs, files: PictureSet
) -> dict[str, int]:
    """The pairs whose labels differ, in their order; returns the counts of labelled images and of such pairs."""
    name = files.of(layout.LABEL_CONFLICTS_CSV)
    if sources.labels is None or targets.labels is None:
        store.remove(name)
        return {}
    labels = sources.labels.take(pa.array(pairs.source)), targets.labels.take(pa.array(pairs.target))
    differ = pc.fill_null(pc.not_equal(*labels), False)
    rows = differ.to_numpy(zero_copy_only=False)
    found = replace(pairs, source=pairs.source[rows], target=pairs.target[rows], value=pairs.value[rows])
    told = [side.filter(differ) for side in labels]
    write_csv(store, name, layout.LABEL_CONFLICTS_HEADER, [*_columns(sources, targets, found), *told])
    conflicts = _distinct(found) if sources is targets else len(found)
    return {"labelled": len(sources) - sources.labels.null_count, "label_conflicts": conflicts}


def _distinct(pairs: Pairs) -> int:
    """(a,b) and (b,a) counted once."""
    ends = np.sort(np.stack([pairs.source, pairs.target], axis=1), axis=1)
    return len(np.unique(ends, axis=0))


def _near_copies(found: Components, contents: np.ndarray) -> int:
    """Images that one would be rid of by keeping one of each component, beside those that are exact copies."""
    distinct = np.unique(np.stack([found.component, contents]), axis=1).shape[1]
    return distinct - len(found.count)


def _write_components(store: Store, config: RunConfig, images: Images, neighbors: Neighbors) -> Components:
    edges = edges_of(similar_above(neighbors, config.ccthreshold), digest_codes(images.entries["sha256"]))
    found = components_of(edges, len(images), pagerank=config.run_pagerank, degree=config.run_degree)
    table = pa.table(_component_columns(found), layout.COMPONENTS_HEADER)
    write_csv(store, layout.COMPONENTS_CSV, layout.COMPONENTS_HEADER, table.columns)
    write_parquet(store, layout.COMPONENTS, table)
    largest = np.argsort(-found.count, kind="stable")
    info = [largest, found.count[largest], *(_real(values[largest]) for values in (found.mean, found.low, found.high))]
    write_csv(store, layout.COMPONENTS_INFO_CSV, layout.COMPONENTS_INFO_HEADER, info)
    return found


def _component_columns(found: Components) -> Sequence[pa.Array]:
    n, of = len(found.component), found.component
    pagerank = _real(found.pagerank) if found.pagerank is not None else pa.nulls(n, pa.float64())
    degree = pa.array(found.degree) if found.degree is not None else pa.nulls(n, pa.int64())
    return [pa.array(np.arange(n)), pa.array(of), pagerank, degree, pa.array(found.count[of]), _real(found.low[of])]


def _real(values: np.ndarray) -> pa.Array:
    """6 decimals; empty for NaN."""
    return pa.array(np.round(values, 6), from_pandas=True)
