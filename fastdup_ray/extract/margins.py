"""Bars and frames of one colour around a picture: a copy with a border shows the same."""

import numpy as np

FLAT = 4.0
"""Grey levels that a line of a margin may be away from the margin's colour, on average."""

STEP = 24.0
"""Grey levels by which the first or second line inside differs at least: a sky that fades is not a margin."""

MARK = 24.0
"""Grey levels by which something in a margin differs from its color that is no noise of compression."""

WIDEST = 0.3
"""Of the side; what is wider belongs to the picture."""


def find_content_box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """left, top, right, bottom of what lies inside the margins of (height, width, 3) uint8; the whole without any."""
    height, width = pixels.shape[:2]
    top, bottom = _measure_margin(pixels), _measure_margin(pixels[::-1])
    columns = pixels[top : height - bottom].swapaxes(0, 1)
    return _measure_margin(columns), top, width - _measure_margin(columns[::-1]), height - bottom


def has_marks(pixels: np.ndarray, box: tuple[int, int, int, int]) -> bool:
    """Whether something is drawn in the margins outside of `box`, which `inside` gave: a caption, a page number."""
    left, top, right, bottom = box
    columns = pixels[top:bottom].swapaxes(0, 1)
    margins = pixels[:top], pixels[bottom:][::-1], columns[:left], columns[right:][::-1]
    return any(np.abs(margin - margin[0].mean(axis=0)).max() > MARK for margin in margins if len(margin))


def _measure_margin(lines: np.ndarray) -> int:
    """How many of the first lines, (n, m, 3), are margin."""
    first = lines[0].astype(np.float32)
    colour = first.sum(axis=0) / len(first)
    if np.abs(first - colour).sum() >= FLAT * first.size:
        return 0
    widest = int(len(lines) * WIDEST)
    away = np.abs(lines[: widest + 2] - colour).mean(axis=(1, 2))
    inner = np.flatnonzero(away[: widest + 1] >= FLAT)
    if len(inner) == 0:
        return 0
    depth = int(inner[0])
    return depth if away[depth : depth + 2].max() >= STEP else 0
