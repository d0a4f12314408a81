"""Find rows by their keys, in 16 bytes a row (`RowIndex`)."""

from collections.abc import Callable, Hashable, Iterable, Iterator

import numpy as np


class RowIndex:
    """The rows of n keys, which are elsewhere, such as on disk. Keys with the same hash are compared.

    Args:
        keys: The keys, in the order of their rows.
        count: n.
        get_key: Returns the key of a row.
    """

    def __init__(self, keys: Iterable[Hashable], count: int, get_key: Callable[[int], Hashable]) -> None:
        hashes = np.fromiter(map(hash, keys), np.int64, count)
        self._rows = np.argsort(hashes, kind="stable")
        self._hashes, self._get_key = hashes[self._rows], get_key

    def find(self, key: Hashable) -> int:
        """Return the last row that has a key; -1 if there is none."""
        number = np.int64(hash(key))
        place = int(self._hashes.searchsorted(number, "right")) - 1
        while place >= 0 and self._hashes[place] == number:
            row = int(self._rows[place])
            if self._get_key(row) == key:
                return row
            place -= 1
        return -1

    def iter_repeated(self) -> Iterator[list[int]]:
        """Yield the rows of each key that more than one row has, in order."""
        equal = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        for places in np.split(equal, np.flatnonzero(np.diff(equal) != 1) + 1):
            by_key: dict[Hashable, list[int]] = {}
            for row in self._rows[places[0] : places[-1] + 2].tolist() if len(places) else ():
                by_key.setdefault(self._get_key(row), []).append(row)
            yield from (rows for rows in by_key.values() if len(rows) > 1)
