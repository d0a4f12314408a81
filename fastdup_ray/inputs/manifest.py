"""The manifest: the entries of the input list in order, and the result of each."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.common.records import Entry, ImageRef, Shard
from fastdup_ray.common.ref_tables import REFS, iter_refs, make_ref_tables
from fastdup_ray.storage import Store
from fastdup_ray.storage.parquet_files import TableFormat, read_parquet, write_parquet
from fastdup_ray.storage.tables import escape_names

_TEXT = pa.large_string()
"""`pa.string` holds 2 GiB per column, which is 33 million SHA-256 digests."""

ENTRIES = pa.schema(
    [
        ("uri", _TEXT),
        ("size", pa.int64()),
        ("mtime_or_etag", _TEXT),
        ("sha256", _TEXT),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", _TEXT),
        ("first_row", pa.int64()),
        ("rows", pa.int32()),
        ("fps", pa.float64()),
        ("decoder", _TEXT),
        ("error_code", _TEXT),
        ("error_message", _TEXT),
        ("brightness", pa.float64()),
        ("contrast", pa.float64()),
        ("blur", pa.float64()),
        ("unique_colors", pa.int32()),
        ("unseen", _TEXT),
        ("taken", _TEXT),
    ]
)
"""The result of each entry: the columns of manifest.parquet and of a feature shard's JSON.

first_row: the first embedding of the entry in the features file that the table describes, from 0. rows: the number of
its embeddings; a bad entry has none, but an error code. fps: frames per second that were taken of a video. decoder:
what decoded it, if not Pillow alone. unseen, taken: see `records.Entry`.
"""

STATISTICS = ("brightness", "contrast", "blur", "unique_colors")
"""Columns of `ENTRIES` that are `records.Statistics`; null for bad entries and for those with several embeddings."""

MANIFEST = TableFormat(
    ENTRIES,
    never_null=frozenset(["uri", "size", "mtime_or_etag", "rows"]),
    optional=frozenset(["fps", "decoder", *STATISTICS, "unseen", "taken"]),
)
"""The format of manifest.parquet, also of earlier versions."""

KEY = ("uri", "size", "mtime_or_etag")
"""Entries that agree in these columns, under one fingerprint, have the same embeddings."""

ENTRIES_PER_PART = 1 << 16
"""Entries of the list that are in memory at a time: about 7 MB."""

_PART = TableFormat(REFS, never_null=frozenset(KEY))


@dataclass(frozen=True)
class ListPart:
    """Entries that follow one another in the list.

    Attributes:
        count: Number of entries.
        table: The entries, if they are in memory.
        store: The work_dir, if they are in a file of it.
        name: Name of that file.
    """

    count: int
    table: pa.Table | None = None
    store: Store | None = None
    name: str = ""

    def read(self) -> pa.Table:
        """Return the columns uri (raw bytes), size and mtime_or_etag."""
        if self.store is None:
            return self.table
        return read_parquet(self.store.fetch(self.name), _PART).combine_chunks()


class Manifest:
    """The entries of the list, or of a range of it, in order.

    They are in parts of `ENTRIES_PER_PART` entries, of which one is in memory at a time, with about 100 bytes an entry.
    """

    def __init__(self, parts: Sequence[ListPart], start: int = 0, stop: int | None = None) -> None:
        """Hold a range of the list.

        Args:
            parts: The whole list.
            start: Offset of the first entry in it.
            stop: Offset behind the last one; None for the end of the list.
        """
        self._parts, self._ends = parts, np.cumsum([0, *(part.count for part in parts)])
        self._start, self._stop = start, int(self._ends[-1]) if stop is None else stop
        self._number, self._table = -1, REFS.empty_table()  # the part that was read last

    def __reduce__(self) -> tuple[type["Manifest"], tuple[Sequence[ListPart], int, int]]:
        return Manifest, (self._parts, self._start, self._stop)

    @classmethod
    def from_refs(cls, refs: Iterable[ImageRef], store: Store | None = None, folder: str = "") -> "Manifest":
        """Return the manifest of a whole list of entries; see `from_tables`."""
        return cls.from_tables(make_ref_tables(refs), store, folder)

    @classmethod
    def from_tables(cls, tables: Iterable[pa.Table], store: Store | None = None, folder: str = "") -> "Manifest":
        """Return the manifest of a whole list.

        Args:
            tables: The entries, as tables `REFS` of any size.
            store: Keeps the parts, as Parquet files; without it, they stay in memory. The last part always does.
            folder: Folder of the store for these files.
        """
        parts = list[ListPart]()
        for table in _cut_parts(tables):
            if store is None or len(table) < ENTRIES_PER_PART:
                parts.append(ListPart(len(table), table))
            else:
                parts.append(ListPart(len(table), None, store, f"{folder}/part-{len(parts):06d}.parquet"))
                write_parquet(store, parts[-1].name, table)
        return cls(parts)

    def __len__(self) -> int:
        return self._stop - self._start

    @cached_property
    def digest(self) -> str:
        """The SHA-256, in hex, of the names in order: lists with one digest have the same entries at each offset."""
        digest = hashlib.sha256()
        empty, end = pa.scalar(b"", pa.large_binary()), pa.scalar(b"\0", pa.large_binary())
        for block in self.blocks():
            texts = pc.binary_join_element_wise(block["uri"], empty, end).combine_chunks()
            offsets = np.frombuffer(texts.buffers()[1], np.int64)
            digest.update(memoryview(texts.buffers()[2])[: offsets[len(texts)]])
        return digest.hexdigest()

    def blocks(self) -> Iterator[pa.Table]:
        """Yield the columns uri (raw bytes), size and mtime_or_etag, `ENTRIES_PER_PART` entries at a time."""
        for start in range(0, len(self), ENTRIES_PER_PART):
            yield self._read(start, min(start + ENTRIES_PER_PART, len(self)))

    def key_blocks(self) -> Iterator[pa.Table]:
        """Yield the columns of `KEY` as feature shards have them, with escaped names; see `blocks`."""
        for block in self.blocks():
            uri, *others = (block[name] for name in KEY)
            yield pa.table([escape_names(uri), *others], KEY)

    def has_keys(self, entries: pa.Table) -> bool:
        """Return whether a table `ENTRIES` has the same keys in the same order, and no others."""
        if len(entries) != len(self):
            return False
        start = 0
        for block in self.key_blocks():
            if not entries.slice(start, len(block)).select(KEY).cast(block.schema).equals(block):
                return False
            start += len(block)
        return True

    def refs(self, offsets: Sequence[int] | IntArray) -> Iterator[ImageRef]:
        """Yield the entries at `offsets`, relative to this range; those of one part should follow one another."""
        rows = np.asarray(offsets, np.int64) + self._start
        numbers = np.searchsorted(self._ends, rows, "right") - 1
        for some in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(numbers)) + 1) if len(rows) else []:
            number = int(numbers[some[0]])
            yield from iter_refs(self._read_part(number).take(pa.array(rows[some] - self._ends[number])))

    def is_all_missing(self) -> bool:
        """Return whether no entry could be looked up when it was listed: none exists, or none may be read."""
        return all(pc.all(pc.equal(block["mtime_or_etag"], "")).as_py() for block in self.blocks())

    def uris(self, start: int, stop: int) -> pa.ChunkedArray:
        """Return the names of the entries [start, stop) of this range, as raw bytes."""
        return self._read(start, stop)["uri"]

    def window(self, start: int, stop: int) -> "Manifest":
        """Return the entries [start, stop) of this range."""
        return Manifest(self._parts, self._start + start, self._start + stop)

    def shards(self, offsets: Sequence[int] | IntArray, sizes: Iterable[int]) -> Iterator[Shard]:
        """Cut the entries at `offsets`, relative to this range, into shards of `sizes` entries, in turn."""
        rest = iter(sizes)
        first = 0
        while first < len(offsets):
            part = offsets[first : first + next(rest)]
            first += len(part)
            in_list = [self._start + int(offset) for offset in part]
            yield Shard(in_list[0], in_list[-1] + 1, in_list, list(self.refs(part)))

    def _read(self, start: int, stop: int) -> pa.Table:
        """Read the entries [start, stop) of this range."""
        start, stop = self._start + start, self._start + stop
        parts = [REFS.empty_table()]
        while start < stop:
            number = int(np.searchsorted(self._ends, start, "right")) - 1
            first, end = self._ends[number : number + 2].tolist()
            parts.append(self._read_part(number).slice(start - first, min(stop, end) - start))
            start = end
        return pa.concat_tables(parts).combine_chunks()

    def _read_part(self, number: int) -> pa.Table:
        if number != self._number:
            self._number, self._table = number, self._parts[number].read()
        return self._table


def _cut_parts(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of tables `REFS` as tables of `ENTRIES_PER_PART`, and at the end the rest, which may be empty."""
    some, count = [REFS.empty_table()], 0
    for table in tables:
        some.append(table)
        count += len(table)
        while count >= ENTRIES_PER_PART:
            whole = pa.concat_tables(some)
            yield whole.slice(0, ENTRIES_PER_PART).combine_chunks()
            some, count = [whole.slice(ENTRIES_PER_PART)], count - ENTRIES_PER_PART
    yield pa.concat_tables(some).combine_chunks()


def add_missing_columns(table: pa.Table) -> pa.Table:
    """Return a table of an earlier version with all columns of `ENTRIES`; those that it lacks are null."""
    columns = {name: table[name] for name in table.column_names}
    return pa.table([columns.get(field.name, pa.nulls(len(table), field.type)) for field in ENTRIES], ENTRIES)


def make_entries_table(entries: Iterable[Entry]) -> pa.Table:
    """Return the table `ENTRIES` of some results, whose embeddings follow one another from 0."""
    columns: dict[str, list[Any]] = {name: [] for name in ENTRIES.names}
    first_row = 0
    for entry in entries:
        for name in ENTRIES.names:
            columns[name].append(first_row if name == "first_row" else getattr(entry, name))
        columns["uri"][-1] = escape_non_utf8(entry.uri)
        columns["first_row"][-1] = first_row if entry.rows else None
        first_row += entry.rows
    return pa.table(columns, ENTRIES)
