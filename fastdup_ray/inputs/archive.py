"""Images inside tar and zip archives, named `archive.tar!/inner/name.jpg`.

Listing reads the index of an archive once. The token of each entry has what reading needs (the archive's own token and
size, where the member begins, how it is packed), so that any process can read a member without the index.
"""

import atexit
import bz2
import errno
import gzip
import io
import lzma
import posixpath
import stat as stat_module
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, Protocol, TypeAlias

from fastdup_ray.common.access import Access
from fastdup_ray.common.names import from_utf8
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.inputs.file_source import get_file_source
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.suffixes import is_archive_name, is_excluded_folder, is_image_name

MAX_MEMBER = 1 << 30
"""The most bytes of a member, which is held in memory as a whole."""

MAX_RATIO = 200
"""A compressed archive may unpack to this many times its size, plus `MAX_MEMBER`: images hardly compress."""

MAX_HEADER = 1 << 20
"""The most bytes of a header of a tar, such as a long name: tarfile would read one of any size into memory."""

_LARGEST = (1 << 63) - 1
"""The largest size of a file, and position in it."""

_ZIP_HEADER = 30
"""Bytes of the header before each file of a zip, without its name."""

_OPEN_STREAMS = 8

_CHUNK = 1 << 20
"""Bytes that are unpacked at a time."""


