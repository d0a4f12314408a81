"""Images with an issue that is seen without another image: dark, bright, blurred, blank, of an odd size or shape."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import BoolArray, DoubleArray
from fastdup_ray.common.layout import FileSet
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.report.image_table import ImageTable
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import read_parquet

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
        measure: Computes (n,) how far each image is beyond the threshold; those above 0 have the issue.
        describe: Formats the values of one image.
    """

    id: str
    title: str
    rule: str
    columns: tuple[str, ...]
    measure: Callable[[Columns], DoubleArray]
    describe: Callable[[dict[str, float]], str]


def _measure_size(columns: Columns) -> DoubleArray:
    """How much larger or smaller an image is than usual, as a factor."""
    side = np.log(np.sqrt(np.maximum(1, columns["width"] * columns["height"])))
    low, median, high = np.percentile(side, [25, 50, 75])
    beyond = np.maximum(side - (high + SPREAD * (high - low)), (low - SPREAD * (high - low)) - side)
    distance: DoubleArray = np.abs(side - median)
    return np.where((beyond > 0) & (distance > np.log(FACTOR)), distance, 0.0)


def _measure_shape(columns: Columns) -> DoubleArray:
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
        lambda of: DARK - (of["brightness"] + 2 * of["contrast"]),
        lambda of: f"brightness {of['brightness']:.1f}",
    ),
    Issue(
        "bright",
        "Bright",
        f"Nearly all pixels are brighter than {BRIGHT} of 255.",
        _LIGHT,
        lambda of: of["brightness"] - 2 * of["contrast"] - BRIGHT,
        lambda of: f"brightness {of['brightness']:.1f}",
    ),
    Issue(
        "blurred",
        "Blurred",
        f"Sharpness (variance of the Laplacian) below {BLURRED}.",
        ("blur",),
        lambda of: BLURRED - of["blur"],
        lambda of: f"sharpness {of['blur']:.1f}",
    ),
    Issue(
        "blank",
        "Nearly blank",
        f"Contrast (standard deviation of the brightness) below {BLANK} of 255.",
        ("contrast",),
        lambda of: BLANK - of["contrast"],
        lambda of: f"contrast {of['contrast']:.1f}",
    ),
    Issue(
        "size",
        "Odd size",
        f"At least {FACTOR} times larger or smaller than usual, and {SPREAD} interquartile ranges outside.",
        _SIDES,
        _measure_size,
        _format_sides,
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
    path = store.fetch(files.name(layout.IMAGES))
    columns: Columns = {}
    for name in sorted({name for issue in ISSUES for name in issue.columns}):
        table = read_parquet(path, IMAGES.select([name]))
        if name in table.column_names:
            columns[name] = table[name].cast("float64").fill_null(np.nan).to_numpy()
    return list(_describe_issues(columns, images))


def _describe_issues(columns: Columns, images: ImageTable) -> Iterator[dict[str, Any]]:
    for issue in ISSUES:
        if not all(name in columns for name in issue.columns):
            continue
        used = {name: columns[name] for name in issue.columns}
        known: BoolArray = np.all([np.isfinite(values) for values in used.values()], axis=0)
        rows = np.flatnonzero(known)
        if not len(rows):
            continue
        beyond = issue.measure({name: values[rows] for name, values in used.items()})
        order = np.argsort(-beyond, kind="stable")[: int((beyond > 0).sum())]
        shown = rows[order[:MAX_SHOWN]].tolist()
        images.request(shown)
        items = [
            [images.number(row), issue.describe({name: float(values[row]) for name, values in used.items()})]
            for row in shown
        ]
        yield {"id": issue.id, "title": issue.title, "rule": issue.rule, "total": len(order), "items": items}
