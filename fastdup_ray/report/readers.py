"""Pairs and groups, read from finished outputs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.facts import StoredConfig
from fastdup_ray.common.layout import INDEXED, SCORED, FileSet
from fastdup_ray.common.records import Pairs
from fastdup_ray.extract.thumbnails import PageImage, ThumbnailLoader
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import iter_csv, parse_numbers, read_csv

_NAMES = pa.large_binary()
NO_NAMES = pa.nulls(0, _NAMES)  # pa.array would import pandas
IMAGES_PER_GROUP = 12


@dataclass(frozen=True)
class PairView:
    """Two pictures. value: what the column `distance` holds; whether it falls or rises with likeness: the metric says.

    both: whether the second stands in the first column of the file, too. exact: whether they are exact copies.
    """

    first: PageImage
    second: PageImage
    value: float
    both: bool
    exact: bool


@dataclass(frozen=True)
class Component:
    """A component of two images or more. members: (count,) rows, exact copies next to each other.

    exact: (count,) bool, whether another member is an exact copy of it. closest: (count,) the value of each member's
    closest pair inside the group, NaN where none is stored. low: the least similarity of its edges.
    """

    members: np.ndarray
    exact: np.ndarray
    closest: np.ndarray
    low: float


@dataclass(frozen=True)
class GroupView:
    """A group and its first pictures."""

    group: Component
    images: list[PageImage]


def wants_thumbnails(store: Store, files: FileSet = INDEXED, asked: bool | None = None) -> bool:
    """Whether pages show pictures: as asked, or else as the run was; private data stay so."""
    return read_config(store, files).get("thumbnails", True) if asked is None else asked


def find_file_set(store: Store, name: str) -> FileSet:
    """The set of pictures that a file of a work_dir tells of: similarity.csv, of the one that was scored last."""
    scored = name.startswith(SCORED.prefix) or (name in layout.TRAIN_BACKUP and store.exists(layout.TRAIN_BACKUP[name]))
    return SCORED if scored else INDEXED


def is_cosine(config: StoredConfig) -> bool:
    return config.get("distance", "cosine") == "cosine"


def describe_measure(config: StoredConfig) -> str:
    """What the column `distance` holds, in words."""
    return "similarity" if is_cosine(config) else f"{config['distance'].replace('_', ' ')} distance"


def read_pairs(path: Path, names: pa.Array = NO_NAMES) -> tuple[pa.Array, Pairs]:
    """The rows of similarity.csv or outliers.csv, in their order, and the names that their indices mean.

    These are `names` (raw bytes, each once), then those of the file that are not among them. Raises
    `FileNotFoundError`, `DamagedError`.
    """
    return _parse_pairs(path, read_csv(path, layout.PAIRS_HEADER), names)


@dataclass(frozen=True)
class PairList:
    """What a page tells of a list of pairs that may be long.

    total: its rows. first: the first of them, as they are in the file. values, counts: (v,) the different values of all
    rows, and how many have each.
    """

    total: int
    first: pa.Table
    values: np.ndarray
    counts: np.ndarray


def read_pair_list(path: Path, header: Sequence[str], limit: int, *, each_once: bool) -> PairList:
    """Reads a list of pairs, which is sorted by value, part by part.

    each_once: of (a, b) and (b, a), which have one value, the first counts alone. Raises `DamagedError`.
    """
    total, room = 0, limit
    first = [pa.table([NO_NAMES] * len(header), header)]
    counted = [(np.empty(0), np.empty(0, np.int64))]
    for rows in _align_to_values(iter_csv(path, header)):
        if each_once:
            rows = rows.take(pa.array(_find_first(_parse_pairs(path, rows, NO_NAMES)[1])))
        total += len(rows)
        if room > 0:
            first.append(rows.slice(0, room))
            room -= len(rows)
        counted.append(np.unique(_parse_values(path, rows), return_counts=True))
    values, counts = map(np.concatenate, zip(*counted, strict=True))
    return PairList(total, pa.concat_tables(first).combine_chunks(), values, counts)


def _align_to_values(blocks: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows, cut only where a value is followed by another."""
    held: list[pa.RecordBatch] = []
    for block in blocks:
        text = block["distance"]
        others = np.flatnonzero(pc.not_equal(text, text[-1]).to_numpy(False)) if len(block) else ()
        cut = others[-1] + 1 if len(others) else 0
        if cut or (held and len(block) and held[-1]["distance"][-1] != text[-1]):
            yield pa.Table.from_batches([*held, block.slice(0, cut)])
            held = []
        held.append(block.slice(cut))
    if held:
        yield pa.Table.from_batches(held)


