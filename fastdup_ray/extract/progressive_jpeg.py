"""Leave out of a progressive JPEG what is not seen at an eighth of its size, which is most of the work to decode it.

At this size each block of 8 × 8 samples becomes one: its mean, the first of its 64 coefficients. A progressive file has
the others in scans of their own. The decoder would read them all, and use none.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_START_OF_FRAME, _START_OF_SCAN, _END_OF_IMAGE = 0xC2, 0xDA, 0xD9
_OTHER_FRAMES = {0xC0, 0xC1, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
"""Markers: ITU-T T.81, B.1.1.3."""

_COEFFICIENTS, _MAX_COMPONENTS = 64, 4
"""Of a block, and of a scan."""

_SEGMENT = re.compile(rb"\xff+([\xc0-\xcf\xd9-\xfe])")
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker that ends the coded samples of a scan: none that restarts it, and no 255 among the samples."""


class _Scan(NamedTuple):
    """The header of a scan: ITU-T T.81, B.2.3.

    Attributes:
        components: Their numbers.
        coefficients: Of each block, 0 being the mean.
        missing_bits: Lowest bits of the coefficients that a later scan has.
    """

    components: bytes
    coefficients: range
    missing_bits: int


def leave_out_details(data: bytes) -> bytes | None:
    """Return a progressive JPEG without the coded samples that are not seen at an eighth of its size.

    The headers of the scans stay, so that a decoder checks them as before. What subsampled colors have is left in: at
    an eighth of the size of the image they are at a quarter of theirs.

    Args:
        data: The bytes of the file.

    Returns:
        Bytes that give the same pixels at that size. None if the file is not a whole progressive JPEG: if it lacks
        coefficients, the decoder guesses the means from those that there are.
    """
    parts: list[bytes] = []
    kept_to = 0
    sampling: dict[int, int] = {}
    exact: set[tuple[int, int]] = set()
    for marker, content, start, end in _iter_segments(data):
        if marker == _END_OF_IMAGE:
            parts.append(data[kept_to:])
            return b"".join(parts) if len(exact) == _COEFFICIENTS * len(sampling) else None
        if marker in _OTHER_FRAMES or (marker == _START_OF_FRAME and sampling):
            return None
        if marker == _START_OF_FRAME:
            sampling = dict(zip(content[6::3], content[7::3], strict=False))
        elif marker == _START_OF_SCAN:
            scan = _read_scan(content)
            if scan is None or not sampling.keys() >= set(scan.components):
                return None
            coded = {(component, coefficient) for component in scan.components for coefficient in scan.coefficients}
            exact = exact - coded if scan.missing_bits else exact | coded
            if 0 not in scan.coefficients and not _is_subsampled(scan.components, sampling):
                parts.append(data[kept_to:start])
                kept_to = end
    return None


def _iter_segments(data: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield marker and content of each segment, and where the coded samples behind it start and end.

    Ends early where the file does, or where it has something else than segments.
    """
    position = 2  # behind the marker that starts the image
    while found := _SEGMENT.match(data, position):
        marker, start = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            yield marker, b"", start, start
            return
        content, start = start + 2, start + int.from_bytes(data[start : start + 2], "big")
        if not content <= start <= len(data):
            return
        after = _NEXT_MARKER.search(data, start) if marker == _START_OF_SCAN else None
        position = after.start() if after else start
        yield marker, data[content:start], start, position


def _read_scan(content: bytes) -> _Scan | None:
    """Return the header of a scan; None if it is not one."""
    count = (len(content) - 4) // 2
    if not 1 <= count <= _MAX_COMPONENTS or content[0] != count or len(content) % 2 or content[-2] >= _COEFFICIENTS:
        return None
    return _Scan(content[1:-3:2], range(content[-3], content[-2] + 1), content[-1] & 15)


def _is_subsampled(components: bytes, sampling: dict[int, int]) -> bool:
    """Return whether one of the components has fewer samples than another one of the image, across or down."""
    across, down = max(factor >> 4 for factor in sampling.values()), max(factor & 15 for factor in sampling.values())
    return any(sampling[component] != across << 4 | down for component in components)
