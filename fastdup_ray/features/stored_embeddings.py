"""Rows of features in files of a work_dir: read when they are asked for, with few files open however many there are."""

import errno
import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store

OPEN_FILES = 16
"""Files that a reader keeps open: rows of two or three sets often alternate, and a large one is opened once."""

_GONE = (errno.ENOENT, errno.ESTALE)


@dataclass(frozen=True, eq=False)
class StoredEmbeddings:
    """(r, d) float32 rows in a file that was checked.

    Nothing of it stays open or mapped: a work_dir may have a hundred thousand shards, and a process a thousand files.

    Args:
        store: Where the file is.
        name: Its name there.
        path: The local copy of it that was checked. That of an object may be gone from the cache by the time it is
            read; then the object is got and checked again.
        state: What the file system said of this copy then: while it says the same, the content is the same.
        sha256: The digest of the file.
        shape: Rows and numbers of a row.
    """

    store: Store
    name: str
    path: Path
    state: tuple[int, int, int]
    sha256: str
    shape: tuple[int, int]

    @classmethod
    def check(cls, store: Store, name: str, sha256: str, shape: tuple[int, int]) -> Self:
        """Return the rows of a file that has this digest; raises `DamagedError`, `FileNotFoundError`."""
        path = store.fetch(name)
        with open(path, "rb") as file:
            state = _read_state(file)
            if _hash_content(file) != sha256:
                raise DamagedError(f"{path} is damaged (its digest does not fit).")
        if state[1] != 4 * shape[0] * shape[1]:
            rows, d = shape
            raise DamagedError(f"{path} is damaged: {state[1]} bytes where {rows} rows of {d} need {4 * rows * d}.")
        return cls(store, name, path, state, sha256, shape)

    def __len__(self) -> int:
        return self.shape[0]

    def open(self) -> BinaryIO:
        """Open the content that was checked; raises `LostRowsError` where it is not there any more."""
        with self._explain_loss():
            file = self._open_copy()
            if _read_state(file) == self.state or _hash_content(file) == self.sha256:
                return file
            file.close()
        raise self._make_lost_error("replaced")

    def read(self, file: BinaryIO, first: int, rows: np.ndarray) -> None:
        """Fill `rows`, (b, d) float32, with those from `first` on; file: what `open` gave."""
        left = memoryview(rows).cast("B")
        with self._explain_loss():
            file.seek(4 * self.shape[1] * first)
            while left:
                if not (count := file.readinto(left)):
                    raise self._make_lost_error("cut")
                left = left[count:]

    def _open_copy(self) -> BinaryIO:
        try:
            return open(self.path, "rb", buffering=0)
        except FileNotFoundError:
            return open(self.store.fetch(self.name), "rb", buffering=0)

    @contextmanager
    def _explain_loss(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (None, *_GONE):
                raise
            raise self._make_lost_error("removed") from None

    def _make_lost_error(self, how: str) -> "LostEmbeddingsError":
        return LostEmbeddingsError(f"{self.name} in {self.store.location!r} was {how} while it was in use.", self)


class LostEmbeddingsError(DamagedError):
    """Rows that were there when they were looked up, and are not when they are read. rows: all of that file."""

    def __init__(self, message: str, rows: StoredEmbeddings):
        super().__init__(message)
        self.rows = rows


class EmbeddingReader:
    """Reads rows of many files, and keeps those open that were used last."""

    def __init__(self) -> None:
        self._files: OrderedDict[StoredEmbeddings, BinaryIO] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            self._close_oldest()

    def read(self, rows: StoredEmbeddings, first: int, into: np.ndarray) -> None:
        """Fill `into`, (b, d) float32, with the rows from `first` on; raises `LostRowsError`."""
        if rows not in self._files:
            if len(self._files) == OPEN_FILES:
                self._close_oldest()
            self._files[rows] = rows.open()
        self._files.move_to_end(rows)
        rows.read(self._files[rows], first, into)

    def _close_oldest(self) -> None:
        self._files.popitem(last=False)[1].close()


def _read_state(file: BinaryIO) -> tuple[int, int, int]:
    """Inode, size and time of the last change."""
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


def _hash_content(file: BinaryIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
