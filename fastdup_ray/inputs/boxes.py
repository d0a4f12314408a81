"""Boxes of photos as images of their own: `photo.jpg#xywh=160,120,320,240` has left, top, width and height in pixels.

Boxes in parts of the photo, as YOLO has them, are in percent: `photo.jpg#xywh=percent:12.5,20,50,37.5`. The size of a
photo is not known before it is decoded, so they become pixels only where pixels are cropped (`AnyBox.resolve`); until
then, their names say exactly what the file says. YOLO writes parts with six decimals, and centers instead of edges, so
an edge in percent has up to five decimals; zeros at their end are not written.

The form is that of W3C Media Fragments, as the names of frames are: https://www.w3.org/TR/media-frags/#naming-space;
decimals are ours. If a photo has a box several times, the second one ends in `&n=2`, and so on.
"""

import hashlib
import re

from fastdup_ray.common.records import AnyBox, Box, RelativeBox

LARGEST = 999_999_999
"""The largest number in a name, in pixels or in units of `RelativeBox`."""

_PERCENT = RelativeBox.UNITS // 100

_END = r"(?:&n=\d{1,9})?"
_BOX = re.compile(rf"(.+)#xywh=(\d{{1,9}}),(\d{{1,9}}),(\d{{1,9}}),(\d{{1,9}}){_END}", re.DOTALL)
_EDGE = r"(\d{1,4}(?:\.\d{1,5})?)"
_RELATIVE_BOX = re.compile(rf"(.+)#xywh=percent:{_EDGE},{_EDGE},{_EDGE},{_EDGE}{_END}", re.DOTALL)


def format_box_suffix(box: AnyBox, number: int = 1) -> str:
    """Return the suffix that makes the name of a box from that of its photo.

    Args:
        box: The box, of the upright photo.
        number: Counts equal boxes of one photo from 1.
    """
    if isinstance(box, RelativeBox):
        suffix = f"#xywh=percent:{','.join(map(_format_percent, (box.left, box.top, box.width, box.height)))}"
    else:
        suffix = f"#xywh={box.cols},{box.rows},{box.width},{box.height}"
    return suffix if number == 1 else f"{suffix}&n={number}"


def split_box(name: str) -> tuple[str, AnyBox] | None:
    """Split the name of a box into photo and box; return None for other names."""
    if "#xywh=" not in name:
        return None
    if match := _RELATIVE_BOX.fullmatch(name):
        return match[1], RelativeBox(*map(_parse_percent, match.groups()[1:]))
    if match := _BOX.fullmatch(name):
        left, top, width, height = map(int, match.groups()[1:])
        return match[1], Box(rows=top, cols=left, width=width, height=height)
    return None


def hash_box(sha256: str, box: AnyBox) -> str:
    """Return the digest of a box, in hex, from that of its photo."""
    return hashlib.sha256(f"{sha256}{format_box_suffix(box)}".encode()).hexdigest()


def _format_percent(units: int) -> str:
    whole, rest = divmod(units, _PERCENT)
    return f"{whole}.{rest:05}".rstrip("0") if rest else str(whole)


def _parse_percent(text: str) -> int:
    whole, _, rest = text.partition(".")
    return int(whole) * _PERCENT + int(rest.ljust(5, "0"))
