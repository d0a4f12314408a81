"""Galleries of single images: by a statistic, and each with the images that are most similar to it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.arrays import DoubleArray, IntArray, split_array
from fastdup_ray.common.formatting import format_bytes
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.common.records import Pairs
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.errors import ConfigError
from fastdup_ray.extract.thumbnails import PageImage, ThumbnailLoader
from fastdup_ray.outputs.finished_run import locate_output
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.outputs.pair_file import read_pairs
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.report.gallery_page import (
    GalleryItems,
    Location,
    check_num_images,
    choose_side,
    fetch_output,
    find_source,
    map_images,
    open_page,
    write_gallery,
)
from fastdup_ray.report.group_views import IMAGES_PER_GROUP
from fastdup_ray.report.run_settings import describe_measure, is_cosine
from fastdup_ray.storage.parquet_files import iter_parquet
from fastdup_ray.storage.tables import ROWS_PER_BLOCK


@dataclass(frozen=True)
class Metric:
    """A statistic by which images are shown.

    Attributes:
        column: Of images.parquet.
        descending: Whether the highest values come first.
        first: Which images come first, for people.
    """

    column: str
    descending: bool
    first: str


METRICS = {
    "blur": Metric("blur", descending=False, first="most blurred"),
    "dark": Metric("brightness", descending=False, first="darkest"),
    "bright": Metric("brightness", descending=True, first="brightest"),
    "contrast": Metric("contrast", descending=False, first="least contrast"),
    "colors": Metric("unique_colors", descending=False, first="fewest colors"),
    "size": Metric("size", descending=True, first="largest files"),
}
"""By the name that a caller gives."""


@dataclass(frozen=True)
class ImageView:
    """An image of a gallery.

    Attributes:
        image: The image.
        value: What is said of it.
    """

    image: PageImage
    value: str


@dataclass(frozen=True)
class NeighborsView:
    """An image of a gallery, and those that are most similar to it.

    Attributes:
        image: The image.
        neighbors: At most `IMAGES_PER_GROUP`, the most similar first.
        total: Number of its neighbors in similarity.csv.
    """

    image: PageImage
    neighbors: list[ImageView]
    total: int


@accept_paths("work_dir", "save_path")
def create_stats_gallery(
    work_dir: Location,
    save_path: Location | None = None,
    metric: str = "blur",
    num_images: int = 20,
    *,
    descending: bool | None = None,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> str:
    """Write a page such as blur.html: the images with the lowest or the highest values of a statistic.

    Args:
        work_dir: The work_dir of a finished run.
        save_path: The folder to write to, created if needed. Default: `work_dir`.
        metric: blur, dark, bright, contrast, colors or size; the name of the page.
        num_images: Images to show.
        descending: Whether the highest values come first. Default: what the metric is about, such as dark images.
        thumbnails: False: names only. None: as the run did.
        overwrite: Replace a file in `save_path` that is not a page of this package.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        The path of the page.

    Raises:
        ConfigError: A parameter is invalid, or the run has no such statistic.
        FileNotFoundError: There is no finished run.
        DamagedError: An output is not what the run wrote.
        WorkDirError: The page cannot be written, or another file is in its place.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    check_num_images(num_images)
    if metric not in METRICS:
        raise ConfigError(f"Invalid value for metric: {metric!r} (must be one of {', '.join(METRICS)}).")
    store, name = find_source("work_dir", None, work_dir, layout.IMAGES, access)
    output = open_page(store, save_path, f"{metric}.html", overwrite=overwrite)
    chosen = METRICS[metric]
    blocks = iter_parquet(fetch_output(store, name), IMAGES.select([chosen.column]))
    if chosen.column not in next(blocks).column_names:
        raise ConfigError(f"Invalid value for metric: {metric!r} (the run has not measured it).")
    values = (block[chosen.column].cast(pa.float64()).to_numpy() for block in blocks)
    is_default = descending is None or descending == chosen.descending
    descending = chosen.descending if descending is None else descending
    found = _find_extremes(values, num_images, descending=descending)
    names, images = map_images(store)
    side = choose_side(store, INDEXED, thumbnails=thumbnails)
    with ThumbnailLoader(names, images, side=side, access=access) as loader:
        items = list(_view_images(loader, metric, found))
    shown = GalleryItems(items, found.total, chosen.column)
    order = f"{chosen.first} first" if is_default else f"{chosen.first} last"
    return write_gallery(store, name, output, shown, heading=f"Images by {metric}", kind="images", order=order)


@dataclass(frozen=True)
class _Extremes:
    """The images with the lowest or the highest values of a statistic.

    Attributes:
        total: Images with a value.
        rows: (m,) their indices.
        values: (m,) float64 their values.
    """

    total: int
    rows: IntArray
    values: DoubleArray


