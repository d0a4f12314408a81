"""Limits of archives, so that a small one cannot fill memory or disk, and errors that all kinds of them have."""

import errno
import io
from typing import Protocol

from fastdup_ray.errors import BadImageError, ErrorCode

MAX_MEMBER = 1 << 30
"""The most bytes of a member, which is held in memory as a whole."""

MAX_RATIO = 200
"""A compressed archive may unpack to this many times its size, plus `MAX_MEMBER`: images hardly compress."""

MAX_HEADER = 1 << 20
"""The most bytes of a header of a tar, such as a long name: tarfile would read one of any size into memory."""


class UnpackedStream(Protocol):
    """A seekable file, such as the decompressors of the standard library, which are not `BinaryIO`."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...

    def close(self) -> None: ...


def get_unpacked_limit(size: int) -> int:
    """Return to how many bytes an archive of `size` bytes may unpack."""
    return MAX_MEMBER + MAX_RATIO * size


def describe_bomb(limit: int) -> BadImageError:
    """Return the error for an archive that unpacks to more than `limit` bytes."""
    return BadImageError(ErrorCode.TOO_LARGE, f"the archive unpacks to more than {limit:,} bytes")


def describe_early_end() -> BadImageError:
    """Return the error for a member that the archive has only the beginning of."""
    return BadImageError(ErrorCode.TRUNCATED, "the archive ends in the midst of this file")


def raise_read_error(error: BaseException | None) -> None:
    """Raise errors of the file system, or a bucket, again: the archive may be undamaged."""
    if isinstance(error, BadImageError):
        raise error
    if isinstance(error, OSError) and error.errno not in (
        None,
        errno.EINVAL,
    ):  # others: of a decompressor, or of an impossible position
        raise error


class BoundedFile(io.RawIOBase):
    """A file of which only the first `limit` bytes can be read, and about `MAX_HEADER` of them between two seeks.

    tarfile seeks before each header. It reads a header at once, or, from Python 3.14 on, in pieces.
    """

    def __init__(self, file: UnpackedStream, limit: int) -> None:
        self._file, self._limit = file, limit
        self._header = 0

    def read(self, size: int = -1) -> bytes:
        self._header += max(size, 0)
        if size > MAX_HEADER or self._header > 2 * MAX_HEADER:
            raise BadImageError(ErrorCode.CORRUPT, f"the archive is broken: a header of {self._header:,} bytes or more")
        data = self._file.read(size)
        self._check()
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset > self._limit:
            self._check(offset)
        self._header = 0
        place = self._file.seek(offset, whence)
        self._check()
        return place

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, position: int | None = None) -> None:
        if (self.tell() if position is None else position) > self._limit:
            raise describe_bomb(self._limit)
