"""Where the embeddings of the entries of a list are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.features.names import Names
from fastdup_ray.features.stored_embeddings import StoredEmbeddings, StoredParts
from fastdup_ray.inputs.manifest import ENTRIES
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, take_rows


@dataclass(frozen=True)
class EntryBlock:
    """Entries that follow one another in a list, and where their embeddings are.

    Attributes:
        start: Offset of the first entry in the list.
        entries: b rows with columns of `ENTRIES`. `first_row` counts within the embeddings of the set that the entry
            is from.
        source: (b,) int64 index of that set.
    """

    start: int
    entries: pa.Table
    source: IntArray


@dataclass(frozen=True)
class LocatedBlock:
    """Good entries that follow one another in a list, and where their embeddings are.

    Attributes:
        offset: (g,) int64 offset of each in the list.
        file: (g,) int64 index in `LookupResult.files`.
        first: (g,) int64 index in that file of its first embedding.
        count: (g,) int64 number of its embeddings.
    """

    offset: IntArray
    file: IntArray
    first: IntArray
    count: IntArray


@dataclass(frozen=True)
class LookupResult:
    """The stored result of each of n entries, and where its embeddings are.

    Attributes:
        stored: Rows with the columns `ENTRIES`, which may be mapped from files: the entries of some feature sets, one
            set after the other.
        embeddings: The embeddings of these sets.
        starts: The first row in `stored` of each set.
        position: (n,) int64 row of `stored` for each entry; -1 where an entry is missing.
        get_names: Returns the names of the entries [start, stop), as raw bytes.
        unlisted: Good entries of earlier runs whose names are not in the list; None if nobody has looked.
    """

    stored: pa.Table
    embeddings: Sequence[StoredEmbeddings | StoredParts]
    starts: IntArray
    position: IntArray
    get_names: Callable[[int, int], Names]
    unlisted: "LookupResult | None" = None

    def __len__(self) -> int:
        return len(self.position)

    @property
    def missing(self) -> IntArray:
        """Offsets of the entries that have to be read."""
        return np.flatnonzero(self.position < 0)

    @property
    def entries(self) -> pa.Table:
        """All n rows with the columns `ENTRIES`, in memory, null where an entry is missing; see `blocks`."""
        is_found = self.position >= 0
        found = take_rows(self.stored, self.position[is_found])
        return found.take(pa.array(np.cumsum(is_found) - 1, mask=~is_found))

    @cached_property
    def files(self) -> list[StoredEmbeddings]:
        """The files that `embeddings` are in."""
        return [file for embeddings in self.embeddings for file in embeddings.files]

    @cached_property
    def _first_files(self) -> IntArray:
        """The index in `files` of the first file of each set."""
        counts = [len(embeddings.files) for embeddings in self.embeddings]
        return np.cumsum([0, *counts])[:-1]

    @cached_property
    def _in_parts(self) -> list[tuple[int, StoredParts]]:
        """The sets whose embeddings are in parts, with their indices: a handful, while there may be many shards."""
        numbered = enumerate(self.embeddings)
        return [(number, embeddings) for number, embeddings in numbered if isinstance(embeddings, StoredParts)]

    def select(self, offsets: IntArray) -> "LookupResult":
        """Return the result of the entries at some offsets, without their names."""
        return replace(self, position=self.position[offsets], unlisted=None)

    def located_blocks(self) -> Iterator["LocatedBlock"]:
        """Yield where the embeddings of all good entries are, in order, block by block."""
        for block in self.blocks(["rows", "first_row"]):
            rows = block.entries["rows"].to_numpy()
            good = np.flatnonzero(rows)
            source, first = block.source[good], block.entries["first_row"].fill_null(0).to_numpy()[good]
            file = self._first_files[source]
            for number, parts in self._in_parts:
                own = np.flatnonzero(source == number)
                part, first[own] = parts.locate(first[own])
                file[own] += part
            yield LocatedBlock(block.start + good, file, first, rows[good].astype(np.int64))

    def find_entries_of(self, file: StoredEmbeddings) -> IntArray:
        """Return the offsets of the good entries whose embeddings are in a file."""
        number = self.files.index(file)
        found = [block.offset[block.file == number] for block in self.located_blocks()]
        return np.concatenate([np.empty(0, np.int64), *found])

    def blocks(self, columns: Sequence[str] = ENTRIES.names) -> Iterator[EntryBlock]:
        """Yield all entries in order, `ROWS_PER_BLOCK` at a time; none may be missing.

        Args:
            columns: The columns to read.
        """
        stored = self.stored.select(columns)
        for start in range(0, len(self), ROWS_PER_BLOCK):
            position = self.position[start : start + ROWS_PER_BLOCK]
            yield EntryBlock(start, take_rows(stored, position), self._find_source(position))

    def named_blocks(self, columns: Sequence[str]) -> Iterator[tuple[Names, pa.Table]]:
        """Yield the names of the entries as raw bytes, and columns of them; see `blocks`."""
        for block in self.blocks(columns):
            yield self.get_names(block.start, block.start + len(block.source)), block.entries

    def _find_source(self, position: IntArray) -> IntArray:
        return np.searchsorted(self.starts, position, "right") - 1
