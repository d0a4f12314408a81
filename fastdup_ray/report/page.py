"""report/index.html: one self-contained page to review the results of a run."""

import shlex
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.facts import Counts, RunSummary, StoredConfig
from fastdup_ray.common.formulas import FORMULA
from fastdup_ray.common.layout import INDEXED, SCORED, FileSet
from fastdup_ray.common.names import INVISIBLE
from fastdup_ray.config import RunConfig
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.curation.plan_rows import SIDECAR
from fastdup_ray.curation.suggest import SuggestedPlan
from fastdup_ray.outputs.run_identity import digest_images
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.report.answer import Answer, answer_run, answer_scoring
from fastdup_ray.report.histogram import Histogram, make_histogram
from fastdup_ray.report.last_thumbnails import LastThumbnails
from fastdup_ray.report.page_data import PageData, make_page_data
from fastdup_ray.report.pair_lists import PairList
from fastdup_ray.report.rendering import render
from fastdup_ray.report.run_settings import describe_measure, is_cosine
from fastdup_ray.storage import Store

STYLES = ("base.css", "page.css")
MODULES = (
    *("data.js", "format.js", "dom.js", "csv.js", "affine.js", "verdicts.js", "similarity.js", "keeper_rules.js"),
    *("suggestions.js", "plan.js", "decisions.js", "plan_storage.js", "persistence.js", "clipboard.js", "images.js"),
    *("cards.js", "stage.js", "zoom.js", "difference.js", "comparison.js", "viewer.js", "confirmed.js"),
    *("bad_table.js", "changes.js", "image_tiles.js", "tabs.js", "tiles.js", "slider.js", "relation_filter.js"),
    *("filter_bar.js", "keeper_picker.js", "menu.js", "shortcuts.js", "decision_bar.js", "keys.js", "page.js"),
)
"""Scripts, each after those that it imports."""

MAX_LABELS = 50
"""Labels whose number of images is shown."""

MAX_VALUES = 10
"""Values of a list parameter that are shown."""

MAIN_PARAMETERS = ("threshold", "ccthreshold", "lower_threshold", "nearest_neighbors_k", "distance")
"""Parameters that decide what is on the page."""


def write_report(
    store: Store,
    summary: RunSummary,
    files: FileSet = INDEXED,
    *,
    plan: SuggestedPlan | None = None,
    thumbnails: bool = True,
    last: LastThumbnails | None = None,
    began: float | None = None,
) -> int:
    """Write report/index.html into a work_dir.

    Args:
        store: The work_dir.
        summary: What summary.json has, or will have.
        files: Which set of files the report is about.
        plan: What the run suggests by default.
        thumbnails: Whether it shows images.
        last: Thumbnails to reuse.
        began: When the stage that writes the report began.

    Returns:
        The number of images on the page that could not be read.
    """
    plan = _complete(store, files, plan)
    contents = make_page_data(store, summary, files, plan, thumbnails=thumbnails, last=last)
    html = _render(store, contents, plan, summary, files, began)
    with store.create(files.name(layout.REPORT)) as path, open(path, "w", encoding="utf-8") as file:
        file.writelines(html)
    return contents.unreadable


def render_report(
    store: Store,
    summary: RunSummary,
    files: FileSet = INDEXED,
    *,
    plan: SuggestedPlan | None = None,
    thumbnails: bool = True,
    began: float | None = None,
    has_map: bool = False,
) -> Iterator[str]:
    """Render the report of a finished run. An image that is gone by now becomes a placeholder.

    Args:
        store: The work_dir.
        summary: What summary.json has, or will have.
        files: Which set of files the report is about.
        plan: What the run suggests by default; None: read the finished run, and make it. A scoring has none.
        thumbnails: Whether it shows images.
        began: When the stage that writes the report began, by `time.monotonic`; None if `summary` has its duration.
        has_map: Whether to link to map.html, in the folder above.

    Returns:
        The HTML of the page, in parts.

    Raises:
        DamagedError: where an output is not what the run wrote.
        FileNotFoundError: where an output is missing.
    """
    plan = _complete(store, files, plan)
    contents = make_page_data(store, summary, files, plan, thumbnails=thumbnails)
    return _render(store, contents, plan, summary, files, began, has_map=has_map)


def _complete(store: Store, files: FileSet, plan: SuggestedPlan | None) -> SuggestedPlan | None:
    """Return a plan, if there is one for this set of images: the default one if none is given."""
    if plan is None and files is INDEXED:
        return SuggestedPlan.by_default(read_finished_run(store))
    return plan


