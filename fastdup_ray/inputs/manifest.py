"""The manifest: the entries of the input list in order, and the result of each."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from os import fsdecode, fsencode
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.common.records import Entry, ImageRef, Shard
from fastdup_ray.storage.tables import TableFormat, escape_names

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

_LISTED = pa.schema([("uri", pa.large_binary()), ("size", pa.int64()), ("mtime_or_etag", _TEXT)])


class Manifest:
    """The entries of the list, or of a range of it, in order. They are Arrow columns, of about 100 bytes per entry."""

    def __init__(self, table: pa.Table, start: int = 0) -> None:
        """Hold a table of entries.

        Args:
            table: the columns uri (raw bytes), size and mtime_or_etag.
            start: the offset of its first entry in the whole list.
        """
        self._table, self._start = table, start

    @classmethod
    def from_refs(cls, refs: Iterable[ImageRef]) -> "Manifest":
        """Return the manifest of a whole list."""
        refs = iter(refs)
        batches = [
            pa.record_batch(
                [[fsencode(r.uri) for r in part], [r.size for r in part], [r.mtime_or_etag for r in part]],
                schema=_LISTED,
            )
            for part in iter(lambda: list(islice(refs, 65_536)), [])
        ]
        return cls(pa.Table.from_batches(batches, _LISTED).combine_chunks())

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @cached_property
    def digest(self) -> str:
        """The SHA-256, in hex, of the names in order: lists with one digest have the same entries at each offset."""
        digest = hashlib.sha256()
        for uri in self._table["uri"]:
            digest.update(uri.as_buffer())
            digest.update(b"\0")
        return digest.hexdigest()

    def refs(self, offsets: Sequence[int] | IntArray) -> list[ImageRef]:
        """Return the entries at `offsets`, relative to this range."""
        rows = self._table.take(pa.array(offsets, pa.int64()))
        return [ImageRef(fsdecode(row["uri"]), row["size"], row["mtime_or_etag"]) for row in rows.to_pylist()]

    def is_all_missing(self) -> bool:
        """Return whether no entry could be looked up when it was listed: none exists, or none may be read."""
        return bool(pc.all(pc.equal(self._table["mtime_or_etag"], "")).as_py())

    def uris(self) -> pa.ChunkedArray:
        """Return the names, (n,), as raw bytes."""
        return self._table["uri"]

    def keys(self) -> pa.Table:
        """Return the columns of `KEY` as feature shards have them, with escaped names."""
        uri, *others = (self._table[name] for name in KEY)
        return pa.table([escape_names(uri), *others], KEY)

    def window(self, start: int, stop: int) -> "Manifest":
        """Return the entries [start, stop) of this range."""
        return Manifest(self._table.slice(start, stop - start), self._start + start)

    def shards(self, offsets: Sequence[int] | IntArray, sizes: Iterable[int]) -> Iterator[Shard]:
        """Cut the entries at `offsets`, relative to this range, into shards of `sizes` entries, in turn."""
        rest = iter(sizes)
        first = 0
        while first < len(offsets):
            part = offsets[first : first + next(rest)]
            first += len(part)
            in_list = [self._start + int(offset) for offset in part]
            yield Shard(in_list[0], in_list[-1] + 1, in_list, self.refs(part))


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
