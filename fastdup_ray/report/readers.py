"""Readers of finished outputs: pairs, exact duplicates and components, as pages show them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray
from fastdup_ray.common.facts import StoredConfig
from fastdup_ray.common.layout import INDEXED, SCORED, FileSet
from fastdup_ray.common.records import Pairs
from fastdup_ray.common.seen import SeenKeys, hash_names
from fastdup_ray.extract.thumbnails import PageImage, ThumbnailLoader
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import iter_csv, parse_numbers, read_csv

_NAMES = pa.large_binary()
NO_NAMES = pa.nulls(0, _NAMES)  # pa.array would import pandas
IMAGES_PER_GROUP = 12
"""Images of a group that a gallery shows."""


@dataclass(frozen=True)
class PairView:
    """Two images of a gallery, side by side.

    Attributes:
        first: The image in the column `from`.
        second: The image in the column `to`.
        value: The column `distance`: a similarity for cosine, else a distance.
        both: Whether the second image is also in the column `from`.
        exact: Whether they are exact duplicates.
    """

    first: PageImage
    second: PageImage
    value: float
    both: bool
    exact: bool


@dataclass(frozen=True)
class Component:
    """A component of m images, m > 1.

    Attributes:
        id: Its `component_id`.
        members: (m,) int64 indices, exact duplicates next to each other.
        exact: (m,) whether another member is an exact duplicate of it.
        closest: (m,) the value of each member's closest pair inside the component, NaN where no pair is stored.
        low: The lowest similarity of its edges.
    """

    id: int
    members: IntArray
    exact: BoolArray
    closest: DoubleArray
    low: float


@dataclass(frozen=True)
class GroupView:
    """A group of a gallery, with its first images.

    Attributes:
        group: All of the group.
        images: At most `IMAGES_PER_GROUP`.
    """

    group: Component
    images: list[PageImage]


def wants_thumbnails(store: Store, files: FileSet = INDEXED, *, thumbnails: bool | None = None) -> bool:
    """Return whether pages show images: `thumbnails`, or if that is None, what the run was given."""
    return bool(read_config(store, files).get("thumbnails", True)) if thumbnails is None else thumbnails


def find_file_set(store: Store, name: str) -> FileSet:
    """Return the set of files that `name` belongs to. After a scoring, similarity.csv belongs to the scored set."""
    scored = name.startswith(SCORED.prefix) or (name in layout.TRAIN_BACKUP and store.exists(layout.TRAIN_BACKUP[name]))
    return SCORED if scored else INDEXED


def is_cosine(config: StoredConfig) -> bool:
    """Return whether the column `distance` has similarities, so that thresholds apply to it."""
    return bool(config.get("distance", "cosine") == "cosine")


def describe_measure(config: StoredConfig) -> str:
    """Return what the column `distance` has, as a text for people."""
    return "similarity" if is_cosine(config) else f"{config['distance'].replace('_', ' ')} distance"


def read_pairs(path: Path, names: pa.Array = NO_NAMES) -> tuple[pa.Array, Pairs]:
    """Read all of similarity.csv or outliers.csv.

    Args:
        path: The file.
        names: Raw names, each once, to which the indices of the pairs shall refer.

    Returns:
        `names`, followed by those of the file that are not among them, and the pairs in the order of the file.

    Raises:
        FileNotFoundError: where there is no such file.
        DamagedError: where it is not a list of pairs.
    """
    return _parse_pairs(path, read_csv(path, csv_columns.PAIRS_HEADER), names)


@dataclass(frozen=True)
class PairList:
    """What a page shows of a list of pairs that may be too long to be held in memory.

    Attributes:
        total: The number of pairs.
        first: The first of them, with the columns of the file.
        values: (v,) float64, the different values of all pairs.
        counts: (v,) int64, how many pairs have each value.
    """

    total: int
    first: pa.Table
    values: DoubleArray
    counts: IntArray


def read_pair_list(path: Path, header: Sequence[str], limit: int, *, each_once: bool) -> PairList:
    """Read a list of pairs in blocks. In memory are 16 bytes for each pair of one value.

    Args:
        path: A CSV file, sorted by value.
        header: Its columns.
        limit: How many pairs to return as `first`.
        each_once: Whether (a, b) and (b, a), which have the same value, count as one pair.

    Raises:
        DamagedError: where the file is not such a list.
    """
    total, room = 0, limit
    first = [pa.table([NO_NAMES] * len(header), header)]
    counted = [(np.empty(0), np.empty(0, np.int64))]
    seen = _SeenPairs()
    for rows in iter_csv(path, header):
        if each_once:
            rows = rows.filter(pa.array(seen.add(rows)))
        total += len(rows)
        if room > 0:
            first.append(pa.Table.from_batches([rows.slice(0, room)]))
            room -= len(rows)
        counted.append(np.unique(_parse_values(path, rows), return_counts=True))
    values, counts = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    values, place = np.unique(values, return_inverse=True)  # a value may occur in two blocks
    counts = np.bincount(place, counts, len(values)).astype(np.int64)
    return PairList(total, pa.concat_tables(first).combine_chunks(), values, counts)


class _SeenPairs:
    """Tells which pairs of a list come for the first time, whatever their direction. They are sorted by value."""

    def __init__(self) -> None:
        self._keys, self._last = SeenKeys(), pa.scalar(None, _NAMES)

    def add(self, rows: pa.RecordBatch) -> BoolArray:
        """Return (b,) whether each of the next b pairs is new. (a, b) and (b, a) have the same value."""
        if not len(rows):
            return np.empty(0, bool)
        if rows["distance"][0] != self._last:
            self._keys = SeenKeys()
        self._last = rows["distance"][-1]
        one, other = (hash_names(rows[end]) for end in ("from", "to"))
        return self._keys.add(*(first + second for first, second in zip(one, other, strict=True)))


def _parse_pairs(path: Path, table: pa.Table, names: pa.Array) -> tuple[pa.Array, Pairs]:
    columns = [table[name].cast(_NAMES).combine_chunks() for name in ("from", "to")]
    codes = pc.dictionary_encode(pa.concat_arrays([names, *columns]))
    source, target = np.split(codes.indices.to_numpy()[len(names) :].astype(np.int64), 2)
    return codes.dictionary, Pairs(source, target, _parse_values(path, table))


def _parse_values(path: Path, table: pa.Table) -> DoubleArray:
    return np.asarray(parse_numbers(path, table, "distance", pa.float64()))


def drop_reversed(pairs: Pairs) -> Pairs:
    """Return the pairs without each (b, a) that comes after (a, b)."""
    return pairs.select(_find_first(pairs))


def _find_first(pairs: Pairs) -> IntArray:
    """Positions of the pairs whose reverse does not come before them."""
    low, high = np.minimum(pairs.source, pairs.target), np.maximum(pairs.source, pairs.target)
    _, first = np.unique(low * (high.max(initial=0) + 1) + high, return_index=True)
    return np.sort(first)


def read_contents(store: Store, files: FileSet, names: pa.Array) -> IntArray:
    """Read exact_copies.csv.

    Args:
        store: The work_dir.
        files: Which of its sets of files.
        names: (n,) raw names.

    Returns:
        (n,) int64, equal for exact duplicates. Without such a file, each image has a number of its own.
    """
    representatives = names
    if store.exists(files.name(layout.EXACT_COPIES_CSV)):
        table = read_csv(store.fetch(files.name(layout.EXACT_COPIES_CSV)), csv_columns.EXACT_COPIES_HEADER)
        copy, of = (table[column].cast(_NAMES).combine_chunks() for column in ("filename", "copy_of"))
        for _ in range(2):  # the original of the same bytes may itself have the same pixels as another image
            representatives = pc.coalesce(of.take(pc.index_in(representatives, copy)), representatives)
    codes: IntArray = representatives.dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def view_pairs(loader: ThumbnailLoader, pairs: Pairs, contents: IntArray, limit: int) -> Iterator[PairView]:
    """Yield the first `limit` pairs with their thumbnails.

    Args:
        loader: Of the images that the pairs refer to.
        pairs: In the order in which they are shown.
        contents: What `read_contents` returned. Files that have the same bytes by now count as exact duplicates, too.
        limit: How many to yield.
    """
    source, target = pairs.source[:limit].tolist(), pairs.target[:limit].tolist()
    both = np.isin(pairs.target[:limit], pairs.source).tolist()
    loader.request(index for pair in zip(source, target, strict=True) for index in pair)
    for first, second, value, in_both in zip(source, target, pairs.value[:limit].tolist(), both, strict=True):
        one, other = loader[first], loader[second]
        exact = bool(contents[first] == contents[second]) or one.is_copy_of(other)
        yield PairView(one, other, value, in_both, exact)


class Components:
    """The components of two or more images, largest or smallest first, then by id.

    Args:
        components: The n rows of components.parquet.
        contents: (n,) what `read_contents` returned.
        pairs: With indices of these rows.
        largest_first: Whether the largest comes first.
    """

    def __init__(self, components: pa.Table, contents: IntArray, pairs: Pairs, *, largest_first: bool = True) -> None:
        self._component = components["component_id"].to_numpy()
        self._low = components["min_distance"].to_numpy()
        self._contents, self._closest = contents, _find_closest_inside(pairs, self._component)
        ids, first = np.unique(self._component, return_index=True)
        count = components["count"].to_numpy()[first]
        order = np.lexsort((ids, -count if largest_first else count))
        self._ids = ids[order[count[order] > 1]]

    def __len__(self) -> int:
        return len(self._ids)

    def first(self, limit: int) -> list[Component]:
        """Return the first `limit` components."""
        ids = self._ids[:limit]
        members = np.flatnonzero(np.isin(self._component, ids))
        members = members[np.argsort(self._component[members], kind="stable")]
        starts = np.flatnonzero(np.diff(self._component[members])) + 1
        by_id = {self._component[part[0]]: part for part in np.split(members, starts) if len(part)}
        return [self._make_component(int(id_), by_id[id_]) for id_ in ids]

    def _make_component(self, id_: int, members: IntArray) -> Component:
        codes = self._contents[members]
        _, first, code, count = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
        order = np.argsort(first[code], kind="stable")
        members = members[order]
        return Component(id_, members, count[code[order]] > 1, self._closest[members], float(self._low[members[0]]))


def _find_closest_inside(pairs: Pairs, component: IntArray) -> DoubleArray:
    """(n,) the value of each image's closest pair inside its component: the first, since pairs are sorted."""
    n = len(component)
    indexed = (pairs.source < n) & (pairs.target < n)
    source, target, value = pairs.source[indexed], pairs.target[indexed], pairs.value[indexed]
    inside = component[source] == component[target]
    image, first = np.unique(np.stack([source[inside], target[inside]], axis=1), return_index=True)
    closest = np.full(n, np.nan)
    closest[image] = value[inside][first // 2]
    return closest


def view_groups(loader: ThumbnailLoader, components: Components, limit: int) -> Iterator[GroupView]:
    """Yield the first `limit` groups with the thumbnails of their first images."""
    groups = components.first(limit)
    loader.request(index for group in groups for index in group.members[:IMAGES_PER_GROUP].tolist())
    for group in groups:
        yield GroupView(group, [loader[index] for index in islice(group.members.tolist(), IMAGES_PER_GROUP)])
