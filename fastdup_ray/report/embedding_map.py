"""map.html: the images of a run as points, similar ones near each other."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from fastdup_ray.analysis.projection import METHODS, Projection, choose_rows, project
from fastdup_ray.common import layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.common.names import INVISIBLE
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.finished_run import FinishedRun, read_finished_run
from fastdup_ray.errors import ConfigError
from fastdup_ray.extract.thumbnails import MAX_PIXELS
from fastdup_ray.features import read_unit_rows
from fastdup_ray.report.gallery_page import Location, open_page
from fastdup_ray.report.image_table import LEFT_OUT, MAX_THUMBNAILS, NO_ROOM, ImageTable, map_facts
from fastdup_ray.report.map_colors import list_colorings
from fastdup_ray.report.notebook import show_inline
from fastdup_ray.report.page_data import MAX_CHARACTERS
from fastdup_ray.report.rendering import iter_json, render
from fastdup_ray.report.run_settings import wants_thumbnails
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.tables import take_rows

MAX_POINTS = 20_000
"""Points of a map."""

STYLES = ("base.css", "page.css", "map.css")
MODULES = (
    *("data.js", "format.js", "dom.js", "clipboard.js", "images.js"),
    *("map_data.js", "map_view.js", "map_legend.js", "map_dialog.js", "map_page.js"),
)
"""Scripts, each after those that it imports."""

_STEPS = 10_000
"""Steps of the wider axis."""


@accept_paths("work_dir", "save_path")
def create_embedding_map(
    work_dir: Location,
    save_path: Location | None = None,
    method: str = "pca",
    *,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> str:
    """Write map.html: the images as points, similar ones near each other. A Jupyter notebook shows a picture of it.

    Of a run of more than 20,000 images, a sample of 20,000 is shown, always the same one.

    Args:
        work_dir: The work_dir of a finished run.
        save_path: The folder to write to, created if needed. Default: `work_dir`.
        method: How 2 numbers are made of each embedding: `pca`, or `umap`, which needs the extra `map`.
        thumbnails: False: names only. None: as the run did.
        overwrite: Replace a map.html in `save_path` that is not a page of this package.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        The path of the page.

    Raises:
        ConfigError: A parameter is invalid, or a package is missing.
        InputError: There is no finished run.
        DamagedError: An output is not what the run wrote.
        WorkDirError: The page cannot be written, or another file is in its place.
    """
    if method not in METHODS:
        raise ConfigError(f"Invalid value for method: {method!r} (must be one of {', '.join(METHODS)}).")
    store = open_store(
        os.path.expanduser(work_dir), make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    )
    output = open_page(store, save_path, layout.MAP_HTML, overwrite=overwrite)
    html = render_map(store, method, thumbnails=thumbnails)
    with output.open() as file:
        file.write(html.encode())
    show_inline(html)
    return output.path


def render_map(store: Store, method: str, *, thumbnails: bool | None = None) -> str:
    """Render the map of a finished run; see `create_embedding_map`."""
    run = read_finished_run(store)
    rows = choose_rows(len(run.names), MAX_POINTS)
    projection = project(read_unit_rows(run.features, rows), method)
    points = np.rint(projection.places * _STEPS).astype(np.int64)
    data = _make_data(store, run, rows, points)
    images = _PageImages.make(store, run, rows, data, thumbnails=wants_thumbnails(store, thumbnails=thumbnails))
    parts = render(
        "map.html",
        STYLES,
        MODULES,
        source=store.location,
        shown=len(rows),
        total=len(run.names),
        axes=_describe_axes(method, projection),
        picture=_draw_points(points),
        run=run.digest,
        extent=points.max(axis=0).tolist(),
        data=data | {"pictures": images.columns},
        thumbnails=images.thumbnails,
    )
    return "".join(parts)


def _make_data(store: Store, run: FinishedRun, rows: IntArray, points: IntArray) -> dict[str, Any]:
    """Return the JSON of the page but for its images."""
    colorings = [coloring.to_json() for coloring in list_colorings(store, run, rows)]
    return {"invisible": INVISIBLE, "x": points[:, 0].tolist(), "y": points[:, 1].tolist(), "colorings": colorings}


@dataclass(frozen=True)
class _PageImages:
    """The images of a map.

    Attributes:
        columns: Their facts, in the order of the points.
        thumbnails: Data URIs.
    """

    columns: dict[str, Any]
    thumbnails: list[str]

    @classmethod
    def make(
        cls, store: Store, run: FinishedRun, rows: IntArray, data: dict[str, Any], *, thumbnails: bool
    ) -> "_PageImages":
        """Make thumbnails of as many images as there is room for, spread over the map."""
        facts = take_rows(map_facts(store, INDEXED, run.names), rows)
        table = ImageTable(run.names.take(rows), facts, np.arange(len(rows)), store.access)
        for point in range(len(rows)):
            table.number(point)
        columns, images = table.columns() | {"row": rows.tolist()}, {}
        if thumbnails:
            table.request(choose_rows(len(rows), MAX_THUMBNAILS).tolist())
            room = MAX_CHARACTERS - sum(len(part.encode()) for part in iter_json(data | columns))
            images = table.make_thumbnails(run.config.get("max_pixels", MAX_PIXELS), table.choose_side(room), room)
        columns |= table.locate_thumbnails(images, NO_ROOM if thumbnails else LEFT_OUT)
        return cls(columns, [thumbnail.data_uri for thumbnail in images.values() if thumbnail.data_uri])


def _describe_axes(method: str, projection: Projection) -> str:
    if method == "umap":
        return "by UMAP: neighbors are similar; distances between clusters say little"
    share = "" if projection.variance is None else f", which have {100 * projection.variance:.0f} % of the variance"
    return f"by their two principal components{share}"


def _draw_points(points: IntArray) -> Markup:
    """Return the outline of an SVG path with a dot at each different place."""

    def iter_dots() -> Iterator[str]:
        for x, y in np.unique(points, axis=0).tolist():
            yield f"M{x} {y}h0"

    return Markup("".join(iter_dots()))
