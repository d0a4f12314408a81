"""Zip archives: what is in them, and the bytes of a member."""

import io
import stat as stat_module
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from fastdup_ray.common.names import from_utf8
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.inputs import archive_limits
from fastdup_ray.inputs.archive_limits import describe_bomb, describe_early_end, get_unpacked_limit, raise_read_error

_HEADER = 30
"""Bytes of the header before each file of a zip, without its name."""

_CHUNK = 1 << 20
"""Bytes that are unpacked at a time."""


def list_zip(file: BinaryIO, size: int) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield the name, size, position of the local header, packed size and checksum of each file."""
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except zipfile.BadZipFile as error:
        raise_read_error(error.__context__)
        code = ErrorCode.TRUNCATED if "not a zip file" in str(error) else ErrorCode.CORRUPT
        raise BadImageError(code, f"the archive's list of files, at its end, is missing or broken: {error}") from None
    except Exception as error:  # zipfile raises anything on broken lists
        raise_read_error(error)
        raise BadImageError(ErrorCode.CORRUPT, f"the archive's list of files is broken: {error}") from None
    _refuse_bomb(infos, size)
    for info in infos:
        if not info.is_dir() and not stat_module.S_ISLNK(info.external_attr >> 16):
            yield from_utf8(info.filename), info.file_size, info.header_offset, info.compress_size, info.CRC


def _refuse_bomb(infos: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Raise `BadImageError` if the files of a zip overlap, or unpack to too much for an archive of `size` bytes.

    By overlapping files, a small zip can unpack to any size: D. Fifield, A better zip bomb, WOOT 2019.
    """
    end, limit = 0, get_unpacked_limit(size)
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise BadImageError(ErrorCode.CORRUPT, f"the archive is broken: its files overlap at byte {end}")
        end = info.header_offset + _HEADER + info.compress_size  # a lower bound: the name and extra fields follow
    if sum(info.file_size for info in infos) > limit:
        raise describe_bomb(limit)


def read_from_zip(file: BinaryIO, archive_size: int, size: int, start: int, packed: int, checksum: int) -> bytes:
    """Return the bytes of a member.

    zipfile would read the index again, and unpacks some methods without a limit.

    Args:
        file: The archive.
        archive_size: Its bytes.
        size: Bytes of the member.
        start: Position of its local header.
        packed: Its bytes in the archive.
        checksum: CRC-32 of its bytes.

    Raises:
        BadImageError: It cannot be unpacked, or is not what the index says.
    """
    file.seek(min(start, archive_size))
    header = file.read(_HEADER)
    if len(header) < _HEADER or not header.startswith(b"PK\x03\x04"):
        raise BadImageError(ErrorCode.CORRUPT, "the archive is broken: no file begins where its list says")
    flags, method, name, extra = (int.from_bytes(header[i : i + 2], "little") for i in (6, 8, 26, 28))
    if flags & 1:
        raise BadImageError(ErrorCode.UNSUPPORTED, "it is encrypted")
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        how = zipfile.compressor_names.get(  # type: ignore[attr-defined]  # not in typeshed
            method, f"method {method}"
        )
        raise BadImageError(ErrorCode.UNSUPPORTED, f"it is packed by {how}; stored and deflated files can be read")
    if packed > archive_limits.MAX_MEMBER:
        raise BadImageError(ErrorCode.TOO_LARGE, f"{packed:,} packed bytes; {archive_limits.MAX_MEMBER:,} are possible")
    file.seek(start + _HEADER + name + extra)
    try:
        data = _inflate(file, packed, size) if method == zipfile.ZIP_DEFLATED else file.read(packed)
    except zlib.error as error:
        raise BadImageError(ErrorCode.CORRUPT, f"it cannot be unpacked: {error}") from None
    if method == zipfile.ZIP_STORED and len(data) < packed:
        raise describe_early_end()
    if len(data) != size or zlib.crc32(data) != checksum:
        raise BadImageError(ErrorCode.CORRUPT, "it is not what the archive's list says")
    return data


def _inflate(file: BinaryIO, packed: int, size: int) -> bytes:
    """Unpack the next `packed` bytes of a file, to hardly more than `size` bytes, without copies of them in memory."""
    unpacker, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), io.BytesIO()
    while packed and unpacked.tell() <= size:
        part = file.read(min(packed, _CHUNK))
        if not part:
            raise describe_early_end()
        packed -= len(part)
        while unpacked.tell() <= size:
            written = unpacked.write(unpacker.decompress(part, _CHUNK))
            part = unpacker.unconsumed_tail
            if not part and written < _CHUNK:
                break
    return unpacked.getvalue()
