"""The pictures of a page, each once: what is told of them, and their thumbnails within a number and a size."""

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.common.names import escape_non_utf8, is_utf8
from fastdup_ray.extract.thumbnails import Thumbnail, ThumbnailLoader
from fastdup_ray.inputs import is_standalone_file
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.s3 import DEFAULT_ACCESS, Access
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import (
    describe_other_run,
    escape_names,
    iter_parquet,
    map_table,
    read_parquet,
    take_rows,
)

FACTS = ("size", "mtime_or_etag", "sha256", "width", "height", "format", "label", "reference")

MAX_THUMBNAILS = 6_000
"""Thumbnails of a page."""

THUMBNAIL_SIDES = {480: 16_500, 400: 13_500, 320: 10_200, 256: 7_600, 200: 5_300, 160: 3_700}
"""Pixels of the longer side -> characters that such a thumbnail takes (mean of 135 photographs, in base64)."""

_NAME = ["filename"]

NO_ROOM = "no thumbnail on this page"
LEFT_OUT = "thumbnails were left out of this page"


def map_facts(store: Store, files: FileSet, names: pa.Array) -> pa.Table:
    """`FACTS` of each of `names`, (n,) raw: the images of the set `files` in their order, then others, of the index.

    Null where nothing is known. Mapped: what is not asked for is not held.
    """
    tables = [_map_images(store, files)]
    if len(tables[0]) > len(names):
        raise describe_other_run(store.fetch(files.name(layout.IMAGES)))
    if len(names) > (own := len(tables[0])):
        indexed = tables[0] if files is INDEXED else _map_images(store, INDEXED)
        others, known = escape_names(names.slice(own)), read_parquet(store.fetch(layout.IMAGES), IMAGES.select(_NAME))
        tables.append(indexed.take(pc.index_in(others, known["filename"].combine_chunks())))
    return pa.concat_tables(tables, promote_options="default")


def _map_images(store: Store, files: FileSet) -> pa.Table:
    blocks = iter_parquet(store.fetch(files.name(layout.IMAGES)), IMAGES.select(FACTS))
    first = next(blocks)
    return map_table(chain([first], blocks), first.schema, store.scratch())


def why_fixed(name: str, is_reference: bool, access: Access) -> str:
    """Why a picture can only be kept, in words; "" where it is a file that may go."""
    if is_reference:
        return "a reference picture, always kept"
    return "" if is_standalone_file(name, access) else "inside an archive or a video"


class ImageTable:
    """Gives the pictures of a page their numbers, in the order in which they are first asked for.

    names: (n,) raw. facts: `map_facts`. same: (n,) the row of the picture whose thumbnail stands for this one, too.
    """

    def __init__(self, names: pa.Array, facts: pa.Table, same: np.ndarray, access: Access = DEFAULT_ACCESS):
        self._names, self._facts, self._same, self._access = names, facts, same, access
        self._numbers: dict[int, int] = {}
        self._wanted: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, row: int) -> int:
        """The number of a picture on the page."""
        return self._numbers.setdefault(row, len(self._numbers))

    def request(self, rows: Iterable[int]) -> None:
        """Has thumbnails made of `rows`, as far as there is room after those that were wanted before."""
        for row in rows:
            if len(self._wanted) >= MAX_THUMBNAILS:
                return
            self._wanted.setdefault(int(self._same[row]))

    def thumbnails(self, max_pixels: int, room: int) -> dict[int, Thumbnail]:
        """Row -> thumbnail of what was wanted, as large as their number allows.

        room: characters that all of them may take; what does not find room is left out.
        """
        side = next(
            (side for side, size in THUMBNAIL_SIDES.items() if size * len(self._wanted) <= room), min(THUMBNAIL_SIDES)
        )
        made: dict[int, Thumbnail] = {}
        with ThumbnailLoader(self._names, self._facts, max_pixels, side, self._access) as album:
            album.request(self._wanted)
            for row in self._wanted:
                thumbnail = album[row].thumbnail
                room -= len(thumbnail.data_uri) + 3
                if room < 0:
                    break
                made[row] = thumbnail
        return made

    def columns(self) -> dict[str, list[Any]]:
        """What the page knows of each picture: a list for each column.

        folder: a place in the list `folders`, which end with the slash before the name, `base`.
        """
        rows = list(self._numbers)
        names = [os.fsdecode(name) for name in self._names.take(pa.array(rows, pa.int64())).to_pylist()]
        facts = take_rows(self._facts, np.array(rows, np.int64)).to_pylist()
        folders: dict[str, int] = {}
        columns: dict[str, list[Any]] = {"row": rows, "folder": [], "base": []}
        for name in names:
            cut = name.rfind("/") + 1
            columns["folder"].append(folders.setdefault(escape_non_utf8(name[:cut]), len(folders)))
            columns["base"].append(escape_non_utf8(name[cut:]))
        for column, told in _COLUMNS.items():
            columns[column] = [told(fact, name) for fact, name in zip(facts, names, strict=True)]
        columns["fixed"] = [
            why_fixed(name, bool(fact.get("reference")), self._access) for fact, name in zip(facts, names, strict=True)
        ]
        return columns | {"folders": list(folders)}

    def locate_thumbnails(self, made: dict[int, Thumbnail], otherwise: str) -> dict[str, list[Any]]:
        """thumb: the place of each picture's thumbnail among those that show something, or -1; problem: why.

        otherwise: why of those that are not in `made`.
        """
        shown = {row: place for place, row in enumerate(row for row in made if made[row].data_uri)}
        same = [int(self._same[row]) for row in self._numbers]
        problems = [made[row].problem if row in made else otherwise for row in same]
        return {"thumb": [shown.get(row, -1) for row in same], "problem": problems}


def _format_date(facts: dict[str, Any], name: str) -> str:
    """When the file was last changed, in UTC, to the minute; "" where the token does not say."""
    token = (facts["mtime_or_etag"] or "").partition(":")[0]  # that of a member of an archive begins with the archive's
    if "://" in name or not token.isdigit() or len(token) > 19:
        return ""
    return datetime.fromtimestamp(int(token) / 1e9, UTC).isoformat(" ", "minutes").removesuffix("+00:00")


def _format_hex(_: dict[str, Any], name: str) -> str:
    """The bytes of a name that is not UTF-8, else ""."""
    return "" if is_utf8(name) else os.fsencode(name).hex()


_COLUMNS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "hex": _format_hex,
    "size": lambda facts, _: facts["size"],
    "width": lambda facts, _: facts["width"],
    "height": lambda facts, _: facts["height"],
    "format": lambda facts, _: facts["format"] or "",
    "date": _format_date,
    "sha256": lambda facts, _: facts["sha256"] or "",
    "etag": lambda facts, name: (facts["mtime_or_etag"] or "") if "://" in name else "",
    "label": lambda facts, _: facts.get("label") or "",
    "reference": lambda facts, _: bool(facts.get("reference")),
}
"""Column of the page -> what it has of a picture's facts and its name."""
