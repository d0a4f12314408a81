"""The pictures of a page, each once: what is told of them, and their thumbnails within a number and a size."""

from collections.abc import Iterable
from datetime import UTC, datetime
from os import fsdecode
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fastdup_ray import layout
from fastdup_ray.layout import INDEXED, PictureSet
from fastdup_ray.report.thumbnails import Album
from fastdup_ray.storage import Store
from fastdup_ray.tables import printable_column

FACTS = ("size", "mtime_or_etag", "sha256", "width", "height", "format", "label", "reference")

MOST, BYTES = 6_000, 24_000_000
"""Thumbnails of a page, and the characters that they may take in it: the page stays under 30 MB."""

SIDES = {480: 16_500, 400: 13_500, 320: 10_200, 256: 7_600, 200: 5_300, 160: 3_700}
"""Pixels of the longer side -> characters that such a thumbnail takes (mean of 135 photographs, in base64)."""


def read_facts(store: Store, files: PictureSet, names: pa.Array) -> pa.Table:
    """`FACTS` of each of `names`, (n,) raw: the images of the set `files` in their order, then others, of the index.

    Null where nothing is known.
    """
    own = pq.read_table(store.fetch(files.of(layout.IMAGES)))
    tables = [own]
    if len(names) > own.num_rows:
        indexed = own if files is INDEXED else pq.read_table(store.fetch(layout.IMAGES))
        others = printable_column(names.slice(own.num_rows)).cast(pa.large_string())
        tables.append(indexed.take(pc.index_in(others, indexed["filename"].cast(pa.large_string()).combine_chunks())))
    columns = {name: [table[name].combine_chunks() for table in tables] for name in FACTS if name in own.column_names}
    return pa.table({name: pa.concat_arrays(parts) for name, parts in columns.items()})


class Pictures:
    """Gives the pictures of a page their numbers, in the order in which they are first asked for.

    names: (n,) raw. facts: `read_facts`. same: (n,) the row of the picture whose thumbnail stands for this one, too.
    """

    def __init__(self, names: pa.Array, facts: pa.Table, same: np.ndarray):
        self._names, self._facts, self._same = names, facts, same
        self._numbers: dict[int, int] = {}
        self._wanted: dict[int, None] = {}

    def number(self, row: int, *, thumbnail: bool = True) -> int:
        """The number of a picture on the page."""
        if thumbnail:
            self.want([row])
        return self._numbers.setdefault(row, len(self._numbers))

    def want(self, rows: Iterable[int]) -> None:
        """Has thumbnails made of `rows`, as far as there is room after those that were wanted before."""
        for row in rows:
            if len(self._wanted) < MOST:
                self._wanted.setdefault(int(self._same[row]))

    def columns(self, max_pixels: int, *, thumbnails: bool) -> tuple[dict[str, list[Any]], list[str]]:
        """What the page knows of each picture, a list for each column; and the thumbnails, as data URIs.

        thumb: the place among these, -1 where there is none; problem: why.
        """
        made = self._thumbnails(max_pixels) if thumbnails else {}
        place = {row: number for number, row in enumerate(row for row in made if made[row].data_uri)}
        columns: dict[str, list[Any]] = {name: [] for name in ("name", "thumb", "problem", *_TOLD)}
        for row in self._numbers:
            thumbnail = made.get(int(self._same[row]))
            columns["name"].append(fsdecode(self._names[row].as_py()))
            columns["thumb"].append(place.get(int(self._same[row]), -1))
            columns["problem"].append(thumbnail.problem if thumbnail else "no thumbnail on this page")
            facts = self._facts.slice(row, 1).to_pylist()[0]
            if facts["size"] is None and thumbnail and thumbnail.facts:
                found = thumbnail.facts
                facts |= {name: getattr(found, name) for name in found.__slots__}
            for name, told in _TOLD.items():
                columns[name].append(told(facts, columns["name"][-1]))
        return columns, [made[row].data_uri for row in place]

    def _thumbnails(self, max_pixels: int) -> dict[int, Any]:
        """Row -> thumbnail, as large as their number allows."""
        side = next((side for side, size in SIDES.items() if size * len(self._wanted) <= BYTES), min(SIDES))
        made, left = {}, BYTES
        with Album(self._names, None, max_pixels, side) as album:
            album.ask(self._wanted)
            for row in self._wanted:
                thumbnail = album[row].thumbnail
                left -= len(thumbnail.data_uri)
                if left < 0:
                    break
                made[row] = thumbnail
        return made


def _date(facts: dict[str, Any], name: str) -> str:
    """When the file was last changed, in UTC, to the minute; "" where the token does not say."""
    token = (facts["mtime_or_etag"] or "").partition(":")[0]  # that of a member of an archive begins with the archive's
    if "://" in name or not token.isdigit() or len(token) > 19:
        return ""
    return datetime.fromtimestamp(int(token) / 1e9, UTC).isoformat(" ", "minutes").removesuffix("+00:00")


_TOLD = {
    "size": lambda facts, _: facts["size"],
    "width": lambda facts, _: facts["width"],
    "height": lambda facts, _: facts["height"],
    "format": lambda facts, _: facts["format"] or "",
    "date": _date,
    "sha256": lambda facts, _: facts["sha256"] or "",
    "etag": lambda facts, name: (facts["mtime_or_etag"] or "") if "://" in name else "",
    "label": lambda facts, _: facts.get("label") or "",
    "reference": lambda facts, _: int(bool(facts.get("reference"))),
}
"""Column of the page -> what it has of a picture's facts and its name."""
