"""Embeddings in parts: many files that hold the rows of one features file, and an index that says where each row is.

A part is never changed. A run that adds images adds parts and writes a new index, so what it writes depends on what is
new. Rows of a part that the index does not refer to are of images that left the list.

The index is a Parquet file. Each of its rows is a *run*: `count` embeddings that follow one another both in the list
and in the file `part`, there from embedding `first` on. Its other columns describe the file, and are the same in all
runs of it: `offset`, the bytes before its embeddings; `rows`, their number; `d`, their width; `sha256`, their digest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import AnyArray, IntArray
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage.parquet_files import TableFormat, iter_parquet, open_parquet_file
from fastdup_ray.storage.tables import ROWS_PER_BLOCK

_TEXT, _NUMBER = pa.large_string(), pa.int64()
_SCHEMA = pa.schema(
    [
        ("part", _TEXT),
        ("first", _NUMBER),
        ("count", _NUMBER),
        *(("offset", _NUMBER), ("rows", _NUMBER), ("d", _NUMBER), ("sha256", _TEXT)),
    ]
)
_INDEX = TableFormat(_SCHEMA, frozenset(_SCHEMA.names))


@dataclass(frozen=True)
class FeaturePart:
    """A file with embeddings.

    Attributes:
        name: Its name in the work_dir.
        offset: Bytes before the embeddings.
        rows: Number of embeddings; some may be of images that left the list.
        sha256: Digest of the embeddings, in hex.
    """

    name: str
    offset: int
    rows: int
    sha256: str


@dataclass(frozen=True, eq=False)
class PartIndex:
    """Where each of n embeddings is, as r runs; see the module.

    Attributes:
        d: Numbers of an embedding; 0 if there are none.
        parts: The files.
        part: (r,) int64 index of the file of each run.
        first: (r,) int64 its first embedding in that file.
        count: (r,) int64 its embeddings, at least one.
    """

    d: int
    parts: tuple[FeaturePart, ...]
    part: IntArray
    first: IntArray
    count: IntArray

    @cached_property
    def stops(self) -> IntArray:
        """(r,) int64 row behind the last one of each run."""
        return np.cumsum(self.count)

    def __len__(self) -> int:
        return int(self.stops[-1]) if len(self.stops) else 0

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self), self.d

    def locate(self, rows: AnyArray) -> tuple[IntArray, IntArray]:
        """Return for (m,) rows the index of the file of each, and of the embedding in that file."""
        run = np.searchsorted(self.stops, rows, "right")
        return self.part[run], self.first[run] + rows - (self.stops[run] - self.count[run])

    def cut(self, start: int, stop: int) -> tuple[IntArray, IntArray, IntArray]:
        """Return the rows [start, stop), at least one, as runs: file, first embedding in it, and number of them."""
        low, high = np.searchsorted(self.stops, (start, stop - 1), "right")
        own = slice(int(low), int(high) + 1)
        part, first, count = (column[own].copy() for column in (self.part, self.first, self.count))
        before, behind = start - (self.stops[low] - count[0]), self.stops[high] - stop
        first[0] += before
        count[0] -= before
        count[-1] -= behind
        return part, first, count


def join_runs(part: IntArray, first: IntArray, count: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Join runs that follow one another in a file, see `PartIndex`."""
    follows = (part[1:] == part[:-1]) & (first[1:] == first[:-1] + count[:-1])
    starts = np.flatnonzero(np.concatenate([[True], ~follows])[: len(part)])
    ends = np.concatenate([[0], np.cumsum(count)])
    return part[starts], first[starts], np.diff(ends[np.append(starts, len(part))])


def write_index(path: Path, index: PartIndex) -> None:
    """Write an index to a local path."""
    names, digests = (pa.array([getattr(part, name) for part in index.parts], _TEXT) for name in ("name", "sha256"))
    offsets, rows = (np.array([getattr(part, name) for part in index.parts], np.int64) for name in ("offset", "rows"))
    with open_parquet_file(path, _SCHEMA) as write:
        for start in range(0, len(index.part), ROWS_PER_BLOCK):
            own = slice(start, start + ROWS_PER_BLOCK)
            part, first, count = index.part[own], index.first[own], index.count[own]
            width = np.full(len(part), index.d, np.int64)
            columns = names.take(part), first, count, offsets[part], rows[part], width, digests.take(part)
            write(pa.table([pa.array(column) for column in columns], _SCHEMA))


def read_index(path: Path) -> PartIndex:
    """Read an index.

    Raises:
        DamagedError: The file is no index.
    """
    numbers: dict[FeaturePart, int] = {}
    blocks: list[tuple[AnyArray, ...]] = []
    d = 0
    for block in iter_parquet(path, _INDEX):
        if not len(block):
            continue
        names, widths = block["part"].combine_chunks().dictionary_encode(), pc.unique(block["d"]).to_pylist()
        chosen = np.unique(names.indices.to_numpy(), return_index=True)[1]
        described = block.select(["part", "offset", "rows", "sha256"]).take(pa.array(chosen)).to_pylist()
        parts = [FeaturePart(row["part"], row["offset"], row["rows"], row["sha256"]) for row in described]
        own = np.array([numbers.setdefault(part, len(numbers)) for part in parts], np.int64)
        first, count = (block[name].to_numpy() for name in ("first", "count"))
        part = own[names.indices.to_numpy()]
        if len(widths) != 1 or d not in (0, widths[0]) or not _are_inside(first, count, list(numbers), part):
            raise DamagedError(f"{path} is damaged: its numbers do not fit together.")
        d = widths[0]
        blocks.append((part, first, count))
    columns = zip(*blocks, strict=True) if blocks else [(np.empty(0, np.int64),)] * 3
    return PartIndex(d, tuple(numbers), *(np.concatenate(column) for column in columns))


def _are_inside(first: IntArray, count: IntArray, parts: Iterable[FeaturePart], part: IntArray) -> bool:
    rows = np.array([part.rows for part in parts], np.int64)
    return bool((first >= 0).all() and (count > 0).all() and (first + count <= rows[part]).all())
