"""What the points of a map can be colored by: a few categories of images, and the rest."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.curation.duplicates import list_duplicates
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.suggest import suggest_plan
from fastdup_ray.outputs.clusters_file import read_clusters
from fastdup_ray.outputs.exact_copies import BYTES, PIXELS, read_exact_copies
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import parse_rows, read_csv
from fastdup_ray.storage.tables import escape_names

MAX_CATEGORIES = 10
"""Categories with a color of their own."""

_KINDS = {BYTES: "same bytes", PIXELS: "same pixels"}


@dataclass(frozen=True)
class Coloring:
    """Categories of m images.

    Attributes:
        title: What they are, for people.
        names: The most frequent ones first.
        of: (m,) int64, the category of each image; `len(names)` for one of all others, -1 for none.
        others: What all other categories are called together; "" if there are none.
        none: What images without a category are called.
    """

    title: str
    names: list[str]
    of: IntArray
    others: str
    none: str

    def to_json(self) -> dict[str, Any]:
        """Return what the script of the page reads."""
        return {**vars(self), "of": self.of.tolist()}


def list_colorings(store: Store, run: FinishedRun, rows: IntArray) -> list[Coloring]:
    """Return what the images at some rows can be colored by: relations, groups, clusters, labels and outliers.

    Args:
        store: The work_dir.
        run: The finished run in it.
        rows: (m,) int64.
    """
    return [coloring for coloring in _iter_colorings(store, run, rows) if coloring.names]


def _iter_colorings(store: Store, run: FinishedRun, rows: IntArray) -> Iterator[Coloring]:
    yield make_coloring("Relation", "relations", "no duplicate", _find_kinds(store, run).take(pa.array(rows)))
    component = _find_components(run)
    if component is not None:
        count = np.bincount(component)[component[rows]]
        numbers = [
            f"Group #{number}" if images > 1 else None
            for number, images in zip(component[rows].tolist(), count.tolist(), strict=True)
        ]
        yield make_coloring("Group", "groups", "in no group", pa.array(numbers, pa.string()))
    clusters = read_clusters(store, run.names)
    if clusters is not None:
        names = pa.array([f"Cluster #{number}" for number in clusters.cluster[rows].tolist()], pa.string())
        yield make_coloring("Cluster", "clusters", "in no cluster", names)
    if "label" in run.images.column_names:
        labels = run.images["label"].take(pa.array(rows)).combine_chunks()
        yield make_coloring("Label", "labels", "no label", labels)
    path = store.fetch(layout.OUTLIERS_CSV)
    outliers = parse_rows(path, read_csv(path, csv_columns.PAIRS_HEADER)["from"], run.names)
    of = np.where(np.isin(rows, outliers), 0, -1)
    yield Coloring("Outlier", ["outlier"] if len(outliers) else [], of, "", "no outlier")


def make_coloring(title: str, words: str, none: str, values: pa.Array) -> Coloring:
    """Return the most frequent of some values as categories.

    Args:
        title: What the values are, for people.
        words: The same in the plural, after a number.
        none: What images without a value are called.
        values: (m,) texts, null for none.
    """
    counts = values.drop_null().value_counts().to_pylist()
    names = [row["values"] for row in sorted(counts, key=lambda row: (-row["counts"], row["values"]))]
    places = {name: min(place, MAX_CATEGORIES) for place, name in enumerate(names)}
    of = np.array([-1 if value is None else places[value] for value in values.to_pylist()], np.int64)
    others = f"{len(names) - MAX_CATEGORIES:,} other {words}" if len(names) > MAX_CATEGORIES else ""
    return Coloring(title, names[:MAX_CATEGORIES], of, others, none)


def _find_kinds(store: Store, run: FinishedRun) -> pa.Array:
    """Return (n,) what each image is to its keeper; null for an image that repeats none."""
    copies = read_exact_copies(store, INDEXED, run.names, run.names)
    duplicates = list_duplicates(run, suggest_plan(run), copies, _find_components(run))
    kinds = [_KINDS.get(kind, kind) for kind in duplicates["kind"].to_pylist()]
    where = duplicates["filename"].combine_chunks()
    return pa.array(kinds, pa.string()).take(pc.index_in(escape_names(run.names), where))


def _find_components(run: FinishedRun) -> IntArray | None:
    """Return the (n,) `component_id` of each image; None if the run wrote none."""
    return None if run.find_components is None else run.find_components(np.arange(len(run.names)))
