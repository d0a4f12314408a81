"""Statistics of an image: brightness, contrast, sharpness and number of colors."""

import numpy as np
from PIL import Image

from fastdup_ray.common.arrays import ByteArray
from fastdup_ray.common.records import Statistics


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
    n = max(1, laplacian.size)
    squares = np.square(laplacian, dtype=np.int32)
    mean = int(laplacian.sum(dtype=np.int64)) / n
    return float(int(squares.sum(dtype=np.int64)) / n - mean**2)


def _count_unique_colors(image: Image.Image) -> int:
    colors = np.asarray(image.convert("RGBA")).view(np.uint32)
    colors = np.sort(colors, axis=None)
    return 1 + int(np.count_nonzero(colors[1:] != colors[:-1]))