def _find_extremes(blocks: Iterable[DoubleArray], limit: int, *, descending: bool) -> _Extremes:
    """Return the first images by value, and of equal values by index, from blocks of the values of all images."""
    total = start = 0
    rows, values = np.empty(0, np.int64), np.empty(0)
    for block in blocks:
        known = np.flatnonzero(np.isfinite(block))
        total += len(known)
        rows, values = np.append(rows, start + known), np.append(values, block[known])
        first = np.argsort(-values if descending else values, kind="stable")[:limit]
        rows, values = rows[first], values[first]
        start += len(block)
    return _Extremes(total, rows, values)


def _view_images(loader: ThumbnailLoader, metric: str, found: _Extremes) -> Iterator[ImageView]:
    rows = found.rows.tolist()
    loader.request(rows)
    for row, value in zip(rows, found.values.tolist(), strict=True):
        shown = format_bytes(int(value)) if metric == "size" else f"{value:,.6g}"
        yield ImageView(loader[row], f"{METRICS[metric].column.replace('_', ' ')}: {shown}")


@accept_paths("work_dir", "save_path")
def create_similarity_gallery(
    work_dir: Location,
    save_path: Location | None = None,
    num_images: int = 20,
    *,
    descending: bool = True,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> str:
    """Write similarity.html: images, each with the images of similarity.csv that are most similar to it.

    Args:
        work_dir: The work_dir of a finished run.
        save_path: The folder to write to, created if needed. Default: `work_dir`.
        num_images: Images to show, each with its neighbors.
        descending: False: start with the images whose nearest neighbor is the least similar.
        thumbnails: False: names only. None: as the run did.
        overwrite: Replace a similarity.html in `save_path` that is not a page of this package.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        The path of the page.

    Raises:
        ConfigError: A parameter is invalid.
        FileNotFoundError: There is no finished run.
        DamagedError: An output is not what the run wrote.
        WorkDirError: The page cannot be written, or another file is in its place.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    check_num_images(num_images)
    store, _ = find_source("work_dir", None, work_dir, layout.SIMILARITY_CSV, access)
    output = open_page(store, save_path, layout.SIMILARITY_HTML, overwrite=overwrite)
    (names, images), config = map_images(store), read_config(store)
    name = locate_output(store, layout.SIMILARITY_CSV)
    pairs = read_pairs(fetch_output(store, name), names, store.scratch)
    side = choose_side(store, INDEXED, thumbnails=thumbnails)
    highest_first = is_cosine(config)
    nearest = split_array(_find_nearest(pairs, len(names), store.scratch, highest_first=highest_first), ROWS_PER_BLOCK)
    found = _find_extremes(nearest, num_images, descending=descending == highest_first)
    with ThumbnailLoader(names, images, side=side, access=access) as loader:
        items = [
            _view_neighbors(loader, pairs, rows)
            for rows in _list_pairs_of(found.rows, pairs, highest_first=highest_first)
        ]
    shown = GalleryItems(items, found.total, describe_measure(config))
    words = f"{'most' if descending else 'least'} similar to another one first"
    return write_gallery(store, name, output, shown, heading="Similar images", kind="neighbors", order=words)


def _find_nearest(pairs: Pairs, n: int, scratch: Scratch, *, highest_first: bool) -> DoubleArray:
    """Return (n,) the value of the nearest neighbor of each image, NaN for none; it may be mapped from a file."""
    nearest, choose = make_array(n, np.float64, scratch, np.nan), np.fmax if highest_first else np.fmin
    for start in range(0, len(pairs), ROWS_PER_BLOCK):
        part = slice(start, start + ROWS_PER_BLOCK)
        choose.at(nearest, pairs.source[part], pairs.value[part])
    return nearest


def _list_pairs_of(images: IntArray, pairs: Pairs, *, highest_first: bool) -> Iterator[IntArray]:
    """Yield the positions of the pairs of each of some images, its nearest neighbor first."""
    starts = range(0, len(pairs), ROWS_PER_BLOCK)
    parts = (start + np.flatnonzero(np.isin(pairs.source[start : start + ROWS_PER_BLOCK], images)) for start in starts)
    some = np.concatenate([np.empty(0, np.int64), *parts])
    for image in images:
        rows = some[pairs.source[some] == image]
        yield rows[np.argsort(-pairs.value[rows] if highest_first else pairs.value[rows], kind="stable")]


def _view_neighbors(loader: ThumbnailLoader, pairs: Pairs, rows: IntArray) -> NeighborsView:
    shown = rows[:IMAGES_PER_GROUP]
    targets = pairs.target[shown].tolist()
    loader.request([int(pairs.source[rows[0]]), *targets])
    neighbors = [
        ImageView(loader[target], f"{value:.4f}")
        for target, value in zip(targets, pairs.value[shown].tolist(), strict=True)
    ]
    return NeighborsView(loader[int(pairs.source[rows[0]])], neighbors, len(rows))
