"""Tar archives, plain or compressed: what is in them, and the bytes of a member."""

import atexit
import bz2
import gzip
import lzma
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeAlias

from fastdup_ray.common.access import Access
from fastdup_ray.common.names import from_utf8
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.inputs.archive_limits import (
    BoundedFile,
    UnpackedStream,
    describe_early_end,
    get_unpacked_limit,
    raise_read_error,
)
from fastdup_ray.inputs.file_source import get_file_source

_OPEN_STREAMS = 8

Unpacker: TypeAlias = Callable[[BinaryIO], UnpackedStream]

_UNPACKERS: dict[bytes, Unpacker] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
"""The first bytes of a compressed tar -> its decompressor."""

_DAMAGE = (zlib.error, lzma.LZMAError, OSError)
"""Exceptions of the decompressors."""

_ENDS = "the archive ends in the midst of a file"
_NO_ARCHIVE = ErrorCode.CORRUPT, "neither a tar nor a zip archive"
_READ_ERRORS = {
    "empty file": (ErrorCode.ZERO_SIZE, "the file is empty"),
    "unexpected end of data": (ErrorCode.TRUNCATED, _ENDS),
    "truncated header": _NO_ARCHIVE,
    "invalid header": _NO_ARCHIVE,
    "bad checksum": _NO_ARCHIVE,
}
"""The text of tarfile's exceptions -> code and reason."""


def list_tar(file: BinaryIO, size: int) -> Iterator[tuple[str, int, int]]:
    """Yield the name, size and first byte of each file; raise `BadImageError` at the first damage."""
    unpacker = _find_unpacker(file)
    unpacked = BoundedFile(unpacker(file) if unpacker else file, get_unpacked_limit(size))
    try:
        with tarfile.open(fileobj=unpacked, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # not in typeshed; a million would take gigabytes
                if member.isreg() and not member.issparse():
                    yield from_utf8(member.name), member.size, member.offset_data
            unpacked.seek(tar.offset)  # tarfile takes a broken header for the end of the archive
            rest = unpacked.read(tarfile.BLOCKSIZE)
            if any(rest):
                code = ErrorCode.CORRUPT if len(rest) == tarfile.BLOCKSIZE else ErrorCode.TRUNCATED
                raise BadImageError(code, f"the archive is broken from byte {tar.offset} on")
    except EOFError:
        raise BadImageError(ErrorCode.TRUNCATED, _ENDS) from None
    except (tarfile.TarError, *_DAMAGE, ValueError, OverflowError) as error:
        raise_read_error(error)
        code, text = _READ_ERRORS.get(str(error), (ErrorCode.CORRUPT, f"the archive is broken: {error}"))
        raise BadImageError(code, text) from None


def read_from_tar(file: BinaryIO, archive: ImageRef, access: Access, size: int, start: int) -> bytes:
    """Return the bytes of a member.

    Args:
        file: The archive, at its beginning.
        archive: Its entry. A compressed one is read as a stream that is kept open for the next member.
        access: How buckets are accessed.
        size: Bytes of the member.
        start: Position of its first byte, in the unpacked archive.

    Raises:
        BadImageError: The archive is broken.
    """
    try:
        if unpacker := _find_unpacker(file):
            data = _streams.read(archive, access, unpacker, start, size)
        else:
            file.seek(start)
            data = file.read(size)
    except EOFError:
        data = b""
    except (zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise BadImageError(ErrorCode.CORRUPT, f"the archive is broken: {error}") from None
    if len(data) < size:
        raise describe_early_end()
    return data


def _find_unpacker(file: BinaryIO) -> Unpacker | None:
    """The decompressor of the tar in `file`, which is at its beginning; None if it is not compressed."""
    head = file.read(6)
    file.seek(0)
    return next((unpacker for signature, unpacker in _UNPACKERS.items() if head.startswith(signature)), None)


class _StreamPool:
    """Open compressed tars, which can only be read forward: each is kept at its position for the next reader."""

    def __init__(self) -> None:
        self._idle: list[tuple[tuple[ImageRef, Access], BinaryIO, UnpackedStream]] = []
        self._lock = threading.Lock()

    def read(self, archive: ImageRef, access: Access, unpacker: Unpacker, start: int, size: int) -> bytes:
        file, stream = self._take(archive, access, unpacker, start)
        try:
            stream.seek(start)
            data = stream.read(size)
        except BaseException:
            file.close()
            raise
        with self._lock:
            self._idle.append(((archive, access), file, stream))
            dropped = self._idle[:-_OPEN_STREAMS]
            del self._idle[:-_OPEN_STREAMS]
        for _, old, unpacked in dropped:
            unpacked.close()
            old.close()
        return data

    def _take(
        self, archive: ImageRef, access: Access, unpacker: Unpacker, start: int
    ) -> tuple[BinaryIO, UnpackedStream]:
        """Take out the stream that is nearest before `start`, or open a new one."""
        with self._lock:
            before = [idle for idle in self._idle if idle[0] == (archive, access) and idle[2].tell() <= start]
            if before:
                nearest = max(before, key=lambda idle: idle[2].tell())
                self._idle.remove(nearest)
                return nearest[1:]
        file = get_file_source(archive.uri).open_stream(archive, access)
        return file, unpacker(file)

    def close(self) -> None:
        with self._lock:
            for _, file, stream in self._idle:
                stream.close()
                file.close()
            self._idle.clear()


_streams = _StreamPool()
atexit.register(_streams.close)
