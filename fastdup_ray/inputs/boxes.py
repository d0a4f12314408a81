"""Boxes of photos as images of their own: `photo.jpg#xywh=160,120,320,240` has left, top, width and height in pixels.

The form is that of W3C Media Fragments, as the names of frames are: https://www.w3.org/TR/media-frags/#naming-space. If
a photo has a box several times, the second one ends in `&n=2`, and so on.
"""

import hashlib
import re

from fastdup_ray.common.records import Box

LARGEST = 999_999_999
"""The largest number in a name."""

_BOX = re.compile(r"(.+)#xywh=(\d{1,9}),(\d{1,9}),(\d{1,9}),(\d{1,9})(?:&n=\d{1,9})?", re.DOTALL)


def format_box_suffix(box: Box, number: int = 1) -> str:
    """Return the suffix that makes the name of a box from that of its photo.

    Args:
        box: The box, in pixels of the upright photo.
        number: Counts equal boxes of one photo from 1.
    """
    suffix = f"#xywh={box.cols},{box.rows},{box.width},{box.height}"
    return suffix if number == 1 else f"{suffix}&n={number}"


def split_box(name: str) -> tuple[str, Box] | None:
    """Split the name of a box into photo and box; return None for other names."""
    match = _BOX.fullmatch(name) if "#xywh=" in name else None
    if match is None:
        return None
    left, top, width, height = map(int, match.groups()[1:])
    return match[1], Box(rows=top, cols=left, width=width, height=height)


def hash_box(sha256: str, box: Box) -> str:
    """Return the digest of a box, in hex, from that of its photo."""
    return hashlib.sha256(f"{sha256}{format_box_suffix(box)}".encode()).hexdigest()
