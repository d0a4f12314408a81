"""Raw files of cameras by their structure: most are TIFF files whose directories have the samples of a sensor.

Their first image is a small preview, which Pillow would take for the whole file.
"""

import struct
from collections.abc import Iterator, Mapping

_TIFF = (b"II*\0", b"MM\0*")
_VARIANTS = (b"IIU\0", b"IIRO", b"IIRS", b"MMOR")
"""First bytes of Panasonic's and Olympus' forms of TIFF."""

_CANON = b"CR"
"""What follows the first directory's offset in a CR2."""

_FUJIFILM = b"FUJIFILMCCD-RAW "
_STARTS = (*_VARIANTS, _FUJIFILM, b"\0MRM", b"FOVb")
"""First bytes of raw files; the last three are of Fujifilm, Minolta and Sigma."""

_FUJIFILM_PARTS = (84, 92, 100)
"""Where the offset and the length of a part are, in 4 bytes each, the highest first."""

_COMPRESSION, _PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION = 259, 262, 330, 50706
"""TIFF tags."""

_STRIPS, _TILES = (273, 279), (324, 325)
"""TIFF tags with the offsets, and the lengths, of the parts of an image."""

_OF_SENSORS = (32803, 34892)
"""Values of `_PHOTOMETRIC`: a color filter array, and linear raw (DNG specification 1.7)."""

_OF_CAMERAS = (32767, 32769, 32770, 34713, 65000, 65535)
"""Values of `_COMPRESSION`: Sony, packed samples, Samsung, Nikon, Kodak, Pentax."""

_WITH_LENGTHS = (32767, 34713, 65535)
"""The ones of Sony, Nikon and Pentax, whose files have the lengths of compressed samples."""

_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I"}
"""Types of TIFF fields with integers -> how `struct` reads them."""

_MOST_DIRECTORIES, _MOST_FIELDS, _MOST_VALUES = 32, 1000, 1 << 16
_UNKNOWN = 0xFFFFFFFF

Directory = Mapping[int, tuple[int, ...]]


def is_raw(data: bytes) -> bool:
    """Return whether a file is the raw file of a camera."""
    head = data[:16]
    if head.startswith(_STARTS) or head[6:14] == b"HEAPCCDR" or head[4:12] == b"ftypcrx ":
        return True
    if not head.startswith(_TIFF):
        return False
    if head[8:10] == _CANON or head[8:12] in (b"IIII", b"MMMM"):  # the latter are of Phase One
        return True
    return any(_has_samples(fields) for fields in _iter_directories(data) if fields is not None)


def is_raw_truncated(data: bytes) -> bool:
    """Return whether a raw file is shorter than its structure says; False if it does not say."""
    if data.startswith(_FUJIFILM):
        return any(sum(struct.unpack_from(">II", data.ljust(112, b"\0"), at)) > len(data) for at in _FUJIFILM_PARTS)
    if data.startswith((*_TIFF, *_VARIANTS)):
        directories = list(_iter_directories(data))
        whole = [fields for fields in directories if fields is not None]
        has_lengths = data[8:10] == _CANON or any(map(_has_lengths, whole))
        return len(whole) < len(directories) or any(
            _find_end(fields, has_lengths=has_lengths) > len(data) for fields in whole
        )
    return False


def _has_samples(directory: Directory) -> bool:
    photometric, compression = directory.get(_PHOTOMETRIC, (0,)), directory.get(_COMPRESSION, (0,))
    return _DNG_VERSION in directory or photometric[0] in _OF_SENSORS or compression[0] in _OF_CAMERAS


def _has_lengths(directory: Directory) -> bool:
    """Return whether the lengths in a file with this directory are right; those of some cameras are not."""
    return _DNG_VERSION in directory or directory.get(_COMPRESSION, (0,))[0] in _WITH_LENGTHS


def _find_end(directory: Directory, *, has_lengths: bool) -> int:
    """Return the end of the last strip or tile of an image, or at least its beginning."""
    ends = [0]
    for offsets, lengths in (_STRIPS, _TILES):
        pairs = zip(directory.get(offsets, ()), directory.get(lengths, ()), strict=False)
        ends += [offset + (length if has_lengths else 0) for offset, length in pairs if offset != _UNKNOWN]
    return max(ends)


def _iter_directories(data: bytes) -> Iterator[Directory | None]:
    """Yield the integer fields of the directories of a TIFF, and of those below them; None for one beyond the end."""
    order = "<" if data[:1] == b"I" else ">"
    offsets = list(struct.unpack_from(f"{order}I", data.ljust(8, b"\0"), 4))
    seen: set[int] = set()
    while offsets and len(seen) < _MOST_DIRECTORIES:
        offset = offsets.pop(0)
        if offset in seen or offset == 0:
            continue
        seen.add(offset)
        if offset + 2 > len(data):
            yield None
            continue
        (count,) = struct.unpack_from(f"{order}H", data, offset)
        end = offset + 2 + 12 * count
        if count > _MOST_FIELDS or end > len(data):  # something else is there
            continue
        directory = dict(_iter_fields(data, order, offset + 2, count))
        yield directory
        offsets += directory.get(_SUB_IFDS, ())
        offsets += struct.unpack_from(f"{order}I", data, end) if end + 4 <= len(data) else ()


def _iter_fields(data: bytes, order: str, start: int, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    for place in range(start, start + 12 * count, 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", data, place)
        if kind not in _FORMATS or not 0 < length <= _MOST_VALUES:
            continue
        form = f"{order}{length}{_FORMATS[kind]}"
        size = struct.calcsize(form)
        at = place + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, place + 8)[0]
        if at + size <= len(data):
            yield tag, struct.unpack_from(form, data, at)
