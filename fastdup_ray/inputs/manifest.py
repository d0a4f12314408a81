"""The list: its order, its slices, and what became of each entry."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from os import fsdecode, fsencode

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.common.records import Entry, ImageRef, Shard
from fastdup_ray.storage.tables import TableFormat, escape_names

_TEXT = pa.large_string()
"""The offsets of `pa.string` end at 2 GiB a column: that is 33 million sha256."""

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
    ]
)
"""What became of each entry: the columns of manifest.parquet and of a feature shard's JSON.

first_row counts from 0 in the features file that the table describes. A good entry has rows > 0, a bad one a code.
fps: of a good video, frames a second that its rows are. decoder: what decoded it, where that is not Pillow alone.
unseen: see `records.Entry`.
"""

STATISTICS = ("brightness", "contrast", "blur", "unique_colors")
"""Columns of `ENTRIES` that are `records.Statistics`; null for a bad entry, and where one entry has several rows."""

MANIFEST = TableFormat(
    ENTRIES,
    never_null=frozenset(["uri", "size", "mtime_or_etag", "rows"]),
    optional=frozenset(["fps", "decoder", *STATISTICS, "unseen"]),
)
"""manifest.parquet, also that of an earlier version."""

KEY = ("uri", "size", "mtime_or_etag")
"""Entries that agree in these, under one fingerprint, have the same features."""

_LISTED = pa.schema([("uri", pa.large_binary()), ("size", pa.int64()), ("mtime_or_etag", _TEXT)])


class Manifest:
    """The entries of the list in order, as Arrow columns: about 100 bytes each."""

    def __init__(self, table: pa.Table, start: int = 0):
        """start: the offset of the first of these entries in the whole list."""
        self._table, self._start = table, start

    @classmethod
    def from_refs(cls, refs: Iterable[ImageRef]) -> "Manifest":
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
        return self._table.num_rows

    @cached_property
    def digest(self) -> str:
        """Of the names and their order: two lists with one digest mean the same picture by the same offset."""
        digest = hashlib.sha256()
        for uri in self._table["uri"]:
            digest.update(uri.as_buffer())
            digest.update(b"\0")
        return digest.hexdigest()

    def refs(self, offsets: Sequence[int] | IntArray) -> list[ImageRef]:
        rows = self._table.take(pa.array(offsets, pa.int64()))
        return [ImageRef(fsdecode(row["uri"]), row["size"], row["mtime_or_etag"]) for row in rows.to_pylist()]

    def is_all_missing(self) -> bool:
        """Whether no entry could be looked at when it was listed: nothing is there, or nothing may be seen."""
        return pc.all(pc.equal(self._table["mtime_or_etag"], "")).as_py()

    def uris(self) -> pa.ChunkedArray:
        """As raw bytes, (n,)."""
        return self._table["uri"]

    def keys(self) -> pa.Table:
        """The columns of `KEY`, in the form in which feature shards have them."""
        uri, *others = (self._table[name] for name in KEY)
        return pa.table([escape_names(uri), *others], KEY)

    def window(self, start: int, stop: int) -> "Manifest":
        return Manifest(self._table.slice(start, stop - start), self._start + start)

    def shards(self, offsets: Sequence[int] | IntArray, size: int) -> Iterator[Shard]:
        """The entries at `offsets`, cut into shards of at most `size`."""
        for first in range(0, len(offsets), size):
            part = offsets[first : first + size]
            places = [self._start + int(offset) for offset in part]
            yield Shard(places[0], places[-1] + 1, places, self.refs(part))


def add_missing_columns(table: pa.Table) -> pa.Table:
    """`ENTRIES`: columns that an earlier version did not have are null."""
    there = {name: table[name] for name in table.column_names}
    return pa.table([there.get(field.name, pa.nulls(len(table), field.type)) for field in ENTRIES], ENTRIES)


def make_entries_table(entries: Iterable[Entry]) -> pa.Table:
    """`ENTRIES` of what became of some entries, whose rows follow one another from 0."""
    columns: dict[str, list] = {name: [] for name in ENTRIES.names}
    first_row = 0
    for entry in entries:
        for name in ENTRIES.names:
            columns[name].append(first_row if name == "first_row" else getattr(entry, name))
        columns["uri"][-1] = escape_non_utf8(entry.uri)
        columns["first_row"][-1] = first_row if entry.rows else None
        first_row += entry.rows
    return pa.table(columns, ENTRIES)
