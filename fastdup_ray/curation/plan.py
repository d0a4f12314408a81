"""A plan (`Plan`): its rows on disk, found by name, and checked."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np
import pyarrow as pa

from fastdup_ray.common.arrays import AnyArray, BoolArray, get_index_type
from fastdup_ray.common.row_index import RowIndex
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.curation.plan_row import PlanRow, check_name
from fastdup_ray.errors import InputError
from fastdup_ray.storage.disk_list import DiskList
from fastdup_ray.storage.tables import encode_names, map_texts

ROWS_AT_ONCE = 1 << 14
"""Rows that are worked on at a time."""


class RepeatedNameError(InputError):
    """A plan has two rows of one image.

    Attributes:
        row: Index of the second one.
    """

    def __init__(self, name: str, row: int) -> None:
        super().__init__(f"The plan has {name!r} twice: remove one of the rows.")
        self.row = row


class Plan(Sequence[PlanRow]):
    """The n rows of a plan that does not contradict itself. In memory are a few numbers for each.

    Args:
        rows: In their order.
        scratch: Opens an empty file.

    Attributes:
        names: (n,) raw names of the images, mapped from a file.
        is_dropped: (n,) whether the plan drops an image.
        keeper: (n,) the row of the image that it is dropped for; of a kept one, its own row.
        runs: `PlanRow.run` of the rows.
        scratch: Opens an empty file.

    Raises:
        InputError: If the plan contradicts itself, drops a reference, or has a name that is not absolute.
        RepeatedNameError: If it has an image twice.
    """

    def __init__(self, rows: Iterable[PlanRow], scratch: Scratch = tempfile.TemporaryFile) -> None:
        self.scratch, self.runs = scratch, set[str]()
        self._rows: DiskList[PlanRow] = DiskList(scratch)
        keepers: DiskList[str] = DiskList(scratch)
        dropped = bytearray()

        def iter_names() -> Iterator[pa.Array]:
            for part in split_rows(rows):
                for row in part:
                    _check_row(row)
                    self._rows.append(row)
                    keepers.append(row.keeper)
                    dropped.append(row.is_dropped)
                    self.runs.add(row.run)
                yield encode_names(row.filename for row in part)

        self.names = map_texts(iter_names(), scratch)
        self.is_dropped: BoolArray = np.frombuffer(dropped, np.bool_)
        self._index = RowIndex(self._iter_raw_names(), len(self), lambda row: self.names[row].as_py())
        self._refuse_repeated()
        self.keeper = self._find_keepers(keepers)

    def find(self, name: str) -> int:
        """Return the row of an image; -1 if the plan does not have it."""
        return self._index.find(os.fsencode(name))

    def iter_names(self) -> Iterator[str]:
        """Yield the names of all images."""
        return map(os.fsdecode, self._iter_raw_names())

    def _iter_raw_names(self) -> Iterator[bytes]:
        for start in range(0, len(self.names), ROWS_AT_ONCE):
            yield from self.names.slice(start, ROWS_AT_ONCE).to_pylist()

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> PlanRow: ...

    @overload
    def __getitem__(self, index: slice) -> list[PlanRow]: ...

    def __getitem__(self, index: int | slice) -> PlanRow | list[PlanRow]:
        return self._rows[index]

    def __iter__(self) -> Iterator[PlanRow]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return self._rows == other

    __hash__ = None  # type: ignore[assignment]  # as that of a list

    def __repr__(self) -> str:
        return f"Plan({self._rows!r})"

    def _refuse_repeated(self) -> None:
        repeated = min((rows[1] for rows in self._index.iter_repeated()), default=None)
        if repeated is not None:
            raise RepeatedNameError(self[repeated].filename, repeated)

    def _find_keepers(self, names: Iterable[str]) -> AnyArray:
        """Return `keeper`, given the names of the keepers."""
        keeper = np.arange(len(self), dtype=get_index_type(len(self)))
        for row, name in enumerate(names):
            if self.is_dropped[row]:
                found = self.find(name)
                if found < 0 or self.is_dropped[found]:
                    raise InputError(
                        f"The plan drops {self[row].filename!r} but does not keep its keeper {name!r}: "
                        "name a keeper that the plan keeps, or change the action to keep."
                    )
                keeper[row] = found
        return keeper


def _check_row(row: PlanRow) -> None:
    """Raise `InputError` if a row cannot be valid, whatever the others are."""
    check_name(row)
    if row.is_dropped and row.reference:
        raise InputError(f"The plan drops {row.filename!r}, an image of a reference input: change its action to keep.")
    if row.is_dropped and not row.keeper:
        raise InputError(
            f"The plan drops {row.filename!r} without a keeper: name the image that it duplicates, "
            "or change its action to keep."
        )


def split_rows(rows: Iterable[PlanRow]) -> Iterator[list[PlanRow]]:
    """Yield rows in parts of `ROWS_AT_ONCE`."""
    rows = iter(rows)
    while part := list(islice(rows, ROWS_AT_ONCE)):
        yield part