def _render(
    store: Store,
    contents: PageData,
    plan: SuggestedPlan | None,
    summary: RunSummary,
    files: FileSet,
    began: float | None,
    *,
    has_map: bool = False,
) -> Iterator[str]:
    if began is not None:
        outputs = {"outputs": round(time.monotonic() - began, 3)}
        summary = {**summary, "seconds": summary.get("seconds", {}) | outputs}
    plan_file = {
        "format": layout.PLAN_JSON_FORMAT,
        "columns": csv_columns.PLAN_HEADER,
        "texts": sorted(csv_columns.TEXT_COLUMNS.intersection(csv_columns.PLAN_HEADER)),
        "formula": FORMULA,
        "by_hand": csv_columns.BY_HAND,
        "sidecar": SIDECAR,
        "held": 0 if plan is None else len(plan.choice.held),
        "file": layout.PLAN_CSV,
        "run": digest_images(store, files),
        "work_dir": shlex.quote(store.location),
    }
    variables = _make_variables(contents, read_config(store, files), summary, files)
    variables["data"] |= {"plan": plan_file}
    return render("page_frame.html", STYLES, MODULES, has_map=has_map, **variables)


def _make_variables(contents: PageData, config: StoredConfig, summary: RunSummary, files: FileSet) -> dict[str, Any]:
    """The variables of the template."""
    counts, scored = summary.get("counts", Counts()), files is SCORED
    parameters = config.copy()
    if scored:
        parameters.pop("ccthreshold", None)
    return {
        "heading": "Duplicate report: new images" if scored else "Duplicate report",
        "images": counts.get("images", 0),
        "input": _format_value(config.get("input_dir")),
        "answer": _answer(contents, counts, files),
        "sentence": " · ".join(_list_main_facts(parameters, summary)),
        "warnings": summary.get("warnings", []),
        "histogram": _make_histogram(contents.pairs, parameters) if contents.pairs.total else None,
        "pairs": contents.pairs.total,
        "measure": describe_measure(config),
        "tables": list(_make_tables(config, summary, contents.labels)),
        "version": summary.get("version", ""),
        "data": contents.data
        | {
            "invisible": INVISIBLE,
            "ccthreshold": parameters.get("ccthreshold"),
            "lower_threshold": parameters.get("lower_threshold"),
            "safe_to_drop": counts.get("safe_to_drop"),
            "reclaim": contents.reclaim,
        },
        "thumbnails": contents.thumbnails,
    }


def _answer(contents: PageData, counts: Counts, files: FileSet) -> Answer:
    if files is SCORED:
        return answer_scoring(counts, contents.data["lists"]["leakage"]["total"])
    return answer_run(counts)


def _list_main_facts(config: Mapping[str, object], summary: RunSummary) -> Iterator[str]:
    """The main parameters, the index with its recall, and the duration of the run."""
    for name in MAIN_PARAMETERS:
        if name in config:
            yield f"{name} {config[name]}"
    neighbors = summary.get("neighbors", {})
    if "index" in neighbors:
        yield f"index {neighbors['index']}"
    if neighbors.get("recall") is not None:
        yield f"search accuracy {_format_percent(neighbors['recall'])}"
    if "recall_of_look_alikes" in neighbors:
        yield f"for near duplicates {_format_percent(neighbors['recall_of_look_alikes'])}"
    if seconds := summary.get("seconds"):
        yield f"{sum(seconds.values()):,.1f} seconds"


def _format_percent(fraction: float) -> str:
    return f"{100 * fraction:.4g} %"


def _make_histogram(pairs: PairList, config: StoredConfig) -> Histogram:
    """A histogram of similarities has lines at the thresholds; those of distances have none."""
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
    """Captions and rows of the tables in the fold: first of the parameters that were changed, then of the others."""
    for caption, changed in (("Changed parameters", True), ("Other parameters", False)):
        rows = [(name, _format_value(value)) for name, value in config.items() if _is_changed(name, value) == changed]
        if rows:
            yield caption, rows
    parts: dict[str, Mapping[str, object] | None] = {
        "Seconds": summary.get("seconds"),
        "Neighbors": summary.get("neighbors"),
        "Model": summary.get("model"),
        "Fingerprint": summary.get("fingerprint"),
    }
    for caption, facts in parts.items():
        if facts:
            yield caption, [(name, _format_value(value)) for name, value in facts.items()]
    if labels is not None:
        yield "Images by label", [(label, f"{count:,}") for label, count in _count_labels(labels)]


def _is_changed(name: str, value: object) -> bool:
    """Whether a parameter has another value than its default."""
    field = RunConfig.model_fields.get(name)
    return field is None or value != field.get_default(call_default_factory=True)


def _count_labels(labels: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Labels and their numbers of images, the most common first; then those of all other labels, and of none."""
    counts = {row["values"]: row["counts"] for row in labels.value_counts().to_pylist()}
    without = counts.pop(None, 0)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    other = sum(count for _, count in ranked[MAX_LABELS:])
    rest = {f"{len(ranked) - MAX_LABELS:,} other labels": other, "no label": without}
    return ranked[:MAX_LABELS] + [(words, count) for words, count in rest.items() if count]


def _format_value(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "not given"
    if isinstance(value, list | tuple):
        more = f" and {len(value) - MAX_VALUES:,} more" if len(value) > MAX_VALUES else ""
        return ", ".join(map(str, value[:MAX_VALUES])) + more
    return str(value)
