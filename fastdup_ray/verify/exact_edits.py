"""Edits in an image that is otherwise as it was, pixel by pixel, such as one more dot in a drawing of two colors.

They are too small to be told from compression. But nothing was compressed or resampled: it would have left hardly any
place with something to see as it was.
"""

import numpy as np

from fastdup_ray.common.arrays import ByteArray
from fastdup_ray.verify.difference import BUSY, WINDOW
from fastdup_ray.verify.filters import measure_deviation, measure_rms, subtract, to_gray
from fastdup_ray.verify.toned_image import STEP

UNTOUCHED, LEAST_UNTOUCHED = 0.5, 0.2
"""Gray levels, root mean square in a window, below which a place is as it was, and part of the places with something to
see that have to be."""

EDITED = 96
"""Gray levels by which an edited pixel differs. Of 250 images out of `-doc` packages that were saved as GIF, whose
palette leaves many places as they were, none has such a pixel; of 419 that were made brighter none, either."""


def find_edit(first: ByteArray, second: ByteArray) -> tuple[float, float, float, float] | None:
    """Find what was edited in one of two images.

    Args:
        first: (height, width, 3) uint8 RGB.
        second: The same of the other image.

    Returns:
        left, top, right and bottom of all edited pixels, from 0 to 1; None if there are none, if the images are of
        different sizes, or if they were compressed or resampled.
    """
    if first.shape != second.shape:
        return None
    grays = to_gray(first), to_gray(second)
    difference = subtract(*grays)
    rows, columns = np.nonzero(difference >= EDITED)
    if not len(rows):
        return None
    deviation, other_deviation = (measure_deviation(gray, WINDOW, STEP) for gray in grays)
    busy = np.maximum(deviation, other_deviation) > BUSY
    untouched = measure_rms(difference, WINDOW, STEP)[busy] < UNTOUCHED
    if np.count_nonzero(untouched) < LEAST_UNTOUCHED * untouched.size:
        return None
    height, width = difference.shape
    return (
        int(columns.min()) / width,
        int(rows.min()) / height,
        (int(columns.max()) + 1) / width,
        (int(rows.max()) + 1) / height,
    )
