"""The groups of similar images that a gallery shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.extract.thumbnails import PageImage, ThumbnailLoader
from fastdup_ray.outputs.exact_copies import read_exact_copies
from fastdup_ray.outputs.finished_run import locate_output
from fastdup_ray.report.component_table import map_components
from fastdup_ray.report.group_table import GroupTable, by_size, by_size_ascending, choose_groups
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import iter_csv, parse_numbers
from fastdup_ray.storage.tables import find_positions

IMAGES_PER_GROUP = 12
"""Images of a group that a gallery shows."""


@dataclass(frozen=True)
class GroupImage:
    """An image of a group.

    Attributes:
        image: The image.
        closest: The value of its closest pair inside the group; None if no such pair is stored.
        exact: Whether another image of the group is an exact duplicate of it.
    """

    image: PageImage
    closest: float | None
    exact: bool


@dataclass(frozen=True)
class GroupView:
    """A component of two or more images, with the first of them.

    Attributes:
        id: Its `component_id`.
        size: The number of its images.
        low: The lowest similarity of its edges.
        images: At most `IMAGES_PER_GROUP`, exact duplicates next to each other.
    """

    id: int
    size: int
    low: float
    images: list[GroupImage]


class GroupReader:
    """The first components of two or more images, largest or smallest first, then by id.

    Args:
        store: The work_dir.
        path: Its components.parquet.
        names: (n,) raw names of all images, which may be mapped from a file.
        limit: How many of them there are at most.
        largest_first: Whether the largest comes first.

    Attributes:
        total: The number of all components of two or more images.

    Raises:
        DamagedError: The file is of another run.
    """

    def __init__(self, store: Store, path: Path, names: pa.Array, limit: int, *, largest_first: bool) -> None:
        self._store, self._names = store, names
        self._components = map_components(path, len(names), store.scratch)
        self._table = GroupTable(self._components.list_members(), len(names), store.scratch)
        groups = self._table.summarize(self._describe)
        self.total, self._chosen = choose_groups(groups, limit, [by_size if largest_first else by_size_ascending])

    def _describe(self, images: IntArray, first: IntArray) -> tuple[IntArray, DoubleArray]:
        return np.zeros_like(first), self._components.lowest[images[first]]

    def view(self, loader: ThumbnailLoader) -> Iterator[GroupView]:
        """Yield the groups, with thumbnails of their first images."""
        copies = read_exact_copies(self._store, INDEXED, self._names, self._names)
        contents = copies.contents(len(self._names), self._store.scratch)
        groups = [self._table.list_members(self._chosen[place : place + 1]) for place in range(len(self._chosen))]
        ordered = [_group_exact_duplicates(members, contents) for members in groups]
        first = [(members[:IMAGES_PER_GROUP], exact[:IMAGES_PER_GROUP].tolist()) for members, exact in ordered]
        closest = self._find_closest(np.concatenate([np.empty(0, np.int64), *(members for members, _ in first)]))
        loader.request(index for members, _ in first for index in members.tolist())
        for group, (members, exact) in zip(self._chosen, first, strict=True):
            images = [
                GroupImage(loader[index], closest.get(index), is_exact)
                for index, is_exact in zip(members.tolist(), exact, strict=True)
            ]
            yield GroupView(int(group["id"]), int(group["count"]), float(group["lowest"]), images)

    def _find_closest(self, images: IntArray) -> dict[int, float]:
        """Return the value of the closest pair of images inside their components: the first, since pairs are sorted."""
        closest: dict[int, float] = {}
        pairs = self._read_pairs_of(self._names.take(pa.array(images)))
        source, target = (find_positions(pairs[end], self._names) for end in ("from", "to"))
        known = (source >= 0) & (target >= 0)
        inside = known & (self._components.number[source] == self._components.number[target])
        ends = np.stack([source, target], axis=1)[inside].tolist()
        for (one, other), value in zip(ends, pairs["distance"].to_numpy()[inside].tolist(), strict=True):
            closest.setdefault(one, value)
            closest.setdefault(other, value)
        return closest

    def _read_pairs_of(self, shown: pa.Array) -> pa.Table:
        """Return the pairs of some images, with numbers as values."""
        path = self._store.fetch(locate_output(self._store, layout.SIMILARITY_CSV))
        tables = [pa.table([shown[:0], shown[:0], pa.nulls(0, pa.float64())], csv_columns.PAIRS_HEADER)]
        for block in iter_csv(path, csv_columns.PAIRS_HEADER):
            ends = [block[end].cast(shown.type) for end in ("from", "to")]
            values = parse_numbers(path, block, "distance", pa.float64())
            table = pa.table([*ends, values], csv_columns.PAIRS_HEADER)
            tables.append(table.filter(pc.or_(*(pc.is_in(end, shown) for end in ends))))
        return pa.concat_tables(tables)


def _group_exact_duplicates(members: IntArray, contents: IntArray) -> tuple[IntArray, BoolArray]:
    """Return the images of a group, exact duplicates next to each other, and whether each has one."""
    _, first, code, count = np.unique(contents[members], return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first[code], kind="stable")
    return members[order], count[code[order]] > 1