def _parse_pairs(path: Path, table: pa.Table, names: pa.Array) -> tuple[pa.Array, Pairs]:
    columns = [table[name].cast(_NAMES).combine_chunks() for name in ("from", "to")]
    codes = pc.dictionary_encode(pa.concat_arrays([names, *columns]))
    source, target = np.split(codes.indices.to_numpy()[len(names) :].astype(np.int64), 2)
    return codes.dictionary, Pairs(source, target, _parse_values(path, table))


def _parse_values(path: Path, table: pa.Table) -> np.ndarray:
    return parse_numbers(path, table, "distance", pa.float64()).to_numpy()


def drop_reversed(pairs: Pairs) -> Pairs:
    """The first of (a, b) and (b, a), where both are there, in the order of the file."""
    return pairs.select(_find_first(pairs))


def _find_first(pairs: Pairs) -> np.ndarray:
    """The rows that `each_once` keeps."""
    low, high = np.minimum(pairs.source, pairs.target), np.maximum(pairs.source, pairs.target)
    _, first = np.unique(low * (high.max(initial=0) + 1) + high, return_index=True)
    return np.sort(first)


def read_contents(store: Store, files: FileSet, names: pa.Array) -> np.ndarray:
    """(n,) int64: by exact_copies.csv those of `names` with one number are exact copies of each other.

    Where there is no such file, each has a number of its own.
    """
    stands = names
    if store.exists(files.name(layout.EXACT_COPIES_CSV)):
        table = read_csv(store.fetch(files.name(layout.EXACT_COPIES_CSV)), layout.EXACT_COPIES_HEADER)
        copy, of = (table[column].cast(_NAMES).combine_chunks() for column in ("filename", "copy_of"))
        for _ in range(2):  # what is copied byte for byte may itself be of another
            stands = pc.coalesce(of.take(pc.index_in(stands, copy)), stands)
    return stands.dictionary_encode().indices.to_numpy().astype(np.int64)


def view_pairs(album: ThumbnailLoader, pairs: Pairs, contents: np.ndarray, limit: int) -> Iterator[PairView]:
    """The first `limit` rows. contents: `read_contents`; where it does not know, the bytes as they are now tell."""
    source, target = pairs.source[:limit].tolist(), pairs.target[:limit].tolist()
    both = np.isin(pairs.target[:limit], pairs.source).tolist()
    album.request(index for row in zip(source, target, strict=True) for index in row)
    for first, second, value, also in zip(source, target, pairs.value[:limit].tolist(), both, strict=True):
        one, other = album[first], album[second]
        exact = bool(contents[first] == contents[second]) or one.is_copy_of(other)
        yield PairView(one, other, value, also, exact)


class Components:
    """The components of two images or more, the largest first (or last), then by id.

    components: the table of components.parquet. contents: `read_contents`. pairs: indices as the rows of both.
    """

    def __init__(self, components: pa.Table, contents: np.ndarray, pairs: Pairs, *, largest_first: bool = True):
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
        ids = self._ids[:limit]
        rows = np.flatnonzero(np.isin(self._component, ids))
        rows = rows[np.argsort(self._component[rows], kind="stable")]
        starts = np.flatnonzero(np.diff(self._component[rows])) + 1
        by_id = {self._component[members[0]]: members for members in np.split(rows, starts) if len(members)}
        return [self._group(by_id[id_]) for id_ in ids]

    def _group(self, members: np.ndarray) -> Component:
        codes = self._contents[members]
        _, first, code, count = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
        order = np.argsort(first[code], kind="stable")
        members = members[order]
        return Component(members, count[code[order]] > 1, self._closest[members], float(self._low[members[0]]))


def _find_closest_inside(pairs: Pairs, component: np.ndarray) -> np.ndarray:
    """(n,) the value of each image's first pair with both ends in one component: the closest, as pairs are sorted."""
    known = (pairs.source < len(component)) & (pairs.target < len(component))
    source, target, value = pairs.source[known], pairs.target[known], pairs.value[known]
    inside = component[source] == component[target]
    image, first = np.unique(np.stack([source[inside], target[inside]], axis=1), return_index=True)
    closest = np.full(len(component), np.nan)
    closest[image] = value[inside][first // 2]
    return closest


def view_groups(album: ThumbnailLoader, groups: Components, limit: int) -> Iterator[GroupView]:
    """The first `limit` groups, of each the first pictures."""
    found = groups.first(limit)
    album.request(index for group in found for index in group.members[:IMAGES_PER_GROUP].tolist())
    for group in found:
        pictures = [album[index] for index in islice(group.members.tolist(), IMAGES_PER_GROUP)]
        yield GroupView(group, pictures)
