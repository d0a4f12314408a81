"""A remote file as a seekable file that gets only the ranges that are read."""

import io
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias

from fastdup_ray.errors import BadImageError, ErrorCode

READ_AT_ONCE = 64 << 20
"""Bytes up to which a remote file is read whole; larger ones, and parts of a file, are read in ranges."""

FIRST_CHUNK, LARGEST_CHUNK = 256 << 10, 8 << 20
"""Bytes of a range: each is twice as large as the one before, as long as the file is read in order."""

Fetch: TypeAlias = Callable[[int, int], bytes]
"""Returns the bytes [start, stop) of a file; raises `BadImageError` if they cannot be read."""


def open_ranges(size: int, fetch: Fetch) -> BinaryIO:
    """Return a file of `size` bytes that is read by `fetch`; it need not be closed."""
    return _RangedFile(size, fetch)  # type: ignore[return-value]  # io.RawIOBase has all of BinaryIO that is used


class _RangedFile(io.RawIOBase):
    """See `open_ranges`."""

    def __init__(self, size: int, fetch: Fetch) -> None:
        self._size, self._fetch, self._position = size, fetch, 0
        self._start, self._chunk, self._next = 0, b"", FIRST_CHUNK

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        inside = self._position - self._start
        if not 0 <= inside < len(self._chunk):
            self._fill()
            inside = 0
        data = self._chunk[inside : inside + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _fill(self) -> None:
        follows = self._chunk and self._position == self._start + len(self._chunk)
        self._next = min(2 * self._next, LARGEST_CHUNK) if follows else FIRST_CHUNK
        self._start = self._position
        self._chunk = self._fetch(self._start, min(self._start + self._next, self._size))
        if not self._chunk:
            raise BadImageError(ErrorCode.READ_FAILED, "reading failed: the server sent nothing")

    def read(self, size: int = -1) -> bytes:
        """Return as many bytes as asked for, fewer only at the end, as a file does and a pipe does not."""
        wanted = self._size - self._position if size is None or size < 0 else size
        data = bytearray()
        while len(data) < wanted and (part := super().read(wanted - len(data))):
            data += part
        return bytes(data)