class _Stream(Protocol):
    """A seekable file, such as the decompressors of the standard library, which are not `BinaryIO`."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...

    def close(self) -> None: ...


Unpacker: TypeAlias = Callable[[BinaryIO], _Stream]

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


@dataclass(frozen=True, slots=True)
class ArchiveIndex:
    """What an archive contains.

    Attributes:
        members: Name -> entry, in the order of the archive; of several with one name, the last.
        problem: Why members may be missing.
    """

    members: dict[str, ImageRef]
    problem: BadImageError | None


def split_member(uri: str, access: Access) -> tuple[str, str] | None:
    """Split a name into an existing archive and a member; return None if it is not the name of a member."""
    at = uri.find("!/")
    while at >= 0:
        if is_archive_name(uri[:at]) and get_file_source(uri).is_file(uri[:at], access):
            return uri[:at], uri[at + 2 :]
        at = uri.find("!/", at + 1)
    return None


def list_members(path: str, skipped: SkippedFiles, access: Access) -> Iterator[ImageRef]:
    """List the images in an archive, in its order, without hidden ones, links and devices.

    Args:
        path: the path or URI of the archive.
        skipped: counts the files that are left out because of their suffix.
        access: how buckets are accessed.

    Yields:
        The entries; if the archive is damaged, the last one is the archive itself: reading it gives the reason.
    """
    archive = get_file_source(path).stat(path, access)
    index = _read_index(archive, access)
    for name, ref in index.members.items():
        if _is_hidden(name):
            continue
        if is_image_name(name):
            yield ref
        else:
            skipped.add(name)
    if index.problem is not None:
        yield archive


def stat(uri: str, access: Access) -> ImageRef:
    """Return the entry of a member, or of an archive itself; with size 0 and no token if it does not exist."""
    parts = split_member(uri, access)
    if parts is None:
        return get_file_source(uri).stat(uri, access)
    path, name = parts
    return _read_index(get_file_source(path).stat(path, access), access).members.get(name, ImageRef(uri, 0, ""))


@contextmanager
def open_entry(ref: ImageRef, access: Access) -> Iterator[BinaryIO]:
    """Open a member, if the archive is the one that was listed.

    Raises:
        BadImageError: where it cannot be read; for an archive itself, the reason why it is damaged.
    """
    parts = split_member(ref.uri, access)
    if parts is None:
        raise _read_index(get_file_source(ref.uri).stat(ref.uri, access), access).problem or BadImageError(
            ErrorCode.CHANGED, "the archive is whole by now"
        )
    if not ref.mtime_or_etag:
        ref = stat(ref.uri, access)
    if not ref.mtime_or_etag:
        problem = _read_index(get_file_source(parts[0]).stat(parts[0], access), access).problem
        raise problem or BadImageError(ErrorCode.MISSING, "the archive has no such file")
    if ref.size > MAX_MEMBER:
        raise BadImageError(ErrorCode.TOO_LARGE, f"{ref.size:,} bytes; {MAX_MEMBER:,} are possible in an archive")
    token, size, *location = ref.mtime_or_etag.split(":")
    archive = ImageRef(parts[0], int(size), token)
    with get_file_source(archive.uri).open_entry(archive, access, parts=True) as file:
        data = (_open_in_zip if len(location) > 1 else _open_in_tar)(
            file, archive, access, ref.size, *map(int, location)
        )
    yield io.BytesIO(data)


def _is_hidden(name: str) -> bool:
    """Names with `..` in them, which lead out of the archive, count as hidden."""
    *folders, file = name.split("/")
    return file.startswith(".") or any(map(is_excluded_folder, folders))


# --- the index --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _read_index(archive: ImageRef, access: Access) -> ArchiveIndex:
    members: dict[str, ImageRef] = {}
    problem = None
    try:
        with get_file_source(archive.uri).open_entry(archive, access, parts=True) as file:
            head = file.read(4)
            file.seek(0)
            for name, size, *location in (_read_zip_members if head.startswith(b"PK") else _read_tar_members)(
                file, archive.size
            ):
                if not all(0 <= number <= _LARGEST for number in (size, *location)):
                    raise BadImageError(ErrorCode.CORRUPT, "the archive is broken: its list has impossible sizes")
                name = posixpath.normpath(name).lstrip("/")
                token = ":".join(map(str, (archive.mtime_or_etag, archive.size, *location)))
                members.pop(name, None)
                members[name] = ImageRef(f"{archive.uri}!/{name}", size, token)
    except BadImageError as error:
        problem = error
    return ArchiveIndex(members, problem)


def _read_tar_members(file: BinaryIO, size: int) -> Iterator[tuple[str, int, int]]:
    """Yield the name, size and first byte of each file; raise `BadImageError` at the first damage."""
    unpacker = _find_unpacker(file)
    unpacked = _BoundedFile(unpacker(file) if unpacker else file, MAX_MEMBER + MAX_RATIO * size)
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
        _refuse_read_error(error)
        code, text = _READ_ERRORS.get(str(error), (ErrorCode.CORRUPT, f"the archive is broken: {error}"))
        raise BadImageError(code, text) from None


def _read_zip_members(file: BinaryIO, size: int) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield the name, size, position of the local header, packed size and checksum of each file."""
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except zipfile.BadZipFile as error:
        _refuse_read_error(error.__context__)
        code = ErrorCode.TRUNCATED if "not a zip file" in str(error) else ErrorCode.CORRUPT
        raise BadImageError(code, f"the archive's list of files, at its end, is missing or broken: {error}") from None
    except Exception as error:  # zipfile raises anything on broken lists
        _refuse_read_error(error)
        raise BadImageError(ErrorCode.CORRUPT, f"the archive's list of files is broken: {error}") from None
    _refuse_bomb(infos, size)
    for info in infos:
        if not info.is_dir() and not stat_module.S_ISLNK(info.external_attr >> 16):
            yield from_utf8(info.filename), info.file_size, info.header_offset, info.compress_size, info.CRC


def _refuse_read_error(error: BaseException | None) -> None:
    """Raise errors of the file system, or a bucket, again: the archive may be undamaged."""
    if isinstance(error, BadImageError):
        raise error
    if isinstance(error, OSError) and error.errno not in (
        None,
        errno.EINVAL,
    ):  # others: of a decompressor, or of an impossible position
        raise error


