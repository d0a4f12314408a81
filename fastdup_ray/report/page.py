"""report/index.html: one self-contained page about a run, to look and to judge."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.facts import Counts, RunSummary, StoredConfig
from fastdup_ray.common.formatting import format_bytes
from fastdup_ray.common.formulas import FORMULA
from fastdup_ray.common.layout import INDEXED, SCORED, FileSet
from fastdup_ray.common.names import INVISIBLE
from fastdup_ray.outputs.run_digest import digest_images
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.report.histogram import Histogram, make_histogram
from fastdup_ray.report.page_data import PageData, make_page_data
from fastdup_ray.report.readers import PairList, describe_measure, is_cosine
from fastdup_ray.report.rendering import render
from fastdup_ray.storage import Store

STYLES = ("base.css", "page.css")
MODULES = (
    *("data.js", "words.js", "elements.js", "csv.js", "plan.js", "decisions.js", "storing.js", "pictures.js"),
    *("cards.js", "viewer.js", "lists.js", "slider.js", "tray.js", "page.js"),
)

TILES = {
    "images": "images",
    "indexed": "indexed images",
    "bad": "bad files",
    "exact_copies": "exact copies",
    "near_copies": "near copies",
    "components": "groups",
    "outliers": "outliers",
    "label_conflicts": "label conflicts",
}
"""Name in the summary's counts -> words on the page."""

LABELS = 50
"""Of which the number of images is told."""

SENTENCE = ("threshold", "ccthreshold", "lower_threshold", "nearest_neighbors_k", "distance")
"""Parameters that decide what is on the page."""


@dataclass(frozen=True)
class Tile:
    name: str
    text: str
    more: str = ""
    alarm: bool = False


def write_report(
    store: Store,
    summary: RunSummary,
    files: FileSet = INDEXED,
    *,
    thumbnails: bool = True,
) -> None:
    """Write report/index.html into `store`, from what `render_report` takes."""
    html = render_report(store, summary, files, thumbnails=thumbnails)
    with store.create(files.name(layout.REPORT)) as path:
        path.write_text(html, encoding="utf-8")


def render_report(store: Store, summary: RunSummary, files: FileSet = INDEXED, *, thumbnails: bool = True) -> str:
    """Return the page about the finished outputs in `store`; `summary`: what summary.json has, or will have.

    files: which set of images it is about. thumbnails: whether the page shows any image.

    Raises `DamagedError` or `FileNotFoundError` where an output is not what the run wrote. An image that is gone by
    now is a placeholder.
    """
    contents = make_page_data(store, summary, files, thumbnails=thumbnails)
    plan = {
        "format": layout.PLAN_JSON_FORMAT,
        "columns": layout.PLAN_HEADER,
        "texts": sorted(layout.TEXT_COLUMNS.intersection(layout.PLAN_HEADER)),
        "formula": FORMULA,
        "by_hand": layout.BY_HAND,
        "file": layout.PLAN_CSV,
        "run": digest_images(store, files),
        "work_dir": shlex.quote(store.location),
    }
    told = _make_content(contents, read_config(store, files), summary, files)
    told["data"] |= {"plan": plan}
    return render("page.html", STYLES, MODULES, **told)


def _make_content(contents: PageData, config: StoredConfig, summary: RunSummary, files: FileSet) -> dict[str, Any]:
    """What the template takes."""
    counts, scored = summary.get("counts", Counts()), files is SCORED
    asked = config.copy()
    if scored:
        asked.pop("ccthreshold", None)
    return {
        "heading": "Report on new images" if scored else "Image report",
        "images": counts.get("images", 0),
        "input": _format_value(config.get("input_dir")),
        "tiles": list(_make_tiles(counts, contents)),
        "sentence": " · ".join(_format_sentence(asked, summary)),
        "warnings": summary.get("warnings", []),
        "histogram": _draw_histogram(contents.pairs, asked) if contents.pairs.total else None,
        "pairs": contents.pairs.total,
        "measure": describe_measure(config),
        "tables": list(_make_tables(config, summary, contents.labels)),
        "version": summary.get("version", ""),
        "data": contents.data | {"invisible": INVISIBLE},
        "thumbnails": contents.thumbnails,
    }


def _make_tiles(counts: Counts, contents: PageData) -> Iterator[Tile]:
    numbers: Mapping[str, object] = counts
    for name, words in TILES.items():
        if name in counts:
            more = ""
            if name == "exact_copies" and "same_bytes" in counts:
                more = f"{counts['same_bytes']:,} by bytes, {counts['same_pixels']:,} by pixels"
            yield Tile(words, f"{numbers[name]:,}", more, alarm=name == "bad" and counts["bad"] > 0)
    if contents.reclaim is not None:
        more = f"{format_bytes(contents.reclaim_exact)} of it in exact copies"
        yield Tile("could be reclaimed", format_bytes(contents.reclaim), more)
    elif contents.reclaim_exact:
        yield Tile("could be reclaimed", format_bytes(contents.reclaim_exact), "in exact copies")


def _format_sentence(config: Mapping[str, object], summary: RunSummary) -> Iterator[str]:
    """The parameters, how the neighbours were found, and how long it took."""
    for name in SENTENCE:
        if name in config:
            yield f"{name} {config[name]}"
    neighbors = summary.get("neighbors", {})
    if "index" in neighbors:
        yield f"index {neighbors['index']}"
    if neighbors.get("recall") is not None:
        yield f"recall of the index {neighbors['recall']:.4g}"
    if "recall_of_look_alikes" in neighbors:
        yield f"of look-alikes {neighbors['recall_of_look_alikes']:.4g}"
    if seconds := summary.get("seconds"):
        yield f"{sum(seconds.values()):,.1f} seconds"


def _draw_histogram(pairs: PairList, config: StoredConfig) -> Histogram:
    """The thresholds are cosines, so they can be drawn among cosines only."""
    marks: dict[str, float] = {}
    if is_cosine(config):
        if "threshold" in config:
            marks["threshold"] = config["threshold"]
        if "ccthreshold" in config:
            marks["ccthreshold"] = config["ccthreshold"]
    return make_histogram(pairs.values, pairs.counts, marks)


def _make_tables(
    config: StoredConfig, summary: RunSummary, labels: pa.ChunkedArray | None
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Captions and rows of what stands behind the fold."""
    yield "Parameters", [(name, _format_value(value)) for name, value in config.items()]
    parts: dict[str, Mapping[str, object] | None] = {
        "Seconds": summary.get("seconds"),
        "Neighbours": summary.get("neighbors"),
        "Model": summary.get("model"),
        "Fingerprint": summary.get("fingerprint"),
    }
    for caption, facts in parts.items():
        if facts:
            yield caption, [(name, _format_value(value)) for name, value in facts.items()]
    if labels is not None:
        yield "Images by label", [(label, f"{count:,}") for label, count in _count_labels(labels)]


def _count_labels(labels: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Labels and their numbers of images, the most common first; the last counts all others."""
    counted = {row["values"]: row["counts"] for row in labels.value_counts().to_pylist()}
    unlabelled = counted.pop(None, 0)
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    rest = {f"{len(ranked) - LABELS:,} other labels": sum(n for _, n in ranked[LABELS:]), "no label": unlabelled}
    return ranked[:LABELS] + [(words, count) for words, count in rest.items() if count]


def _format_value(value: Any) -> str:
    if value is None or value == "":
        return "not given"
    if isinstance(value, list | tuple):
        more = f" and {len(value) - 10:,} more" if len(value) > 10 else ""
        return ", ".join(map(str, value[:10])) + more
    return str(value)
