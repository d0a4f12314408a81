"""Galleries: small pages with the first pairs, outliers or groups of a finished run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.common.records import Pairs
from fastdup_ray.errors import ConfigError, MissingFileError
from fastdup_ray.extract.thumbnails import MAX_SIDE, ThumbnailLoader
from fastdup_ray.features import read_names
from fastdup_ray.outputs.finished_run import locate_output
from fastdup_ray.outputs.formats import COMPONENTS, IMAGES
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.report.notebook import show_inline
from fastdup_ray.report.readers import (
    Components,
    GroupView,
    PairView,
    describe_measure,
    drop_reversed,
    find_file_set,
    read_contents,
    read_pairs,
    view_groups,
    view_pairs,
    wants_thumbnails,
)
from fastdup_ray.report.rendering import GENERATOR, render
from fastdup_ray.s3 import Access, make_access
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.named_output import STDOUT, NamedOutput
from fastdup_ray.storage.tables import describe_other_run, read_parquet

Location = str | os.PathLike[str]


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
        s3_anonymous: Send unsigned requests to S3.
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
    store, name = _find_source("similarity_file", similarity_file, work_dir, layout.SIMILARITY_CSV, access)
    output = open_page(store, save_path, layout.DUPLICATES_HTML, overwrite=overwrite)
    pairs = _read_first_pairs(store, name, num_images, descending=descending, thumbnails=thumbnails, closest_first=True)
    order = f"{'most' if descending else 'least'} similar pairs first"
    return _write(store, name, output, pairs, heading="Duplicates", kind="pairs", order=order)


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
        s3_anonymous: Send unsigned requests to S3.
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
    store, name = _find_source("outliers_file", outliers_file, work_dir, layout.OUTLIERS_CSV, access)
    output = open_page(store, save_path, layout.OUTLIERS_HTML, overwrite=overwrite)
    pairs = _read_first_pairs(
        store, name, num_images, descending=descending, thumbnails=thumbnails, closest_first=False
    )
    order = f"{'most' if descending else 'least'} unusual first"
    return _write(store, name, output, pairs, heading="Outliers", kind="outliers", order=order)


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
        s3_anonymous: Send unsigned requests to S3.
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
    store, name = _find_source("work_dir", None, work_dir, layout.COMPONENTS, access)
    output = open_page(store, save_path, layout.COMPONENTS_HTML, overwrite=overwrite)
    _check_num_images(num_images)
    table = read_parquet(_fetch(store, name), COMPONENTS)
    images = read_parquet(_fetch(store, layout.IMAGES), IMAGES)
    if len(table) != len(images):
        raise describe_other_run(_fetch(store, name))
    image_names = read_names(_fetch(store, layout.FEATURES_CSV)).combine_chunks()
    names, pairs = read_pairs(_fetch(store, locate_output(store, layout.SIMILARITY_CSV)), image_names)
    contents = read_contents(store, INDEXED, names)
    components = Components(table, contents, pairs, largest_first=descending)
    with ThumbnailLoader(
        names, images, side=_choose_side(store, INDEXED, thumbnails=thumbnails), access=access
    ) as loader:
        items = list(view_groups(loader, components, num_images))
    groups = _GalleryItems(items, len(components), describe_measure(read_config(store)))
    order = f"{'largest' if descending else 'smallest'} groups first"
    return _write(store, name, output, groups, heading="Groups", kind="groups", order=order)


@dataclass(frozen=True)
class _GalleryItems:
    """The pairs or groups of a gallery.

    Attributes:
        items: Those that it shows.
        total: How many there are.
        measure: What the values are, as a text for people.
    """

    items: Sequence[PairView | GroupView]
    total: int
    measure: str


def _find_source(
    parameter: str, file: Location | None, work_dir: Location | None, name: str, access: Access
) -> tuple[Store, str]:
    """Return the folder of the file to read, and its name there; a work_dir may be given in place of the file."""
    if file is not None:
        folder, base = os.path.split(file)
        store = open_store(file, access)
        return (store, name) if store.exists(name) else (open_store(folder or os.curdir, access), base)
    if work_dir is not None:
        return open_store(work_dir, access), name
    raise ConfigError(f"{parameter} is missing: give the work_dir of a finished run, or the path of its {name}.")


def _fetch(store: Store, name: str) -> Path:
    try:
        return store.fetch(name)
    except FileNotFoundError:
        raise MissingFileError(
            f"No {name!r} in {store.location!r}: give the outputs of a finished run, or run again."
        ) from None


def _check_num_images(num_images: int) -> None:
    if type(num_images) is not int or num_images < 1:
        raise ConfigError(f"Invalid value for num_images: {num_images!r} (must be a whole number of at least 1).")


def _read_first_pairs(
    store: Store, name: str, num_images: int, *, descending: bool, thumbnails: bool | None, closest_first: bool
) -> _GalleryItems:
    """Read the first pairs of a CSV, each once.

    closest_first: whether the closest pair comes first in such a file. Without a config.json beside the file, this
    tells distances from similarities.
    """
    _check_num_images(num_images)
    names, pairs = read_pairs(_fetch(store, name))
    pairs = drop_reversed(pairs)
    rises = len(pairs) > 0 and pairs.value[0] != pairs.value[-1] and (pairs.value[0] < pairs.value[-1]) == closest_first
    files = find_file_set(store, name)
    config = read_config(store, files)
    measure = describe_measure(config) if config or not rises else "distance"
    if not descending:  # reverse the file rather than sort by value: the order of values depends on the metric
        pairs = Pairs(pairs.source[::-1], pairs.target[::-1], pairs.value[::-1])
    contents = read_contents(store, files, names)
    with ThumbnailLoader(names, side=_choose_side(store, files, thumbnails=thumbnails), access=store.access) as loader:
        return _GalleryItems(list(view_pairs(loader, pairs, contents, num_images)), len(pairs), measure)


def _choose_side(store: Store, files: FileSet, *, thumbnails: bool | None) -> int:
    """Pixels of the longer side of a thumbnail; 0 for no thumbnails."""
    return MAX_SIDE if wants_thumbnails(store, files, thumbnails=thumbnails) else 0


def open_page(source: Store, save_path: Location | None, page: str, *, overwrite: bool) -> NamedOutput:
    """Return the output for a page, checked but not yet written.

    A page of this package is replaced, and so is anything in a work_dir that has the name of a page.

    Args:
        source: The folder of the outputs that the page is made from.
        save_path: The folder to write to. None: that of `source`.
        page: The file name.
        overwrite: Replace any other file, too.

    Raises:
        ConfigError: where `save_path` is standard output.
        WorkDirError: where the page cannot be written, or another file is in its place.
    """
    if save_path is not None and os.fspath(save_path) == STDOUT:
        raise ConfigError(f"Invalid value for save_path: {STDOUT!r} (pages need a folder).")
    in_work_dir = save_path is None and source.exists(layout.SUMMARY)
    output = NamedOutput(
        os.path.join(source.location if save_path is None else save_path, page),
        source.access,
        overwrite=overwrite or in_work_dir,
        mark=GENERATOR.encode(),
    )
    output.check()
    return output


def _write(source: Store, name: str, output: NamedOutput, shown: _GalleryItems, **words: str) -> str:
    """Write the gallery of the file `name` in `source`, show it in a notebook, return its path."""
    html = render(
        "gallery.html",
        ("base.css", "gallery.css"),
        source=os.path.join(source.location, name),
        items=shown.items,
        total=shown.total,
        measure=shown.measure,
        **words,
    )
    with output.open() as file:
        file.write(html.encode())
    show_inline(html)
    return output.path
