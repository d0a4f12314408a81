"""The header of a JPEG XL image: ISO/IEC 18181-1, D.2 and D.3. Its decoder does not say all of this, or too late."""

from collections.abc import Iterator
from dataclasses import dataclass

from fastdup_ray.errors import BadImageError, ErrorCode

_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
"""First bytes of a file: ISO/IEC 18181-2, 9."""

_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, by the numbers 1 to 7."""

_SIDEWAYS = (5, 6, 7, 8)

_HEADER = 256
"""Bytes in which the parts of a header that are read have room."""


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """What the header of a JPEG XL image says.

    Attributes:
        size: Width and height in pixels, upright.
        is_animated: Whether there is more than one frame.
        is_deep: Whether samples have more than 8 bits.
        extra_channels: The number of channels besides colors, of which opacity is one.
    """

    size: tuple[int, int]
    is_animated: bool = False
    is_deep: bool = False
    extra_channels: int = 0


def is_jxl(data: bytes) -> bool:
    """Return whether a file is a JPEG XL image."""
    return data.startswith((_CODESTREAM, _CONTAINER))


def read_jxl_header(data: bytes) -> JxlHeader:
    """Read the header of a JPEG XL image.

    Raises:
        BadImageError: The file ends before its header does.
    """
    bits = _Bits(b"".join(_iter_codestream(data))[len(_CODESTREAM) :][:_HEADER])
    size = bits.read_size()
    if bits.read(1):  # all else is as by default
        return JxlHeader(size)
    is_animated = False
    if bits.read(1):
        if bits.read(3) + 1 in _SIDEWAYS:
            size = size[::-1]
        if bits.read(1):
            bits.read_size()  # the size at which it should be shown
        if bits.read(1):
            bits.skip_preview_size()
        is_animated = bool(bits.read(1))
        if is_animated:
            bits.skip_animation()
    is_deep = bits.is_deep()
    bits.read(1)  # whether 16 bits are enough to decode it
    return JxlHeader(size, is_animated, is_deep, bits.read_number((0, 0), (1, 0), (2, 4), (1, 12)))


def _iter_codestream(data: bytes) -> Iterator[bytes]:
    """Yield the codestream, up to the box in which its header ends; without a container, it is the file."""
    if not data.startswith(_CONTAINER):
        yield data
        return
    offset, found = 0, 0
    while offset + 8 <= len(data) and found < _HEADER:
        length, kind = int.from_bytes(data[offset : offset + 4], "big"), data[offset + 4 : offset + 8]
        start = offset + 8
        if length == 1:
            length, start = int.from_bytes(data[offset + 8 : offset + 16], "big"), offset + 16
        end = len(data) if length == 0 else offset + length
        if end < start:
            return
        if kind in (b"jxlc", b"jxlp"):
            part = data[start + (4 if kind == b"jxlp" else 0) : min(end, start + _HEADER)]
            found += len(part)
            yield part
        offset = end


class _Bits:
    """Reads bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._left:
            raise BadImageError(ErrorCode.TRUNCATED, "the file ends or breaks inside its header")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def read_number(self, *forms: tuple[int, int]) -> int:
        """Read a U32: two bits choose one of four forms, each an offset and the number of bits that are added."""
        offset, count = forms[self.read(2)]
        return offset + self.read(count)

    def read_size(self) -> tuple[int, int]:
        """Read a SizeHeader: width and height."""
        if self.read(1):
            height = 8 * (1 + self.read(5))
            ratio = self.read(3)
            return _apply_ratio(height, ratio) if ratio else (8 * (1 + self.read(5)), height)
        forms = ((1, 9), (1, 13), (1, 18), (1, 30))
        height = self.read_number(*forms)
        ratio = self.read(3)
        return _apply_ratio(height, ratio) if ratio else (self.read_number(*forms), height)

    def skip_preview_size(self) -> None:
        forms = ((16, 0), (32, 0), (1, 5), (33, 9)) if self.read(1) else ((1, 6), (65, 8), (321, 10), (1345, 12))
        self.read_number(*forms)
        if not self.read(3):
            self.read_number(*forms)

    def skip_animation(self) -> None:
        self.read_number((100, 0), (1000, 0), (1, 10), (1, 30))
        self.read_number((1, 0), (1001, 0), (1, 8), (1, 10))
        self.read_number((0, 0), (0, 3), (0, 16), (0, 32))
        self.read(1)

    def is_deep(self) -> bool:
        """Read a BitDepth: whether it has floats, or more than 8 bits."""
        if self.read(1):
            self.read_number((32, 0), (16, 0), (24, 0), (1, 6))
            self.read(4)
            return True
        return self.read_number((8, 0), (10, 0), (12, 0), (1, 6)) > 8


def _apply_ratio(height: int, ratio: int) -> tuple[int, int]:
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height
