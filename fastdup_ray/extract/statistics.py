"""Statistics of an image: brightness, contrast, sharpness and number of colors."""

import numpy as np
from PIL import Image

from fastdup_ray.common.arrays import ByteArray
from fastdup_ray.common.records import Statistics

_SLOT_BITS = 16
_MULTIPLIER = 0x9E3779B1
"""Multiplicative hashing of colors: 2^32 by the golden ratio, see Knuth, The Art of Computer Programming 3, 6.4."""

_OPAQUE = 0xFF000000
"""Set as the fourth byte of each color, so that no color is 0, which marks an empty slot."""


def compute_statistics(image: Image.Image) -> Statistics:
    """Compute the statistics of an image.

    All sums are of integers, so that they do not depend on the order in which a processor adds.

    Args:
        image: An image in mode RGB; its blur is 0 if it has fewer than 3 pixels a side.

    Returns:
        The statistics, rounded to 6 decimals.
    """
    luma = image.convert("L")
    gray, counts, levels = np.asarray(luma), np.array(luma.histogram()), np.arange(256)
    brightness = int(counts @ levels) / gray.size
    variance = int(counts @ levels**2) / gray.size - brightness**2
    return Statistics(
        round(brightness, 6),
        round(max(0.0, variance) ** 0.5, 6),
        round(_measure_sharpness(gray), 6),
        _count_unique_colors(image),
    )


def _measure_sharpness(gray: ByteArray) -> float:
    """Return the variance of the Laplacian, as OpenCV's `Laplacian(gray).var()` but without the outermost pixels."""
    signed = gray.astype(np.int16)
    laplacian = signed[:-2, 1:-1] + signed[2:, 1:-1] + signed[1:-1, :-2] + signed[1:-1, 2:] - 4 * signed[1:-1, 1:-1]
    values = laplacian.astype(np.float64).ravel()  # integers, whose sums are exact
    n = max(1, values.size)
    squares = np.einsum("i,i", values, values)  # `@` would wake the threads of BLAS for each image
    return float(squares / n - (values.sum() / n) ** 2)


def _count_unique_colors(image: Image.Image) -> int:
    """Return the number of colors. A slot keeps one of the colors that are hashed to it; the few others are sorted."""
    colors = np.frombuffer(image.tobytes("raw", "RGBX"), "<u4") | np.uint32(_OPAQUE)
    slots = ((colors * np.uint32(_MULTIPLIER)) >> np.uint32(32 - _SLOT_BITS)).astype(np.intp)
    kept = np.zeros(1 << _SLOT_BITS, np.uint32)
    kept[slots] = colors
    rest = np.sort(colors[kept.take(slots) != colors])
    return int(np.count_nonzero(kept)) + int(np.count_nonzero(np.diff(rest))) + bool(len(rest))
