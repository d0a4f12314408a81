"""How bright, rich in contrast, blurred and colourful a picture is."""

import numpy as np
from PIL import Image

from fastdup_ray.common.records import Statistics


def compute_statistics(image: Image.Image) -> Statistics:
    """Of a picture in RGB, 3 pixels a side or more; else blur is 0. Reals have 6 decimals.

    Sums are of whole numbers, so that they are the same in whatever order a processor adds them up.
    """
    shown = image.convert("L")
    grey, counts, levels = np.asarray(shown), np.array(shown.histogram()), np.arange(256)
    brightness = int(counts @ levels) / grey.size
    variance = int(counts @ levels**2) / grey.size - brightness**2
    return Statistics(
        round(brightness, 6),
        round(max(0.0, variance) ** 0.5, 6),
        round(_measure_sharpness(grey), 6),
        _count_unique_colors(image),
    )


def _measure_sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian inside the border, as OpenCV's `Laplacian(grey).var()` but for that border."""
    signed = grey.astype(np.int16)
    laplacian = signed[:-2, 1:-1] + signed[2:, 1:-1] + signed[1:-1, :-2] + signed[1:-1, 2:] - 4 * signed[1:-1, 1:-1]
    n = max(1, laplacian.size)
    squares = np.square(laplacian, dtype=np.int32)
    return int(squares.sum(dtype=np.int64)) / n - (int(laplacian.sum(dtype=np.int64)) / n) ** 2


def _count_unique_colors(image: Image.Image) -> int:
    colors = np.asarray(image.convert("RGBA")).view(np.uint32)
    colors = np.sort(colors, axis=None)
    return 1 + int(np.count_nonzero(colors[1:] != colors[:-1]))