def _refuse_bomb(infos: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Raise `BadImageError` if the files of a zip overlap, or unpack to too much for an archive of `size` bytes.

    By overlapping files, a small zip can unpack to any size: D. Fifield, A better zip bomb, WOOT 2019.
    """
    end, limit = 0, MAX_MEMBER + MAX_RATIO * size
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise BadImageError(ErrorCode.CORRUPT, f"the archive is broken: its files overlap at byte {end}")
        end = info.header_offset + _ZIP_HEADER + info.compress_size  # a lower bound: the name and extra fields follow
    if sum(info.file_size for info in infos) > limit:
        raise _make_bomb_error(limit)


def _make_bomb_error(limit: int) -> BadImageError:
    return BadImageError(ErrorCode.TOO_LARGE, f"the archive unpacks to more than {limit:,} bytes")


class _BoundedFile(io.RawIOBase):
    """A file of which only the first `limit` bytes can be read, and about `MAX_HEADER` of them between two seeks.

    tarfile seeks before each header. It reads a header at once, or, from Python 3.14 on, in pieces.
    """

    def __init__(self, file: _Stream, limit: int) -> None:
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
            raise _make_bomb_error(self._limit)


# --- a member ---------------------------------------------------------------------------------------------------------


def _open_in_tar(file: BinaryIO, archive: ImageRef, access: Access, size: int, start: int) -> bytes:
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
        raise _explain_early_end()
    return data


def _explain_early_end() -> BadImageError:
    return BadImageError(ErrorCode.TRUNCATED, "the archive ends in the midst of this file")


def _find_unpacker(file: BinaryIO) -> Unpacker | None:
    """The decompressor of the tar in `file`, which is at its beginning; None if it is not compressed."""
    head = file.read(6)
    file.seek(0)
    return next((unpacker for signature, unpacker in _UNPACKERS.items() if head.startswith(signature)), None)


class _StreamPool:
    """Open compressed tars, which can only be read forward: each is kept at its position for the next reader."""

    def __init__(self) -> None:
        self._idle: list[tuple[tuple[ImageRef, Access], BinaryIO, _Stream]] = []
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

    def _take(self, archive: ImageRef, access: Access, unpacker: Unpacker, start: int) -> tuple[BinaryIO, _Stream]:
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


def _open_in_zip(
    file: BinaryIO, archive: ImageRef, _: Access, size: int, start: int, packed: int, checksum: int
) -> bytes:
    """By the local header: zipfile would read the index again, and unpacks some methods without a limit."""
    file.seek(min(start, archive.size))
    header = file.read(_ZIP_HEADER)
    if len(header) < _ZIP_HEADER or not header.startswith(b"PK\x03\x04"):
        raise BadImageError(ErrorCode.CORRUPT, "the archive is broken: no file begins where its list says")
    flags, method, name, extra = (int.from_bytes(header[i : i + 2], "little") for i in (6, 8, 26, 28))
    if flags & 1:
        raise BadImageError(ErrorCode.UNSUPPORTED, "it is encrypted")
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        how = zipfile.compressor_names.get(  # type: ignore[attr-defined]  # not in typeshed
            method, f"method {method}"
        )
        raise BadImageError(ErrorCode.UNSUPPORTED, f"it is packed by {how}; stored and deflated files can be read")
    if packed > MAX_MEMBER:
        raise BadImageError(ErrorCode.TOO_LARGE, f"{packed:,} packed bytes; {MAX_MEMBER:,} are possible")
    file.seek(start + _ZIP_HEADER + name + extra)
    try:
        data = _inflate(file, packed, size) if method == zipfile.ZIP_DEFLATED else file.read(packed)
    except zlib.error as error:
        raise BadImageError(ErrorCode.CORRUPT, f"it cannot be unpacked: {error}") from None
    if method == zipfile.ZIP_STORED and len(data) < packed:
        raise _explain_early_end()
    if len(data) != size or zlib.crc32(data) != checksum:
        raise BadImageError(ErrorCode.CORRUPT, "it is not what the archive's list says")
    return data


def _inflate(file: BinaryIO, packed: int, size: int) -> bytes:
    """Unpack the next `packed` bytes of a file, to hardly more than `size` bytes, without copies of them in memory."""
    unpacker, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), io.BytesIO()
    while packed and unpacked.tell() <= size:
        part = file.read(min(packed, _CHUNK))
        if not part:
            raise _explain_early_end()
        packed -= len(part)
        while unpacked.tell() <= size:
            written = unpacked.write(unpacker.decompress(part, _CHUNK))
            part = unpacker.unconsumed_tail
            if not part and written < _CHUNK:
                break
    return unpacked.getvalue()
