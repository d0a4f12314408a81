"""Align rotated images that have too few keypoints: try angles on thumbnails."""

import math

import numpy as np

from fastdup_ray.common.arrays import ByteArray, DoubleArray
from fastdup_ray.verify.alignment import ENOUGH_CORNERS, Alignment, correlate_at
from fastdup_ray.verify.detail_image import DetailImage
from fastdup_ray.verify.filters import fit_size, resize_bytes

COARSE_SIDE, FINE_SIDE = 64, 160
"""Longest sides, in pixels, of the thumbnails on which angles are tried first, and then again next to the best."""

MOST_DEGREES, COARSE_STEP, FINE_STEP = 20.0, 2.0, 0.5
"""Degrees up to which images are turned, and from one try to the next."""

FITS, FITS_BETTER = 0.8, 0.01
"""Correlation above which a turned image fits, and by how much it has to fit better than one that is not turned."""


def align_by_rotation(first: DetailImage, second: DetailImage) -> Alignment | None:
    """Turn the second image about its center until it fits the first one; None if it does not, or if both have corners.

    A program that turns an image leaves its frame as it is, extends it to all of the image, or reduces it to where
    there is an image; each is tried for both images.
    """
    if min(len(image.corners.places) for image in (first, second)) >= ENOUGH_CORNERS:
        return None
    own, other = (_reduce_gray(image, COARSE_SIDE) for image in (first, second))
    size, other_size = ((image.pixels.shape[1], image.pixels.shape[0]) for image in (first, second))
    half = round(MOST_DEGREES / COARSE_STEP)
    fit, best, straight = FITS, None, -1.0
    for step in range(-half, half + 1):
        angle = math.radians(step * COARSE_STEP)
        for enlarged in _list_scales(size, other_size, angle):
            value = correlate_at(_turn(size, other_size, angle, enlarged), own, other)
            if step == 0:
                straight = max(straight, value)
            if value > fit:
                fit, best = value, (angle, enlarged)
    if best is None or fit < straight + FITS_BETTER:
        return None
    return Alignment(_search_near(first, second, *best), 0)


def _search_near(first: DetailImage, second: DetailImage, angle: float, enlarged: float) -> DoubleArray:
    """Return the map of the best angle next to one, by larger thumbnails."""
    own, other = (_reduce_gray(image, FINE_SIDE) for image in (first, second))
    size, other_size = ((image.pixels.shape[1], image.pixels.shape[0]) for image in (first, second))
    reach = round(COARSE_STEP / FINE_STEP)
    angles = [angle + math.radians(step * FINE_STEP) for step in range(-reach, reach + 1)]
    matrices = [_turn(size, other_size, each, enlarged) for each in angles]
    return max(matrices, key=lambda matrix: correlate_at(matrix, own, other))


def _reduce_gray(image: DetailImage, side: int) -> ByteArray:
    return resize_bytes(image.gray, fit_size(image.gray.shape[::-1], side))


def _list_scales(size: tuple[int, int], other: tuple[int, int], angle: float) -> set[float]:
    """Return by how much the second image may have to be enlarged, in pixels of the first for one of its own."""
    extended, reduced = _extend(size, angle), _reduce(size, angle)
    other_extended, other_reduced = _extend(other, angle), _reduce(other, angle)
    return {
        size[0] / other[0],
        extended / other[0],
        size[0] / other_extended,
        reduced / other[0],
        size[0] / other_reduced,
    }


def _extend(size: tuple[int, int], angle: float) -> float:
    """Return the width of the frame of a turned image."""
    return size[0] * math.cos(angle) + size[1] * abs(math.sin(angle))


def _reduce(size: tuple[int, int], angle: float) -> float:
    """Return the width of the largest frame of the same shape within a turned image."""
    width, height = size
    across, down = math.cos(angle), abs(math.sin(angle))
    return width * min(width / (width * across + height * down), height / (width * down + height * across))


def _turn(size: tuple[int, int], other: tuple[int, int], angle: float, scale: float) -> DoubleArray:
    """Return the (2, 3) map, as in `Alignment`, of a rotation about the centers of both images."""
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]]) * np.array(other) / np.array(size)[:, None]
    return np.column_stack([linear, 0.5 - linear.sum(axis=1) / 2])
