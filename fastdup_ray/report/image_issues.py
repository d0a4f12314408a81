"""Images with an issue that is seen without another image: dark, bright, blurred, blank, of an odd size or shape."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray
from fastdup_ray.common.layout import FileSet
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.report.image_table import ImageTable
from fastdup_ray.storage import Store
from fastdup_ray.storage.parquet_files import iter_parquet

MAX_SHOWN = 100
"""Images with one issue that a page shows: those that are furthest from the threshold."""

DARK, BRIGHT = 90, 230
"""Of 255. Nearly all pixels are below, or above: those within two standard deviations of the mean."""

BLURRED = 50
"""Variance of the Laplacian."""

BLANK = 5
"""Standard deviation of the brightness, of 255."""

NARROW = 0.35
"""The shorter side by the longer one."""

SPREAD, FACTOR = 3, 2
"""A size is odd if it is outside of the quartiles by `SPREAD` times their distance, and `FACTOR` times the median."""

Columns = dict[str, DoubleArray]


@dataclass(frozen=True)
class Issue:
    """What is looked for.

    Attributes:
        id: A word.
        title: For people.
        rule: What images with the issue are like, for people.
        columns: Columns of images.parquet that are needed.
        measure: Computes (b,) how far each of b images is beyond the threshold, which may depend on quartiles of all
            images; those above 0 have the issue.
        describe: Formats the values of one image.
        usual: Computes the (b,) values that the quartiles are of.
    """

    id: str
    title: str
    rule: str
    columns: tuple[str, ...]
    measure: Callable[[Columns, DoubleArray], DoubleArray]
    describe: Callable[[dict[str, float]], str]
    usual: Callable[[Columns], DoubleArray] | None = None


def _compute_side(columns: Columns) -> DoubleArray:
    """Return the logarithm of the side of a square with as many pixels."""
    side: DoubleArray = np.log(np.sqrt(np.maximum(1, columns["width"] * columns["height"])))
    return side


def _measure_size(columns: Columns, quartiles: DoubleArray) -> DoubleArray:
    """Return how much larger or smaller an image is than usual, as a factor."""
    side, (low, median, high) = _compute_side(columns), quartiles
    beyond = np.maximum(side - (high + SPREAD * (high - low)), (low - SPREAD * (high - low)) - side)
    distance: DoubleArray = np.abs(side - median)
    return np.where((beyond > 0) & (distance > np.log(FACTOR)), distance, 0.0)


def _measure_shape(columns: Columns, _: DoubleArray) -> DoubleArray:
    sides = np.maximum(1, [columns["width"], columns["height"]])
    narrowness: DoubleArray = NARROW - sides.min(axis=0) / sides.max(axis=0)
    return narrowness


def _format_sides(values: dict[str, float]) -> str:
    return f"{values['width']:.0f} × {values['height']:.0f}"


_LIGHT = ("brightness", "contrast")
_SIDES = ("width", "height")

ISSUES = (
    Issue(
        "dark",
        "Dark",
        f"Nearly all pixels are darker than {DARK} of 255.",
        _LIGHT,
        lambda of, _: DARK - (of["brightness"] + 2 * of["contrast"]),
        lambda of: f"brightness {of['brightness']:.1f}",
    ),
    Issue(
        "bright",
        "Bright",
        f"Nearly all pixels are brighter than {BRIGHT} of 255.",
        _LIGHT,
        lambda of, _: of["brightness"] - 2 * of["contrast"] - BRIGHT,
        lambda of: f"brightness {of['brightness']:.1f}",
    ),
    Issue(
        "blurred",
        "Blurred",
        f"Sharpness (variance of the Laplacian) below {BLURRED}.",
        ("blur",),
        lambda of, _: BLURRED - of["blur"],
        lambda of: f"sharpness {of['blur']:.1f}",
    ),
    Issue(
        "blank",
        "Nearly blank",
        f"Contrast (standard deviation of the brightness) below {BLANK} of 255.",
        ("contrast",),
        lambda of, _: BLANK - of["contrast"],
        lambda of: f"contrast {of['contrast']:.1f}",
    ),
    Issue(
        "size",
        "Odd size",
        f"At least {FACTOR} times larger or smaller than usual, and {SPREAD} interquartile ranges outside.",
        _SIDES,
        _measure_size,
        _format_sides,
        _compute_side,
    ),
    Issue(
        "shape",
        "Odd aspect ratio",
        f"The longer side is more than {1 / NARROW:.1f} times the shorter one.",
        _SIDES,
        _measure_shape,
        _format_sides,
    ),
)


def list_issues(store: Store, files: FileSet, images: ImageTable) -> list[dict[str, Any]]:
    """Return what a page says of each issue that images.parquet has the columns for.

    Args:
        store: The work_dir.
        files: The set of files that the page is about.
        images: The images of the page; thumbnails of those with an issue are requested.
    """
    return list(_describe_issues(store.fetch(files.name(layout.IMAGES)), images, store.scratch))


def _describe_issues(path: Path, images: ImageTable, scratch: Scratch) -> Iterator[dict[str, Any]]:
    for issue in ISSUES:
        quartiles = np.empty(0)
        if issue.usual is not None:
            blocks = (issue.usual(values) for _, values in _iter_known(path, issue.columns))
            quartiles = _compute_quartiles(blocks, images.total, scratch)
        found = _find_images(issue, path, quartiles)
        if found is None:
            continue
        images.request(found.rows.tolist())
        items = [
            [images.number(row), issue.describe({name: float(values[place]) for name, values in found.values.items()})]
            for place, row in enumerate(found.rows.tolist())
        ]
        yield {"id": issue.id, "title": issue.title, "rule": issue.rule, "total": found.total, "items": items}


@dataclass(frozen=True)
class _IssueImages:
    """The images with one issue.

    Attributes:
        total: Their number.
        rows: Indices of those that are shown, the furthest from the threshold first.
        values: The columns of these.
    """

    total: int
    rows: IntArray
    values: Columns


def _compute_quartiles(blocks: Iterable[DoubleArray], most: int, scratch: Scratch) -> DoubleArray:
    """Return the (3,) quartiles of at most so many values, (0,) of none. The values may be in a temporary file."""
    values, count = make_array(most, np.float64, scratch), 0
    for block in blocks:
        values[count : count + len(block)] = block
        count += len(block)
    if not count:
        return np.empty(0)
    quartiles: DoubleArray = np.percentile(np.asarray(values)[:count], [25, 50, 75], overwrite_input=True)
    return quartiles


def _find_images(issue: Issue, path: Path, quartiles: DoubleArray) -> _IssueImages | None:
    """Return the images with an issue; None if the columns are missing, or no image has values in them."""
    is_known, total = False, 0
    rows, beyond, shown = np.empty(0, np.int64), np.empty(0), {name: np.empty(0) for name in issue.columns}
    for some, values in _iter_known(path, issue.columns):
        is_known = True
        by_how_much = issue.measure(values, quartiles)
        has_issue = by_how_much > 0
        total += int(has_issue.sum())
        rows, beyond = np.append(rows, some[has_issue]), np.append(beyond, by_how_much[has_issue])
        furthest = np.argsort(-beyond, kind="stable")[:MAX_SHOWN]
        rows, beyond = rows[furthest], beyond[furthest]
        shown = {name: np.append(shown[name], values[name][has_issue])[furthest] for name in issue.columns}
    return _IssueImages(total, rows, shown) if is_known else None


def _iter_known(path: Path, names: Sequence[str]) -> Iterator[tuple[IntArray, Columns]]:
    """Yield the indices of the images that have a value in each of some columns, and these values, block by block."""
    start = 0
    for table in iter_parquet(path, IMAGES.select(names)):
        if not set(names).issubset(table.column_names):
            return
        columns = {name: table[name].cast("float64").fill_null(np.nan).to_numpy() for name in names}
        known: BoolArray = np.all([np.isfinite(values) for values in columns.values()], axis=0)
        if known.any():
            yield start + np.flatnonzero(known), {name: values[known] for name, values in columns.items()}
        start += len(table)
