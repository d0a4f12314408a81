"""A gallery as a page: where its outputs come from, and where it goes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.access import Access
from fastdup_ray.common.layout import FileSet
from fastdup_ray.errors import ConfigError, MissingFileError
from fastdup_ray.extract.thumbnails import MAX_SIDE, FileFacts
from fastdup_ray.features import map_names
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.report.notebook import show_inline
from fastdup_ray.report.rendering import GENERATOR, render
from fastdup_ray.report.run_settings import wants_thumbnails
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.named_output import STDOUT, NamedOutput
from fastdup_ray.storage.parquet_files import map_parquet
from fastdup_ray.storage.tables import describe_other_run

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class GalleryItems:
    """What a gallery shows.

    Attributes:
        items: The pairs, groups or images that it shows.
        total: How many there are.
        measure: What the values are, as a text for people.
    """

    items: Sequence[Any]
    total: int
    measure: str


def find_source(
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


def fetch_output(store: Store, name: str) -> Path:
    """Return the path of an output; raise `MissingFileError` if there is none."""
    try:
        return store.fetch(name)
    except FileNotFoundError:
        raise MissingFileError(
            f"No {name!r} in {store.location!r}: give the outputs of a finished run, or run again."
        ) from None


def map_images(store: Store) -> tuple[pa.LargeBinaryArray, pa.Table]:
    """Return the raw names of the images of a run, and what a page shows of each, mapped from files.

    Raises:
        MissingFileError: There are no such outputs.
        DamagedError: They are damaged, or of different runs.
    """
    fetch_output(store, layout.FEATURES_CSV)
    path = fetch_output(store, layout.IMAGES)
    names = map_names(store, layout.FEATURES_CSV)
    images = map_parquet(path, IMAGES, store.scratch(), FileFacts.__slots__)
    if len(names) != len(images):
        raise describe_other_run(path)
    return names, images


def check_num_images(num_images: int) -> None:
    """Raise `ConfigError` if this is not a number of items."""
    if type(num_images) is not int or num_images < 1:
        raise ConfigError(f"Invalid value for num_images: {num_images!r} (must be a whole number of at least 1).")


def choose_side(store: Store, files: FileSet, *, thumbnails: bool | None) -> int:
    """Return the pixels of the longer side of a thumbnail; 0 for no thumbnails."""
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


def write_gallery(source: Store, name: str, output: NamedOutput, shown: GalleryItems, **words: str) -> str:
    """Write the gallery of the file `name` in `source`, show it in a notebook, return its path."""
    parts = render(
        "gallery.html",
        ("base.css", "gallery.css"),
        source=os.path.join(source.location, name),
        items=shown.items,
        total=shown.total,
        measure=shown.measure,
        **words,
    )
    html = "".join(parts)
    with output.open() as file:
        file.write(html.encode())
    show_inline(html)
    return output.path
