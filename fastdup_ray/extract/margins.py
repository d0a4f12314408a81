"""Margins of one color around an image: a copy with a border or bars shows the same as its original."""

import numpy as np

from fastdup_ray.common.arrays import ByteArray

FLAT = 4.0
"""Mean difference in gray levels between a line of a margin and the margin's color, below which it is part of it."""

STEP = 24.0
"""Mean difference of the first or second line inside from which on the edge is sharp: a sky that fades is no margin."""

MARK = 24.0
"""Difference in gray levels above which something in a margin is a mark, not noise of compression."""

WIDEST = 0.3
"""Share of a side up to which a margin is one; if wider it is part of the image."""


def find_content_box(pixels: ByteArray) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of what the margins enclose; the whole image if there are none.

    Args:
        pixels: (height, width, 3) uint8, RGB.
    """
    height, width = pixels.shape[:2]
    top, bottom = _measure_margin(pixels), _measure_margin(pixels[::-1])
    columns = pixels[top : height - bottom].swapaxes(0, 1)
    return _measure_margin(columns), top, width - _measure_margin(columns[::-1]), height - bottom


def has_marks(pixels: ByteArray, box: tuple[int, int, int, int]) -> bool:
    """Return whether something is drawn in the margins, such as a caption or a page number.

    Args:
        pixels: (height, width, 3) uint8, RGB.
        box: What `find_content_box` returned for them.
    """
    left, top, right, bottom = box
    columns = pixels[top:bottom].swapaxes(0, 1)
    margins = pixels[:top], pixels[bottom:][::-1], columns[:left], columns[right:][::-1]
    return any(np.abs(margin - margin[0].mean(axis=0)).max() > MARK for margin in margins if len(margin))


def _measure_margin(lines: ByteArray) -> int:
    """Return how many of the first lines, (n, m, 3), are margin."""
    first = lines[0].astype(np.float32)
    color = first.sum(axis=0) / len(first)
    if np.abs(first - color).sum() >= FLAT * first.size:
        return 0
    widest = int(len(lines) * WIDEST)
    differences = np.abs(lines[: widest + 2] - color).mean(axis=(1, 2))
    inner = np.flatnonzero(differences[: widest + 1] >= FLAT)
    if len(inner) == 0:
        return 0
    depth = int(inner[0])
    return depth if differences[depth : depth + 2].max() >= STEP else 0
