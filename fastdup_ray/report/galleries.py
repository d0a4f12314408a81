"""Galleries: small pages with the first pairs, outliers or groups of a finished run."""

from fastdup_ray.common import layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.common.records import Pairs
from fastdup_ray.extract.thumbnails import ThumbnailLoader
from fastdup_ray.features import read_names
from fastdup_ray.outputs.finished_run import locate_output
from fastdup_ray.outputs.formats import COMPONENTS, IMAGES
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.report.gallery_page import (
    GalleryItems,
    Location,
    check_num_images,
    choose_side,
    fetch_output,
    find_source,
    open_page,
    write_gallery,
)
from fastdup_ray.report.readers import (
    Components,
    describe_measure,
    drop_reversed,
    find_file_set,
    read_contents,
    read_pairs,
    view_groups,
    view_pairs,
)
from fastdup_ray.storage import Store
from fastdup_ray.storage.parquet_files import read_parquet
from fastdup_ray.storage.tables import describe_other_run


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
    table = read_parquet(fetch_output(store, name), COMPONENTS)
    images = read_parquet(fetch_output(store, layout.IMAGES), IMAGES)
    if len(table) != len(images):
        raise describe_other_run(fetch_output(store, name))
    image_names = read_names(fetch_output(store, layout.FEATURES_CSV)).combine_chunks()
    names, pairs = read_pairs(fetch_output(store, locate_output(store, layout.SIMILARITY_CSV)), image_names)
    contents = read_contents(store, INDEXED, names)
    components = Components(table, contents, pairs, largest_first=descending)
    with ThumbnailLoader(
        names, images, side=choose_side(store, INDEXED, thumbnails=thumbnails), access=access
    ) as loader:
        items = list(view_groups(loader, components, num_images))
    groups = GalleryItems(items, len(components), describe_measure(read_config(store)))
    order = f"{'largest' if descending else 'smallest'} groups first"
    return write_gallery(store, name, output, groups, heading="Groups", kind="groups", order=order)


def _read_first_pairs(
    store: Store, name: str, num_images: int, *, descending: bool, thumbnails: bool | None, closest_first: bool
) -> GalleryItems:
    """Read the first pairs of a CSV, each once.

    closest_first: whether the closest pair comes first in such a file. Without a config.json beside the file, this
    tells distances from similarities.
    """
    check_num_images(num_images)
    names, pairs = read_pairs(fetch_output(store, name))
    pairs = drop_reversed(pairs)
    rises = len(pairs) > 0 and pairs.value[0] != pairs.value[-1] and (pairs.value[0] < pairs.value[-1]) == closest_first
    files = find_file_set(store, name)
    config = read_config(store, files)
    measure = describe_measure(config) if config or not rises else "distance"
    if not descending:  # reverse the file rather than sort by value: the order of values depends on the metric
        pairs = Pairs(pairs.source[::-1], pairs.target[::-1], pairs.value[::-1])
    contents = read_contents(store, files, names)
    with ThumbnailLoader(names, side=choose_side(store, files, thumbnails=thumbnails), access=store.access) as loader:
        return GalleryItems(list(view_pairs(loader, pairs, contents, num_images)), len(pairs), measure)
