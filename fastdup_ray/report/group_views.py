"""The groups of similar images that a gallery shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.extract.thumbnails import PageImage, ThumbnailLoader
from fastdup_ray.outputs.exact_copies import read_exact_copies
from fastdup_ray.outputs.finished_run import locate_output, read_component_ids
from fastdup_ray.outputs.formats import COMPONENTS
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import iter_csv, parse_numbers
from fastdup_ray.storage.parquet_files import iter_parquet
from fastdup_ray.storage.tables import describe_other_run, find_positions

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
    """The components of two or more images, largest or smallest first, then by id.

    Args:
        store: The work_dir.
        path: Its components.parquet.
        names: (n,) raw names of all images, which may be mapped from a file.
        largest_first: Whether the largest comes first.

    Raises:
        DamagedError: The file is of another run.
    """

    def __init__(self, store: Store, path: Path, names: pa.Array, *, largest_first: bool) -> None:
        self._store, self._path, self._names = store, path, names
        self._component = read_component_ids(path)
        if len(self._component) != len(names):
            raise describe_other_run(path)
        self._sizes = np.bincount(self._component)
        order = np.argsort(-self._sizes if largest_first else self._sizes, kind="stable")
        self._ids = order[self._sizes[order] > 1]

    def __len__(self) -> int:
        return len(self._ids)

    def view(self, loader: ThumbnailLoader, limit: int) -> Iterator[GroupView]:
        """Yield the first `limit` groups, with thumbnails of their first images."""
        ids = self._ids[:limit]
        groups = [np.flatnonzero(self._component == id_) for id_ in ids]
        copies = read_exact_copies(self._store, INDEXED, self._names, self._names)
        contents = copies.contents(len(self._names), self._store.scratch)
        ordered = [_group_exact_duplicates(members, contents) for members in groups]
        first = [(members[:IMAGES_PER_GROUP], exact[:IMAGES_PER_GROUP].tolist()) for members, exact in ordered]
        closest = self._find_closest(np.concatenate([np.empty(0, np.int64), *(members for members, _ in first)]))
        loader.request(index for members, _ in first for index in members.tolist())
        lowest = self._read_lowest([members[0] for members in groups])
        for id_, low, (members, exact) in zip(ids.tolist(), lowest, first, strict=True):
            images = [
                GroupImage(loader[index], closest.get(index), is_exact)
                for index, is_exact in zip(members.tolist(), exact, strict=True)
            ]
            yield GroupView(id_, int(self._sizes[id_]), low, images)

    def _read_lowest(self, images: Sequence[int]) -> list[float]:
        """Return the lowest similarity of the edges of the components of some images."""
        rows, start = np.array(images, np.int64), 0
        lowest = np.full(len(rows), np.nan)
        for block in iter_parquet(self._path, COMPONENTS.select(["min_distance"])):
            here = np.flatnonzero((rows >= start) & (rows < start + len(block)))
            lowest[here] = block["min_distance"].to_numpy()[rows[here] - start]
            start += len(block)
        return [float(value) for value in lowest]

    def _find_closest(self, images: IntArray) -> dict[int, float]:
        """Return the value of the closest pair of images inside their components: the first, since pairs are sorted."""
        closest: dict[int, float] = {}
        pairs = self._read_pairs_of(self._names.take(pa.array(images)))
        source, target = (find_positions(pairs[end], self._names) for end in ("from", "to"))
        known = (source >= 0) & (target >= 0)
        inside = known & (self._component[source] == self._component[target])
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
