"""report/index.html: one self-contained page about a run."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import fsdecode
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastdup_ray import layout
from fastdup_ray.layout import INDEXED, SCORED, PictureSet
from fastdup_ray.report.findings import (
    Groups,
    GroupView,
    PairView,
    each_once,
    is_cosine,
    measure_of,
    read_config,
    read_label_conflicts,
    read_names,
    read_pairs,
    view_extremes,
    view_groups,
    view_pairs,
)
from fastdup_ray.report.histogram import Histogram, make_histogram
from fastdup_ray.report.rendering import render
from fastdup_ray.report.thumbnails import MAX_PIXELS, Album
from fastdup_ray.storage import Store
from fastdup_ray.tables import read_csv

MEGABYTE = 1_000_000
GROUPS, GROUP_BYTES = 200, 16 * MEGABYTE
PAIRS, PAIR_BYTES = 100, 7 * MEGABYTE
OUTLIERS, OUTLIER_BYTES = 50, 4 * MEGABYTE
EXTREMES = 8
CONFLICTS, CONFLICT_BYTES = 50, 3 * MEGABYTE
BAD, LABELS = 1000, 50
"""What is shown at most, and what its thumbnails may take: the page stays under 30 MB."""

TILES = {
    "entries": "files",
    "images": "good images",
    "bad": "bad files",
    "indexed": "indexed images",
    "exact_copies": "exact copies",
    "components": "groups",
    "outliers": "outliers",
    "label_conflicts": "label conflicts",
}
"""Name in the summary's counts -> words on the page."""


View = TypeVar("View", PairView, GroupView)


@dataclass(frozen=True)
class Section:
    """The first items of `total`."""

    items: list[Any]
    total: int


@dataclass(frozen=True)
class Tile:
    name: str
    text: str
    alarm: bool = False


def write_report(store: Store, summary: dict[str, Any], files: PictureSet = INDEXED) -> None:
    """Writes report/index.html from the finished outputs in `store`; `summary`: what summary.json will hold.

    files: which set of pictures it is about; for the one that was scored it is test_report/index.html.

    Raises `DamagedError` or `FileNotFoundError` where an output is not what the run wrote. A picture that is gone by
    now is a placeholder.
    """
    html = render("page.html", **_content(store, summary, files))
    with store.create(files.of(layout.REPORT)) as path:
        path.write_text(html, encoding="utf-8")


def _content(store: Store, summary: dict[str, Any], files: PictureSet) -> dict[str, Any]:
    config = read_config(store, files)
    images = pq.read_table(store.fetch(files.of(layout.IMAGES)))
    names, pairs = read_pairs(store.fetch(layout.SIMILARITY_CSV), read_names(store, files))
    names, outliers = read_pairs(store.fetch(files.of(layout.OUTLIERS_CSV)), names)
    asked = config if files is INDEXED else {name: config[name] for name in config if name != "ccthreshold"}
    groups = conflicts = None
    if files is INDEXED and store.exists(layout.COMPONENTS):  # not with run_cc=0
        groups = Groups(pq.read_table(store.fetch(layout.COMPONENTS)), images["sha256"], pairs)
    if store.exists(files.of(layout.LABEL_CONFLICTS_CSV)):
        names, conflicts, told = read_label_conflicts(store.fetch(files.of(layout.LABEL_CONFLICTS_CSV)), names)
    bad = _bad(store, files)
    pairs = each_once(pairs) if files is INDEXED else pairs
    with Album(names, images, config.get("max_pixels", MAX_PIXELS)) as album:
        shown = {
            "groups": _groups_section(album, groups),
            "pairs": Section(list(_within(PAIR_BYTES, view_pairs(album, pairs, PAIRS))), len(pairs)),
            "outliers": Section(list(_within(OUTLIER_BYTES, view_pairs(album, outliers, OUTLIERS))), len(outliers)),
            "extremes": list(view_extremes(album, images, EXTREMES)),
            "bad": Section(_decoded(bad.slice(0, BAD)), bad.num_rows),
            "conflicts": None,
        }
        if conflicts is not None:
            views = _within(CONFLICT_BYTES, view_pairs(album, conflicts, CONFLICTS, told))
            shown["conflicts"] = Section(list(views), len(conflicts))
    return shown | {
        "scored": files is SCORED,
        "labels": _most_common(images["label"], LABELS) if conflicts is not None else [],
        "images": images.num_rows,
        "input": _in_words(config.get("input_dir")),
        "tiles": list(_tiles(summary.get("counts", {}), len(pairs))),
        "sentence": " · ".join(_sentence(asked, summary)),
        "warnings": summary.get("warnings", []),
        "histogram": _histogram(pairs.value, asked) if len(pairs) else None,
        "measure": measure_of(config),
        "tables": list(_tables(config, summary)),
        "has_groups": groups is not None,
        "bad_codes": Counter(fsdecode(code) for code in bad["error_code"].to_pylist()).most_common(),
        "version": summary.get("version", ""),
    }


