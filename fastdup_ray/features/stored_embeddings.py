"""Embeddings in files of a work_dir, read on demand with few files open at a time."""

import errno
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Self

from fastdup_ray.common.arrays import FloatArray, IntArray
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_content
from fastdup_ray.storage.feature_parts import PartIndex
from fastdup_ray.system.ahead import call_ahead

OPEN_FILES = 16
"""Files that a reader keeps open: a merge often alternates between the files of a few sets."""

_GONE = (errno.ENOENT, errno.ESTALE)


@dataclass(frozen=True, eq=False)
class StoredEmbeddings:
    """(n, d) float32 embeddings in a file, from an offset to its end. Their digest was checked.

    No file stays open or mapped: a work_dir may have a hundred thousand shards, while a process may open only about a
    thousand files.

    Attributes:
        store: The store with the file.
        name: Name of the file in the store.
        path: The local copy that was checked. The copy of an object may have left the cache by the time it is read;
            then the object is downloaded and checked again.
        state: Inode, size and modification time of the copy when it was checked. While they are the same, the content
            is taken to be the same.
        sha256: Digest of the embeddings, in hex.
        shape: (n, d).
        offset: Bytes of the file before the embeddings.
    """

    store: Store
    name: str
    path: Path
    state: tuple[int, int, int]
    sha256: str
    shape: tuple[int, int]
    offset: int = 0

    @classmethod
    def check(
        cls,
        store: Store,
        name: str,
        sha256: str,
        shape: tuple[int, int],
        offset: int = 0,
        path: Path | None = None,
    ) -> Self:
        """Check the digest and the size of embeddings in a file.

        Args:
            store: The store with the file.
            name: Name of the file in the store.
            sha256: Expected digest, in hex.
            shape: Expected (n, d).
            offset: Bytes of the file before the embeddings.
            path: A local copy of the file, if it was fetched already.

        Returns:
            The embeddings in the file.

        Raises:
            DamagedError: The digest or the size differs.
            FileNotFoundError: There is no such file.
        """
        path = path or store.fetch(name)
        with open(path, "rb") as file:
            state = _read_state(file)
            if hash_content(file, offset) != sha256:
                raise DamagedError(f"{path} is damaged (its checksum differs).")
        (n, d), size = shape, state[1] - offset
        if size != 4 * n * d:
            raise DamagedError(f"{path} is damaged: it has {size:,} bytes; {n:,} embeddings need {4 * n * d:,}.")
        return cls(store, name, path, state, sha256, shape, offset)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def files(self) -> "tuple[StoredEmbeddings, ...]":
        """The file itself; see `StoredParts`."""
        return (self,)

    def open(self) -> FileIO:
        """Open the file that was checked.

        Raises:
            LostEmbeddingsError: The file is gone, or was replaced.
        """
        with self._explain_loss():
            file = self._open_copy()
            if _read_state(file) == self.state or hash_content(file, self.offset) == self.sha256:
                return file
            file.close()
        raise self._make_lost_error("replaced")

    def read(self, file: FileIO, first: int, into: FloatArray) -> None:
        """Read consecutive embeddings.

        Args:
            file: What `open` returned.
            first: Index of the first embedding to read.
            into: (b, d) float32, C-contiguous and not empty; filled with the embeddings first to first + b.

        Raises:
            LostEmbeddingsError: The file was truncated or removed.
        """
        left = into.data.cast("B")
        with self._explain_loss():
            file.seek(self.offset + 4 * self.shape[1] * first)
            while left:
                if not (count := file.readinto(left)):
                    raise self._make_lost_error("truncated")
                left = left[count:]

    def fetch(self) -> None:
        """Cache a copy of the file; if it is gone, `open` says so."""
        with suppress(FileNotFoundError):
            self.store.fetch(self.name)

    def _open_copy(self) -> FileIO:
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


@dataclass(frozen=True, eq=False)
class StoredParts:
    """(n, d) float32 embeddings in parts, whose digests were checked; see `storage.feature_parts`.

    Attributes:
        index: Where each embedding is.
        files: The parts.
    """

    index: PartIndex
    files: tuple[StoredEmbeddings, ...]

    @classmethod
    def check(cls, store: Store, index: PartIndex) -> Self:
        """Check the digests and sizes of all parts, several at a time where each takes a request.

        Raises:
            DamagedError: One of them differs.
            FileNotFoundError: A part is missing.
        """
        checks = (
            partial(StoredEmbeddings.check, store, part.name, part.sha256, (part.rows, index.d), part.offset)
            for part in index.parts
        )
        return cls(index, tuple(call_ahead(checks, store.at_once)))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.index.shape

    def locate(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Return for (m,) rows the index of the file of each, and of the embedding in that file."""
        return self.index.locate(rows)


class LostEmbeddingsError(DamagedError):
    """Embeddings that were checked earlier cannot be read any more.

    Attributes:
        embeddings: All embeddings of the lost file.
    """

    def __init__(self, message: str, embeddings: StoredEmbeddings) -> None:
        super().__init__(message)
        self.embeddings = embeddings


class EmbeddingReader:
    """Reads embeddings of many files, and keeps the `OPEN_FILES` most recently used ones open."""

    def __init__(self) -> None:
        self._files: OrderedDict[StoredEmbeddings, FileIO] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            self._close_oldest()

    def prepare(self, files: Iterable[StoredEmbeddings]) -> None:
        """Download what will be read and is not cached any more, several files at once."""
        lost = [embeddings for embeddings in files if embeddings.store.at_once > 1 and not embeddings.path.exists()]
        if lost:
            for _ in call_ahead((embeddings.fetch for embeddings in lost), lost[0].store.at_once):
                pass

    def read(self, embeddings: StoredEmbeddings, first: int, into: FloatArray) -> None:
        """Read consecutive embeddings of one file; see `StoredEmbeddings.read`.

        Args:
            embeddings: The file to read from.
            first: Index of the first embedding to read.
            into: (b, d) float32; filled with the embeddings first to first + b.

        Raises:
            LostEmbeddingsError: The file is gone, or was replaced or truncated.
        """
        if embeddings not in self._files:
            if len(self._files) == OPEN_FILES:
                self._close_oldest()
            self._files[embeddings] = embeddings.open()
        self._files.move_to_end(embeddings)
        embeddings.read(self._files[embeddings], first, into)

    def _close_oldest(self) -> None:
        self._files.popitem(last=False)[1].close()


def _read_state(file: FileIO | BufferedReader) -> tuple[int, int, int]:
    """Return inode, size, and the time of the last change in nanoseconds."""
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns
