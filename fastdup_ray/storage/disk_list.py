"""A list whose items are on disk (`DiskList`): of very many moves, or rows of a plan, little is in memory."""

import os
import pickle
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import IO, Any, TypeVar, overload

from fastdup_ray.common.scratch import Scratch

Item = TypeVar("Item")

ITEMS_AT_ONCE = 1 << 10
"""Items that are written or read at a time: a list of fewer has no file."""

_SHOWN = 100
"""Items that the text of a list shows."""


def reduce_to_fields(item: Any) -> tuple[Any, ...]:
    """Pickle a dataclass with slots by its fields, as its `__reduce__`: much faster than what the library generates."""
    return type(item), tuple([getattr(item, name) for name in item.__slots__])


class DiskList(Sequence[Item]):
    """A list that grows at its end, and keeps its items in a file that no other process sees.

    In memory are 8 bytes for each item, and the last `ITEMS_AT_ONCE`.

    Args:
        scratch: Opens the file, once there are so many.
        items: The first ones. They are not changed afterwards.
    """

    def __init__(self, scratch: Scratch = tempfile.TemporaryFile, items: Iterable[Item] = ()) -> None:
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._ends = array("q", [0])
        self._last: list[Item] = []
        self.extend(items)

    def append(self, item: Item) -> None:
        """Add an item, of any type that can be pickled."""
        self._last.append(item)
        if len(self._last) >= ITEMS_AT_ONCE:
            self._write_last()

    def extend(self, items: Iterable[Item]) -> None:
        """Add items."""
        for item in items:
            self.append(item)

    def _write_last(self) -> None:
        if self._file is None:
            self._file = self._scratch()
        for item in self._last:
            content = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
            self._file.write(content)
            self._ends.append(self._ends[-1] + len(content))
        self._file.flush()
        self._last.clear()

    def _read(self, start: int, stop: int) -> Iterator[Item]:
        """Yield items of the file."""
        assert self._file is not None
        ends = self._ends[start : stop + 1]
        content = memoryview(os.pread(self._file.fileno(), ends[-1] - ends[0], ends[0]))
        for first, last in pairwise(ends):
            yield pickle.loads(content[first - ends[0] : last - ends[0]])

    @property
    def _written(self) -> int:
        """Number of items that are in the file."""
        return len(self._ends) - 1

    def __len__(self) -> int:
        return self._written + len(self._last)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        rows = range(len(self))[index]
        if isinstance(rows, range):
            return [self[row] for row in rows]
        return next(self._read(rows, rows + 1)) if rows < self._written else self._last[rows - self._written]

    def __iter__(self) -> Iterator[Item]:
        row = 0
        while row < len(self):
            if row < self._written:
                stop = min(row + ITEMS_AT_ONCE, self._written)
                yield from self._read(row, stop)
                row = stop
            else:
                yield self._last[row - self._written]
                row += 1

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
