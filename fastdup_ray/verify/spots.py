"""Spots that only one of two aligned images has, such as dust that was removed.

They differ by less than compression may change, but where there is nothing else to see, and where next to nothing else
differs.
"""

import numpy as np

from fastdup_ray.common.arrays import BoolArray, ByteArray, FloatArray
from fastdup_ray.verify.filters import (
    grow,
    halve,
    interpolate,
    measure_means,
    quantile,
    sample_pixels,
    shrink,
    subtract_signed,
)

SPOT, AROUND = 4, 18
"""Pixels of the side of a spot, and of what is around it."""

SMOOTH = 6.0
"""Standard deviation of the gray levels around a place, in the image that is smoother there, below which a spot can be
seen."""

BESIDE_EDGES = 2
"""Pixels beside something to see where compression adds spots."""

STRONGLY_COMPRESSED = 0.12
"""Usual difference, in parts of the contrast, above which nothing is said of spots: strong compression makes them and
removes them."""

USUAL, TIMES_USUAL, LEAST = 0.9, 3.2, 1.0
"""A spot differs by more than so many times as this part of all smooth places do, plus so many gray levels. Of 758
copies that were saved again, resized or toned 5 have such a place (strongly compressed ones), of 90 images with
spots of 12 to 35 gray levels that nothing else tells, 65."""


def find_spots(own: ByteArray, other: ByteArray, deviation: FloatArray, inside: BoolArray) -> BoolArray:
    """Return at which windows there is a spot.

    Args:
        own: (height, width) luma.
        other: The same of the other image.
        deviation: (rows, columns) standard deviation of the gray levels in each window, of the smoother image.
        inside: (rows, columns), which windows count.
    """
    difference = subtract_signed(halve(own), halve(other))
    size = difference.shape[1], difference.shape[0]
    smooth = shrink(interpolate(deviation, size) < SMOOTH, BESIDE_EDGES // 2)
    smooth &= sample_pixels(inside.astype(np.uint8), size) > 0
    if not smooth.any():
        return np.zeros_like(inside)
    depth = np.abs(measure_means(difference, SPOT // 2) - measure_means(difference, AROUND // 2))
    least = TIMES_USUAL * (quantile(depth[smooth], USUAL) + LEAST)
    spots = grow(smooth & (depth > least), 2).astype(np.uint8)
    return sample_pixels(spots, (inside.shape[1], inside.shape[0])) > 0
