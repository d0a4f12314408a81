"""The rows of a features file, whether it is one file or many parts (`feature_parts`)."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Lock

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.arrays import AnyArray, EmbeddingArray, FloatArray, IntArray
from fastdup_ray.common.facts import RunSummary
from fastdup_ray.common.locations import to_absolute
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store, open_file, open_store
from fastdup_ray.storage.checked_json import fetch_listed, hash_content
from fastdup_ray.storage.feature_parts import FeaturePart, PartIndex, read_index
from fastdup_ray.system.ahead import call_ahead

MAPPED_PARTS = 16
"""Parts that are mapped at a time: each takes a descriptor."""

FETCHED_SHARE, MOST_REQUESTS = 8, 64
"""A part in a bucket is downloaded if at least one in so many of its rows is read at once, or if that would take more
requests; else these rows are."""

BYTES_PER_BLOCK = 32 << 20
"""Bytes of embeddings that are copied at a time."""


def open_features(location: str | os.PathLike[str], access: Access = DEFAULT_ACCESS) -> tuple[Store, str]:
    """Open the store that holds a features file.

    Args:
        location: Path or URI of the file, or of the folder with features.dat. If the embeddings are in parts, there
            need not be such a file.
        access: How buckets are accessed.

    Returns:
        The store, and the file's name in it.
    """
    folder, name = os.path.split(to_absolute(os.fspath(location)))
    if name.endswith(".dat") and open_store(folder, access).is_file(layout.locate_index(name)):
        return open_store(folder, access), name
    return open_file(location, layout.FEATURES, access)


def has_features(store: Store, name: str) -> bool:
    """Return whether there are the embeddings of a features file, as one file or in parts."""
    return store.is_file(name) or store.is_file(layout.locate_index(name))


def locate_features(store: Store, name: str) -> str:
    """Return the name of the file that the digest of some features is of: the features file, or the index of its parts.

    A run that changes from one form to the other removes what it has replaced; meanwhile, the index counts.
    """
    index = layout.locate_index(name)
    return index if store.is_file(index) else name


def map_features(store: Store, name: str, d: int) -> EmbeddingArray:
    """Map the embeddings of a features file.

    Args:
        store: The work_dir.
        name: The features file.
        d: Width of an embedding.

    Returns:
        (n, d) float32, read only; for one file, an array.

    Raises:
        DamagedError: The files do not fit that width.
        FileNotFoundError: There are no such features.
    """
    index = locate_features(store, name)
    return _map_file(store, name, d) if index == name else open_parts(store, index, d)


def map_listed_features(store: Store, name: str, summary: RunSummary) -> EmbeddingArray:
    """Map the embeddings of a finished run as `map_features` does, and check their digests.

    Those of parts are checked before these are read for the first time.

    Args:
        store: The work_dir.
        name: The features file.
        summary: Of the run.

    Raises:
        DamagedError: A digest differs.
        MissingFileError: The run has no features of this name, or they are gone.
    """
    index = layout.locate_index(name)
    if index in summary["sha256"]:
        fetch_listed(store, index, summary)
        return open_parts(store, index, summary["d"], check=True)
    fetch_listed(store, name, summary)
    return _map_file(store, name, summary["d"])


def map_whole(store: Store, name: str, d: int) -> FloatArray:
    """Map the embeddings of a features file as `map_features` does, always as one array.

    If they are in parts, they are copied to a scratch file on a local disk.
    """
    features = map_features(store, name, d)
    if isinstance(features, np.ndarray):
        return features
    n = len(features)
    if not n:
        return np.empty((0, d), np.float32)
    with store.scratch() as file:
        for block in iter_blocks(features):
            file.write(block.data)
        file.flush()
        return np.memmap(file, "<f4", "r", shape=(n, d))


def iter_blocks(features: EmbeddingArray) -> Iterator[FloatArray]:
    """Yield embeddings in order, (b, d) float32, at most `BYTES_PER_BLOCK` at a time."""
    n, d = features.shape
    step = max(1, BYTES_PER_BLOCK // (4 * max(1, d)))
    return (features[start : start + step] for start in range(0, n, step))


def open_range_reader(store: Store, name: str, d: int) -> Callable[[int, int], FloatArray]:
    """Return a function that reads the rows [start, stop) of a features file, and of a bucket not much more."""
    index = locate_features(store, name)
    if index != name:
        parts = open_parts(store, index, d)
        return lambda start, stop: parts[start:stop]

    def read(start: int, stop: int) -> FloatArray:
        content = store.read(name, 4 * d * start, 4 * d * (stop - start))
        return np.frombuffer(content, "<f4").reshape(-1, d)

    return read


def _map_file(store: Store, name: str, d: int) -> FloatArray:
    path = store.fetch(name)
    n, rest = divmod(path.stat().st_size, 4 * d)
    if rest:
        raise DamagedError(
            f"{path} is damaged: {path.stat().st_size:,} bytes are not a whole number of embeddings of width {d:,}."
        )
    return np.memmap(path, "<f4", "r", shape=(n, d)) if n else np.empty((0, d), np.float32)


def open_parts(store: Store, index: str, d: int = 0, *, check: bool = False) -> "PartedRows":
    """Open embeddings in parts.

    Args:
        store: The work_dir.
        index: Name of the index.
        d: Width that they have to have; 0 for any.
        check: Check the digest of a part before it is read for the first time.

    Raises:
        DamagedError: They have another width, or the index is damaged.
        FileNotFoundError: There is no such index.
    """
    path = store.fetch(index)
    parts = read_index(path)
    if d and parts.d not in (0, d):
        raise DamagedError(f"{path} is of embeddings of width {parts.d:,}, not {d:,}; run again.")
    return PartedRows(store, parts, d or parts.d, check=check)


@dataclass(frozen=True)
class _Piece:
    """Rows of one part, and where they go.

    rows: a slice, or an array of indices in the part; target: the same in the result.
    """

    part: int
    rows: slice | IntArray
    target: slice | IntArray
    count: int


class PartedRows:
    """The (n, d) embeddings of a `PartIndex`, read when they are indexed; an `EmbeddingArray`.

    Few parts are mapped at a time. Of parts in a bucket, only the rows that are asked for are downloaded, unless these
    are many. Threads may share it.
    """

    def __init__(self, store: Store, index: PartIndex, d: int, *, check: bool = False) -> None:
        self.shape = (len(index), d)
        self._store, self._index, self._check = store, index, check
        self._maps: OrderedDict[int, FloatArray] = OrderedDict()
        self._checked: set[int] = set()
        self._lock = Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | AnyArray) -> FloatArray:
        n, d = self.shape
        if isinstance(key, slice):
            start, stop, step = key.indices(n)
            if step == 1:
                return self._read(max(0, stop - start), self._cut(start, stop))
            key = np.arange(start, stop, step)
        rows = np.asarray(key)
        if rows.size and not -n <= rows.min() <= rows.max() < n:
            raise IndexError(f"There are {n:,} embeddings.")
        return self._read(rows.size, self._gather(rows.ravel() % max(1, n))).reshape(*rows.shape, d)

    def _cut(self, start: int, stop: int) -> Iterator[_Piece]:
        """Yield consecutive rows as pieces, those of one part together."""
        if start >= stop:
            return
        part, first, count = self._index.cut(start, stop)
        ends = np.cumsum(count)
        for run in np.argsort(part, kind="stable").tolist():
            rows, target = slice(first[run], first[run] + count[run]), slice(ends[run] - count[run], ends[run])
            yield _Piece(int(part[run]), rows, target, int(count[run]))

    def _gather(self, rows: AnyArray) -> Iterator[_Piece]:
        """Yield rows in any order as pieces, one for each part."""
        part, first = self._index.locate(rows)
        order = np.argsort(part, kind="stable")
        for target in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            if len(target):
                yield _Piece(int(part[target[0]]), first[target], target, len(target))

    def _read(self, count: int, pieces: Iterator[_Piece]) -> FloatArray:
        block = np.empty((count, self.shape[1]), np.float32)

        def read(piece: _Piece) -> None:
            block[piece.target] = self._read_piece(piece)

        for _ in call_ahead((partial(read, piece) for piece in pieces), self._store.at_once):
            pass
        return block

    def _read_piece(self, piece: _Piece) -> FloatArray:
        part, few = self._index.parts[piece.part], self._store.at_once > 1 and not self._check
        if not few or piece.count * FETCHED_SHARE >= part.rows:
            return self._map(piece.part)[piece.rows]
        if isinstance(piece.rows, slice):
            return self._read_range(part, piece.rows.start, piece.count)
        rows, inverse = np.unique(piece.rows, return_inverse=True)
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        if len(starts) > MOST_REQUESTS:
            return self._map(piece.part)[piece.rows]
        runs = zip(rows[starts].tolist(), np.diff(np.append(starts, len(rows))).tolist(), strict=True)
        return np.concatenate([self._read_range(part, first, count) for first, count in runs])[inverse]

    def _read_range(self, part: FeaturePart, first: int, count: int) -> FloatArray:
        width = 4 * self.shape[1]
        content = self._store.read(part.name, part.offset + width * int(first), width * count)
        return np.frombuffer(content, "<f4").reshape(count, -1)

    def _map(self, number: int) -> FloatArray:
        with self._lock:
            if number in self._maps:
                self._maps.move_to_end(number)
                return self._maps[number]
        part = self._index.parts[number]
        path = self._store.fetch(part.name)
        size = path.stat().st_size - part.offset
        if size != 4 * part.rows * self.shape[1]:
            raise DamagedError(f"{path} is damaged: it has {size:,} bytes of embeddings; run again.")
        if self._check and number not in self._checked:
            with open(path, "rb") as file:
                if hash_content(file, part.offset) != part.sha256:
                    raise DamagedError(f"{path} is damaged (its checksum differs); run again.")
            self._checked.add(number)
        rows = np.memmap(path, "<f4", "r", offset=part.offset, shape=(part.rows, self.shape[1]))
        with self._lock:
            self._maps[number] = rows
            if len(self._maps) > MAPPED_PARTS:
                self._maps.popitem(last=False)
        return rows
