"""Galleries: pages with the first few pairs, outliers or groups, made at any time after a run."""

import os
from pathlib import Path
from typing import Any

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
    descending: bool = True,
    work_dir: Location | None = None,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> str:
    """Writes duplicates.html: the most similar pairs, side by side. In a Jupyter notebook it is shown there as well.

    similarity_file: similarity.csv of a run or a scoring; or leave it out and give the work_dir. The pictures have to
        be where they were at the run: one that is gone is a placeholder.
    save_path: folder to write to, made where it is not there; default: the folder of the CSV.
    num_images: pairs to show; (a, b) and (b, a) count once.
    descending: False shows the least similar pairs of the file, the least similar first.
    thumbnails: False shows names only; None does what the run was asked to, where its config.json is there.
    overwrite: replace a duplicates.html in `save_path` that is not a page of ours.
    s3_anonymous: send unsigned requests to S3.
    s3_requester_pays: pay for reads from requester-pays buckets.

    Returns the path of the page. Raises `ConfigError`, `WorkDirError`, `FileNotFoundError`, `DamagedError` with one
    line for the user.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    store, name = _find_source("similarity_file", similarity_file, work_dir, layout.SIMILARITY_CSV, access)
    output = open_page(store, save_path, layout.DUPLICATES_HTML, overwrite=overwrite)
    items, total, measure = _read_first_pairs(store, name, num_images, descending, thumbnails, closest_first=True)
    order = f"the {'most' if descending else 'least'} similar pair first"
    content = {"heading": "Duplicates", "kind": "pairs", "order": order, "items": items, "total": total}
    return _write(store, name, output, measure, content)


generate_duplicates_gallery = create_duplicates_gallery


@accept_paths("outliers_file", "save_path", "work_dir")
def create_outliers_gallery(
    outliers_file: Location | None = None,
    save_path: Location | None = None,
    num_images: int = 20,
    descending: bool = True,
    work_dir: Location | None = None,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> str:
    """Writes outliers.html: the outliers, each beside its closest neighbour, the farthest first.

    outliers_file: outliers.csv of a run, or test_outliers.csv of a scoring. descending: False shows the least far
    first. The rest is as in `create_duplicates_gallery`; of two outliers that are each other's closest neighbours the
    page has one row.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    store, name = _find_source("outliers_file", outliers_file, work_dir, layout.OUTLIERS_CSV, access)
    output = open_page(store, save_path, layout.OUTLIERS_HTML, overwrite=overwrite)
    items, total, measure = _read_first_pairs(store, name, num_images, descending, thumbnails, closest_first=False)
    order = f"the {'farthest' if descending else 'least far'} first"
    content = {"heading": "Outliers", "kind": "outliers", "order": order, "items": items, "total": total}
    return _write(store, name, output, measure, content)


