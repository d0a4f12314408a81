"""The images of a page, each once: its facts, and a thumbnail where the page has room for one."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.dates import UNKNOWN, format_date, read_dates
from fastdup_ray.common import layout
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.common.names import escape_non_utf8, is_utf8
from fastdup_ray.extract.thumbnails import FileFacts, Thumbnail, ThumbnailLoader, choose_side
from fastdup_ray.inputs import get_box, is_standalone_file
from fastdup_ray.outputs.exact_copies import BYTES, PIXELS
from fastdup_ray.outputs.formats import COMPONENTS, IMAGES
from fastdup_ray.report.last_thumbnails import LastThumbnails
from fastdup_ray.storage import Store
from fastdup_ray.storage.parquet_files import iter_parquet, map_parquet, read_parquet
from fastdup_ray.storage.tables import describe_other_run, escape_names, take_rows

FACTS = ("size", "mtime_or_etag", "sha256", "width", "height", "format", "taken", "label", "reference")
"""Columns of images.parquet that a page shows or a plan needs."""

MAX_THUMBNAILS = 6_000
"""Thumbnails of a page."""

_OVERHEAD = len('"",') + len(f'"{64 * "0"}",')
"""Characters of a thumbnail besides its data URI: quotes, a comma, and the sha256 of its image."""

_MINUTE = len("2019-05-04 12:30")

NO_ROOM = "too many for one file; fastdup-ray serve shows it"
LEFT_OUT = "thumbnails were left out of this page"


def map_facts(store: Store, files: FileSet, names: pa.Array) -> pa.Table:
    """Return the `FACTS` of images, memory-mapped.

    Args:
        store: The work_dir.
        files: The set of files that the page is about.
        names: (n,) raw names: all images of that set in its order, then others of the indexed set, or unknown ones.

    Returns:
        A table of n rows, null where nothing is known.

    Raises:
        DamagedError: where images.parquet has more images than there are names.
    """
    tables = [_map_images(store, files)]
    if len(tables[0]) > len(names):
        raise describe_other_run(store.fetch(files.name(layout.IMAGES)))
    if len(names) > (own := len(tables[0])):
        indexed = tables[0] if files is INDEXED else _map_images(store, INDEXED)
        indexed_names = read_parquet(store.fetch(layout.IMAGES), IMAGES.select(["filename"]))["filename"]
        others = escape_names(names.slice(own))
        tables.append(indexed.take(pc.index_in(others, indexed_names.combine_chunks())))
    return pa.concat_tables(tables, promote_options="default")


def _map_images(store: Store, files: FileSet) -> pa.Table:
    return map_parquet(store.fetch(files.name(layout.IMAGES)), IMAGES.select(FACTS), store.scratch())


def read_group_numbers(store: Store, files: FileSet, rows: IntArray) -> list[int | None]:
    """Return the `component_id` of images; None where there is none: in a scoring, or with run_cc=0.

    Args:
        store: The work_dir.
        files: The set of files that the page is about.
        rows: (m,) int64 indices as in `map_facts`.
    """
    if files is not INDEXED or not store.exists(layout.COMPONENTS):
        return [None] * len(rows)
    numbers: list[int | None] = [None] * len(rows)
    order, start = np.argsort(rows), 0
    for block in iter_parquet(store.fetch(layout.COMPONENTS), COMPONENTS.select(["component_id"])):
        low, high = np.searchsorted(rows, [start, start + len(block)], sorter=order)
        places = order[low:high]
        ids = block["component_id"].take(pa.array(rows[places] - start)).to_pylist()
        for place, id_ in zip(places.tolist(), ids, strict=True):
            numbers[place] = id_
        start += len(block)
    return numbers


def explain_fixed(name: str, access: Access, *, is_reference: bool) -> str:
    """Return why an image cannot be dropped, as a text for people; "" if it can."""
    if is_reference:
        return "a reference image, always kept"
    is_droppable = is_standalone_file(name, access) or get_box(name) is not None
    return "" if is_droppable else "inside an archive or a video"


class ImageTable:
    """The images that a page shows, numbered in the order in which they are first asked for.

    Args:
        names: (n,) raw names of all images.
        facts: (n,) rows of `map_facts`.
        contents: (n,) the index of the image that each one equals; its thumbnail stands for all of them.
        access: How buckets are accessed.
    """

    def __init__(self, names: pa.Array, facts: pa.Table, contents: IntArray, access: Access = DEFAULT_ACCESS) -> None:
        self._names, self._facts, self.contents, self._access = names, facts, contents, access
        self._numbers: dict[int, int] = {}
        self._requested: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def total(self) -> int:
        """The number of all images, n."""
        return len(self._names)

    @property
    def rows(self) -> IntArray:
        """The indices of the numbered images, in the order of their numbers."""
        return np.array(list(self._numbers), np.int64)

    def find_kind(self, first: int, second: int) -> str:
        """Return how two images are exact duplicates: "bytes", "pixels", or "" if they are not."""
        one, other = (self._facts["sha256"][index] for index in (first, second))
        if one.is_valid and one == other:
            return BYTES
        return PIXELS if self.contents[first] == self.contents[second] else ""

    def number(self, index: int) -> int:
        """Return the number of an image on the page; a new image gets the next one."""
        return self._numbers.setdefault(index, len(self._numbers))

    def request(self, indices: Iterable[int]) -> None:
        """Request thumbnails of images. Those after the first `MAX_THUMBNAILS` are ignored."""
        for index in indices:
            if len(self._requested) >= MAX_THUMBNAILS:
                return
            self._requested.setdefault(int(self.contents[index]))

    def choose_side(self, room: int) -> int:
        """Return the side of the requested thumbnails, the largest with which they have `room` characters."""
        return choose_side(len(self._requested), room)

    def make_thumbnails(
        self, max_pixels: int, side: int, room: int, last: LastThumbnails | None = None
    ) -> dict[int, Thumbnail]:
        """Make the requested thumbnails.

        Args:
            max_pixels: Images with more pixels are not decoded.
            side: Largest width and height of a thumbnail.
            room: Characters that all thumbnails together may take. Once it is used up, the rest is left out.
            last: Thumbnails to reuse.

        Returns:
            The thumbnail of each image, by its index.
        """
        reused = self._reuse(last, side) if last else {}
        thumbnails: dict[int, Thumbnail] = {}
        with ThumbnailLoader(self._names, self._facts, max_pixels, side, self._access) as loader:
            loader.request(index for index in self._requested if index not in reused)
            for index in self._requested:
                thumbnail = reused[index] if index in reused else loader[index].thumbnail
                room -= len(thumbnail.data_uri) + _OVERHEAD
                if room < 0:
                    break
                thumbnails[index] = thumbnail
        return thumbnails

    def _reuse(self, last: LastThumbnails, side: int) -> dict[int, Thumbnail]:
        """Return the requested thumbnails that the last report has, by index; their width and height are not known."""
        rows = take_rows(self._facts.select(FileFacts.__slots__), np.array(list(self._requested), np.int64))
        return {
            index: Thumbnail(data_uri, facts=FileFacts(**facts))
            for index, facts in zip(self._requested, rows.to_pylist(), strict=True)
            if (data_uri := last.find(facts["sha256"], side)) is not None
        }

    def columns(self) -> dict[str, list[Any]]:
        """Return the facts of the numbered images, as a list for each column.

        A name is `folders[folder] + base`: `folders` has each folder once, with the slash at its end. `time` is what
        the rule `oldest` goes by, in milliseconds since 1970.
        """
        indices = list(self._numbers)
        names = [os.fsdecode(name) for name in self._names.take(pa.array(indices, pa.int64())).to_pylist()]
        table = take_rows(self._facts, np.array(indices, np.int64))
        facts, dates = table.to_pylist(), read_dates(table, self._names.take(pa.array(indices, pa.int64()))).tolist()
        folders: dict[str, int] = {}
        columns: dict[str, list[Any]] = {"row": indices, "folder": [], "base": []}
        for name in names:
            cut = name.rfind("/") + 1
            columns["folder"].append(folders.setdefault(escape_non_utf8(name[:cut]), len(folders)))
            columns["base"].append(escape_non_utf8(name[cut:]))
        for column, describe in _COLUMNS.items():
            columns[column] = [describe(fact, name) for fact, name in zip(facts, names, strict=True)]
        columns["date"] = [format_date(date)[:_MINUTE] for date in dates]
        columns["time"] = [None if date == UNKNOWN else date for date in dates]
        columns["fixed"] = [
            explain_fixed(name, self._access, is_reference=bool(fact.get("reference")))
            for fact, name in zip(facts, names, strict=True)
        ]
        return columns | {"folders": list(folders)}

    def locate_thumbnails(self, thumbnails: dict[int, Thumbnail], reason: str) -> dict[str, list[Any]]:
        """Return the columns `thumb` and `problem` of the numbered images.

        Args:
            thumbnails: What `make_thumbnails` returned.
            reason: Why an image that is not among them has no thumbnail.

        Returns:
            thumb: The position among the thumbnails that show something, or -1. problem: Why there is none, or "".
        """
        positions = {
            index: position
            for position, index in enumerate(index for index in thumbnails if thumbnails[index].data_uri)
        }
        same = [int(self.contents[index]) for index in self._numbers]
        problems = [thumbnails[index].problem if index in thumbnails else reason for index in same]
        return {"thumb": [positions.get(index, -1) for index in same], "problem": problems}


def _format_hex(_: dict[str, Any], name: str) -> str:
    """The bytes of a name that is not UTF-8, else ""."""
    return "" if is_utf8(name) else os.fsencode(name).hex()


_COLUMNS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "hex": _format_hex,
    "size": lambda facts, _: facts["size"],
    "width": lambda facts, _: facts["width"],
    "height": lambda facts, _: facts["height"],
    "format": lambda facts, _: facts["format"] or "",
    "sha256": lambda facts, _: facts["sha256"] or "",
    "etag": lambda facts, name: (facts["mtime_or_etag"] or "") if "://" in name else "",
    "label": lambda facts, _: facts.get("label") or "",
    "reference": lambda facts, _: bool(facts.get("reference")),
}
"""Column of the page -> its cell, from the facts and the name of an image."""
