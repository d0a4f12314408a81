"""Galleries: small pages with the first pairs, outliers or groups of a finished run."""

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.extract.thumbnails import ThumbnailLoader
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
from fastdup_ray.report.group_views import GroupReader
from fastdup_ray.report.pair_lists import find_sources, read_shown_pairs
from fastdup_ray.report.pair_views import read_contents, view_pairs
from fastdup_ray.report.run_settings import describe_measure, find_file_set
from fastdup_ray.storage import Store


@accept_paths("similarity_file", "save_path", "work_dir")
def create_duplicates_gallery(
    similarity_file: Location | None = None,
    save_path: Location | None = None,
    num_images: int = 20,
    descending: bool = True,  # noqa: FBT001, FBT002 - the specification has it by position
    work_dir: Location | None = None,
    *,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> str:
    """Write duplicates.html: the most similar pairs, side by side. A Jupyter notebook shows the page as well.

    The images have to be where they were at the time of the run; one that is gone becomes a placeholder.

    Args:
        similarity_file: similarity.csv of a run or a scoring, or the work_dir of a run.
        save_path: The folder to write to, created if needed. Default: the folder of the CSV file.
        num_images: Pairs to show; (a, b) and (b, a) count once.
        descending: False: start with the least similar pairs of the file.
        work_dir: The work_dir of a finished run.
        thumbnails: False: names only. None: as the run did.
        overwrite: Replace a duplicates.html in `save_path` that is not a page of this package.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        The path of the page.

    Raises:
        ConfigError: where a parameter is missing or invalid.
        FileNotFoundError: where there is no such file.
        DamagedError: where an output is not what the run wrote.
        WorkDirError: where the page cannot be written, or another file is in its place.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    store, name = find_source("similarity_file", similarity_file, work_dir, layout.SIMILARITY_CSV, access)
    output = open_page(store, save_path, layout.DUPLICATES_HTML, overwrite=overwrite)
    pairs = _read_first_pairs(store, name, num_images, descending=descending, thumbnails=thumbnails, closest_first=True)
    order = f"{'most' if descending else 'least'} similar pairs first"
    return write_gallery(store, name, output, pairs, heading="Duplicates", kind="pairs", order=order)


generate_duplicates_gallery = create_duplicates_gallery


@accept_paths("outliers_file", "save_path", "work_dir")
def create_outliers_gallery(
    outliers_file: Location | None = None,
    save_path: Location | None = None,
    num_images: int = 20,
    descending: bool = True,  # noqa: FBT001, FBT002 - the specification has it by position
    work_dir: Location | None = None,
    *,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> str:
    """Write outliers.html: each outlier next to its nearest neighbor, the most unusual first.

    Two outliers that are each other's nearest neighbors are shown once.

    Args:
        outliers_file: outliers.csv of a run, test_outliers.csv of a scoring, or the work_dir of a run.
        save_path: The folder to write to, created if needed. Default: the folder of the CSV file.
        num_images: Outliers to show.
        descending: False: start with the least unusual.
        work_dir: The work_dir of a finished run.
        thumbnails: False: names only. None: as the run did.
        overwrite: Replace an outliers.html in `save_path` that is not a page of this package.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        The path of the page.

    Raises:
        ConfigError: where a parameter is missing or invalid.
        FileNotFoundError: where there is no such file.
        DamagedError: where an output is not what the run wrote.
        WorkDirError: where the page cannot be written, or another file is in its place.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    store, name = find_source("outliers_file", outliers_file, work_dir, layout.OUTLIERS_CSV, access)
    output = open_page(store, save_path, layout.OUTLIERS_HTML, overwrite=overwrite)
    pairs = _read_first_pairs(
        store, name, num_images, descending=descending, thumbnails=thumbnails, closest_first=False
    )
    order = f"{'most' if descending else 'least'} unusual first"
    return write_gallery(store, name, output, pairs, heading="Outliers", kind="outliers", order=order)


@accept_paths("save_path", "work_dir")
def create_components_gallery(
    work_dir: Location | None = None,
    save_path: Location | None = None,
    num_images: int = 20,
    descending: bool = True,  # noqa: FBT001, FBT002 - the specification has it by position
    *,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> str:
    """Write components.html: the groups of similar images, the largest first.

    Args:
        work_dir: The work_dir of a finished run with `run_cc=1`.
        save_path: The folder to write to, created if needed. Default: `work_dir`.
        num_images: Groups to show.
        descending: False: start with the smallest.
        thumbnails: False: names only. None: as the run did.
        overwrite: Replace a components.html in `save_path` that is not a page of this package.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        The path of the page.

    Raises:
        ConfigError: where a parameter is missing or invalid.
        FileNotFoundError: where an output is missing.
        DamagedError: where an output is not what the run wrote.
        WorkDirError: where the page cannot be written, or another file is in its place.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    store, name = find_source("work_dir", None, work_dir, layout.COMPONENTS, access)
    output = open_page(store, save_path, layout.COMPONENTS_HTML, overwrite=overwrite)
    check_num_images(num_images)
    path, (names, images) = fetch_output(store, name), map_images(store)
    groups = GroupReader(store, path, names, num_images, largest_first=descending)
    with ThumbnailLoader(
        names, images, side=choose_side(store, INDEXED, thumbnails=thumbnails), access=access
    ) as loader:
        shown = GalleryItems(list(groups.view(loader)), groups.total, describe_measure(read_config(store)))
    order = f"{'largest' if descending else 'smallest'} groups first"
    return write_gallery(store, name, output, shown, heading="Groups", kind="groups", order=order)


def _read_first_pairs(
    store: Store, name: str, num_images: int, *, descending: bool, thumbnails: bool | None, closest_first: bool
) -> GalleryItems:
    """Read the first pairs of a CSV, each once.

    closest_first: whether the closest pair comes first in such a file. Without a config.json beside the file, this
    tells distances from similarities.
    """
    check_num_images(num_images)
    path = fetch_output(store, name)
    shown = read_shown_pairs(path, num_images, from_end=not descending)
    files = find_file_set(store, name)
    config = read_config(store, files)
    measure = describe_measure(config) if config or shown.slope != (1 if closest_first else -1) else "distance"
    contents = read_contents(store, files, shown.names)
    is_source = np.zeros(len(shown.names), bool) if closest_first else find_sources(path, shown.names)
    with ThumbnailLoader(
        shown.names, side=choose_side(store, files, thumbnails=thumbnails), access=store.access
    ) as loader:
        return GalleryItems(list(view_pairs(loader, shown, contents, is_source)), shown.total, measure)