@accept_paths("save_path", "work_dir")
def create_components_gallery(
    work_dir: Location | None = None,
    save_path: Location | None = None,
    num_images: int = 20,
    descending: bool = True,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> str:
    """Writes components.html: the groups of similar pictures, the largest first.

    work_dir: of a run with run_cc=1. num_images: groups to show. descending: False shows the smallest first.
    save_path: default: work_dir. The rest is as in `create_duplicates_gallery`.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    store, name = _find_source("work_dir", None, work_dir, layout.COMPONENTS, access)
    output = open_page(store, save_path, layout.COMPONENTS_HTML, overwrite=overwrite)
    _check_number(num_images)
    components = read_parquet(_fetch(store, name), COMPONENTS)
    images = read_parquet(_fetch(store, layout.IMAGES), IMAGES)
    if len(components) != len(images):
        raise describe_other_run(_fetch(store, name))
    known = read_names(_fetch(store, layout.FEATURES_CSV)).combine_chunks()
    names, pairs = read_pairs(_fetch(store, locate_output(store, layout.SIMILARITY_CSV)), known)
    contents = read_contents(store, INDEXED, names)
    groups = Components(components, contents, pairs, largest_first=descending)
    with ThumbnailLoader(names, images, side=_choose_side(store, INDEXED, thumbnails), access=access) as album:
        items = list(view_groups(album, groups, num_images))
    order = f"the {'largest' if descending else 'smallest'} group first"
    content = {"heading": "Groups", "kind": "groups", "order": order, "items": items, "total": len(groups)}
    measure = describe_measure(read_config(store))
    return _write(store, name, output, measure, content)


def _find_source(
    parameter: str, file: Location | None, work_dir: Location | None, name: str, access: Access
) -> tuple[Store, str]:
    """Where the file to read is: its folder, and its name there."""
    if file is not None:
        folder, name = os.path.split(os.path.expanduser(file))
        return open_store(folder or os.curdir, access), name
    if work_dir is not None:
        return open_store(os.path.expanduser(work_dir), access), name
    raise ConfigError(f"{parameter} is missing: say where the {name} is that a run wrote.")


def _fetch(store: Store, name: str) -> Path:
    try:
        return store.fetch(name)
    except FileNotFoundError:
        raise MissingFileError(
            f"{name!r} is not in {store.location!r}; name what a finished run wrote there, or run again."
        ) from None


def _check_number(num_images: int) -> None:
    if type(num_images) is not int or num_images < 1:
        raise ConfigError(f"num_images={num_images!r} is not possible: it should be a whole number from 1 on.")


def _read_first_pairs(
    store: Store, name: str, num_images: int, descending: bool, thumbnails: bool | None, *, closest_first: bool
) -> tuple[list[PairView], int, str]:
    """The first pairs of a CSV, how many there are, each counted once, and what their values are.

    closest_first: the order of the file. Where no config.json stands beside it, that tells distances from similarities.
    """
    _check_number(num_images)
    names, pairs = read_pairs(_fetch(store, name))
    pairs = drop_reversed(pairs)
    rises = len(pairs) > 0 and pairs.value[0] != pairs.value[-1] and (pairs.value[0] < pairs.value[-1]) == closest_first
    config = read_config(store, find_file_set(store, name))
    measure = describe_measure(config) if config or not rises else "distance"
    if not descending:  # the order of the file, never its values: whether they fall or rise depends on the metric
        pairs = Pairs(pairs.source[::-1], pairs.target[::-1], pairs.value[::-1])
    files = find_file_set(store, name)
    contents = read_contents(store, files, names)
    with ThumbnailLoader(names, side=_choose_side(store, files, thumbnails), access=store.access) as album:
        return list(view_pairs(album, pairs, contents, num_images)), len(pairs), measure


def _choose_side(store: Store, files: FileSet, thumbnails: bool | None) -> int:
    """Pixels of the longer side of a thumbnail; 0: none are made."""
    return MAX_SIDE if wants_thumbnails(store, files, thumbnails) else 0


def open_page(source: Store, save_path: Location | None, page: str, *, overwrite: bool) -> NamedOutput:
    """Where a page about `source` goes: into the folder `save_path`, or beside what it is made from.

    A page of ours is replaced, and whatever is in a work_dir under such a name. Raises `WorkDirError` where something
    else is there, or the page cannot be written.
    """
    if save_path is not None and os.fspath(save_path) == STDOUT:
        raise ConfigError(f"save_path={STDOUT!r} is not possible: pages go into a folder.")
    in_work_dir = save_path is None and source.exists(layout.SUMMARY)
    output = NamedOutput(
        os.path.join(source.location if save_path is None else save_path, page),
        source.access,
        overwrite=overwrite or in_work_dir,
        mark=GENERATOR.encode(),
    )
    output.check()
    return output


def _write(source: Store, name: str, output: NamedOutput, measure: str, content: dict[str, Any]) -> str:
    """Writes a gallery of `name` in `source`, shows it in a notebook, returns its path."""
    html = render(
        "gallery.html",
        ("base.css", "gallery.css"),
        source=os.path.join(source.location, name),
        measure=measure,
        **content,
    )
    with output.open() as file:
        file.write(html.encode())
    show_inline(html)
    return output.path
