"""Align rotated images that have too few keypoints: try angles on thumbnails."""

import math

import numpy as np

from fastdup_ray.common.arrays import DoubleArray
from fastdup_ray.verify.alignment import ENOUGH_CORNERS, Alignment
from fastdup_ray.verify.detail_image import DetailImage
from fastdup_ray.verify.filters import fit_size, resize_bytes
from fastdup_ray.verify.overlay import correlate_each

COARSE_SIDE, FINE_SIDE = 64, 160
"""Longest sides, in pixels, of the thumbnails on which angles are tried first, and then again next to the best."""

MOST_DEGREES, COARSE_STEP = 20.0, 2.0
"""Degrees up to which images are turned, and from one try to the next."""

FINE_STEPS, FINE_TRIES = (0.5, 0.1), 4
"""Degrees from one try to the next next to the best, and how many there are to each side."""

RIM = 2
"""Pixels of a thumbnail at the border of what both show, where the color of new corners is mixed in."""

FITS, FITS_BETTER = 0.8, 0.004
"""Correlation above which a turned image fits, and by how much it has to fit better than one that is not turned."""


def align_by_rotation(first: DetailImage, second: DetailImage) -> Alignment | None:
    """Turn the second image about its center until it fits the first one; None if it does not, or if both have corners.

    A program that turns an image leaves its frame as it is, extends it to all of the image, or reduces it to where
    there is an image; each is tried for both images.
    """
    if min(len(image.corners.places) for image in (first, second)) >= ENOUGH_CORNERS:
        return None
    half = round(MOST_DEGREES / COARSE_STEP)
    fit, angle, matrix = _find_best(first, second, COARSE_SIDE, 0.0, COARSE_STEP, half)
    straight, _, _ = _find_best(first, second, COARSE_SIDE, 0.0, COARSE_STEP, 0)
    if fit < FITS or fit < straight + FITS_BETTER:
        return None
    for step in FINE_STEPS:
        _, angle, matrix = _find_best(first, second, FINE_SIDE, angle, step, FINE_TRIES)
    return Alignment(matrix, 0)


def _find_best(
    first: DetailImage, second: DetailImage, side: int, middle: float, step: float, tries: int
) -> tuple[float, float, DoubleArray]:
    """Return the highest correlation of thumbnails at so many steps to each side of an angle, its angle and its map."""
    own, other = (resize_bytes(image.gray, fit_size(image.gray.shape[::-1], side)) for image in (first, second))
    size, other_size = ((image.pixels.shape[1], image.pixels.shape[0]) for image in (first, second))
    angles = [middle + count * step for count in range(-tries, tries + 1)]
    turns = [(angle, scale) for angle in angles for scale in _list_scales(size, other_size, math.radians(angle))]
    matrices = _turn(size, other_size, np.array(turns))
    fits = correlate_each(matrices, own, other, RIM)
    best = int(fits.argmax())
    return float(fits[best]), turns[best][0], matrices[best]


def _list_scales(size: tuple[int, int], other: tuple[int, int], angle: float) -> list[float]:
    """Return the scales to try: pixels of the first image per pixel of the second."""
    if angle == 0:
        return [size[0] / other[0]]
    own = [size[0], _extend(size, angle), _reduce(size, angle)]
    return [each / other[0] for each in own] + [size[0] / each(other, angle) for each in (_extend, _reduce)]


def _extend(size: tuple[int, int], angle: float) -> float:
    """Return the width of the frame of a turned image."""
    return size[0] * math.cos(angle) + size[1] * abs(math.sin(angle))


def _reduce(size: tuple[int, int], angle: float) -> float:
    """Return the width of the largest frame of the same shape within a turned image."""
    width, height = size
    across, down = math.cos(angle), abs(math.sin(angle))
    return width * min(width / (width * across + height * down), height / (width * down + height * across))


def _turn(size: tuple[int, int], other: tuple[int, int], turns: DoubleArray) -> DoubleArray:
    """Return the (n, 2, 3) maps, as in `Alignment`, of rotations about the centers of both images.

    Args:
        size: Width and height of the first image.
        other: The same of the second one.
        turns: (n, 2) degrees and scales.
    """
    angles, scales = np.radians(turns[:, 0]), turns[:, 1]
    cosine, sine = scales * np.cos(angles), scales * np.sin(angles)
    linear = np.stack([cosine, -sine, sine, cosine], axis=1).reshape(-1, 2, 2) * other / np.array(size)[:, None]
    return np.concatenate([linear, 0.5 - linear.sum(axis=2, keepdims=True) / 2], axis=2)