def _most_common(labels: pa.ChunkedArray, limit: int) -> list[tuple[str, int]]:
    """Labels and their numbers of images, the most common first; the last counts all others."""
    counted = Counter({row["values"]: row["counts"] for row in labels.value_counts().to_pylist()})
    unlabelled = counted.pop(None, 0)
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    rest = {f"{len(ranked) - limit:,} other labels": sum(n for _, n in ranked[limit:]), "no label": unlabelled}
    return ranked[:limit] + [(words, count) for words, count in rest.items() if count]


def _bad(store: Store, files: PictureSet) -> pa.Table:
    if store.exists(files.of(layout.BAD_CSV)):
        return read_csv(store.fetch(files.of(layout.BAD_CSV)), layout.BAD_HEADER)
    return pa.table([pa.array([], pa.binary())] * len(layout.BAD_HEADER), layout.BAD_HEADER)  # features of one's own


def _groups_section(album: Album, groups: Groups | None) -> Section:
    if groups is None:
        return Section([], 0)
    return Section(list(_within(GROUP_BYTES, view_groups(album, groups, GROUPS))), len(groups))


def _within(budget: int, items: Iterable[View]) -> Iterator[View]:
    """As many of `items`, and at least one, as weigh no more than `budget` bytes in all."""
    spent = 0
    for place, item in enumerate(items):
        spent += item.weight
        if place and spent > budget:
            return
        yield item


def _decoded(table: pa.Table) -> list[list[str]]:
    return [[fsdecode(cell) for cell in row.values()] for row in table.to_pylist()]


def _tiles(counts: dict[str, int], pairs: int) -> Iterator[Tile]:
    for name, words in TILES.items():
        if name in counts:
            yield Tile(words, f"{counts[name]:,}", alarm=name == "bad" and counts[name] > 0)
    yield Tile("similar pairs", f"{pairs:,}")


def _sentence(config: dict[str, Any], summary: dict[str, Any]) -> Iterator[str]:
    """The parameters that decide what is on the page, how the neighbours were found, and how long it took."""
    for name in ("threshold", "ccthreshold", "lower_threshold", "nearest_neighbors_k", "distance"):
        if name in config:
            yield f"{name} {config[name]}"
    neighbors = summary.get("neighbors", {})
    if "index" in neighbors:
        yield f"index {neighbors['index']}"
    if neighbors.get("recall") is not None:
        yield f"recall {neighbors['recall']:.4g}"
    if seconds := summary.get("seconds"):
        yield f"{sum(seconds.values()):,.1f} seconds"


def _histogram(values: np.ndarray, config: dict[str, Any]) -> Histogram:
    """The thresholds are cosines, so they can be drawn among cosines only."""
    names = ("threshold", "ccthreshold") if is_cosine(config) else ()
    return make_histogram(values, {name: config[name] for name in names if name in config})


def _tables(config: dict[str, Any], summary: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Captions and rows of what stands behind the fold."""
    yield "Parameters", [(name, _in_words(value)) for name, value in config.items()]
    parts = {"seconds": "Seconds", "neighbors": "Neighbours", "model": "Model", "fingerprint": "Fingerprint"}
    for name, caption in parts.items():
        if facts := summary.get(name):
            yield caption, [(name, _in_words(value)) for name, value in facts.items()]


def _in_words(value: Any) -> str:
    if value is None or value == "":
        return "not given"
    if isinstance(value, list | tuple):
        more = f" and {len(value) - 10:,} more" if len(value) > 10 else ""
        return ", ".join(map(str, value[:10])) + more
    return str(value)
