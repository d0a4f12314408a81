"""A list whose items are on disk (`DiskList`): of very many moves, or rows of a plan, little is in memory."""

import os
import pickle
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import IO, Any, TypeVar, overload

Item = TypeVar("Item")

Scratch = Callable[[], IO[bytes]]
"""Opens an empty, unnamed file, such as `Store.scratch`."""

BYTES_IN_MEMORY = 1 << 20
"""Bytes that are written at a time: a list that takes fewer has no file."""

_ITEMS_AT_ONCE = 1 << 10
"""Items that are read at a time."""

_SHOWN = 100
"""Items that the text of a list shows."""


def reduce_to_fields(item: Any) -> tuple[Any, ...]:
    """Pickle a dataclass with slots by its fields, as its `__reduce__`: much faster than what the library generates."""
    return type(item), tuple([getattr(item, name) for name in item.__slots__])


class DiskList(Sequence[Item]):
    """A list that grows at its end, and keeps its items in a file that no other process sees.

    In memory are 8 bytes for each item, and the last ones. Items are copied when they are added, and each time that
    they are read.

    Args:
        scratch: Opens the file, once there are `BYTES_IN_MEMORY`.
        items: The first ones.
    """

    def __init__(self, scratch: Scratch = tempfile.TemporaryFile, items: Iterable[Item] = ()) -> None:
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._written, self._tail = 0, bytearray()
        self._ends = array("q", [0])
        self.extend(items)

    def append(self, item: Item) -> None:
        """Add an item, of any type that can be pickled."""
        self._tail += pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        self._ends.append(self._written + len(self._tail))
        if len(self._tail) >= BYTES_IN_MEMORY:
            self._write_tail()

    def extend(self, items: Iterable[Item]) -> None:
        """Add items."""
        for item in items:
            self.append(item)

    def _write_tail(self) -> None:
        if self._file is None:
            self._file = self._scratch()
        self._file.write(self._tail)
        self._file.flush()
        self._written += len(self._tail)
        self._tail = bytearray()

    def _read(self, start: int, stop: int) -> memoryview:
        """Return the bytes of the items [start, stop)."""
        first, last = self._ends[start], self._ends[stop]
        content = b""
        if self._file is not None and first < self._written:
            content = os.pread(self._file.fileno(), min(last, self._written) - first, first)
        return memoryview(content + self._tail[max(0, first - self._written) : max(0, last - self._written)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        rows = range(len(self))[index]
        if isinstance(rows, range):
            return [self[row] for row in rows]
        item: Item = pickle.loads(self._read(rows, rows + 1))
        return item

    def __iter__(self) -> Iterator[Item]:
        start = 0
        while start < len(self):
            stop = min(start + _ITEMS_AT_ONCE, len(self))
            ends = self._ends[start : stop + 1]
            content = self._read(start, stop)
            for first, last in pairwise(ends):
                yield pickle.loads(content[first - ends[0] : last - ends[0]])
            start = stop

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(item == its for item, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as that of a list

    def __repr__(self) -> str:
        more = len(self) - _SHOWN
        return repr(self[:_SHOWN])[:-1] + (f", … and {more:,} more]" if more > 0 else "]")

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)  # another process has no file of this one
