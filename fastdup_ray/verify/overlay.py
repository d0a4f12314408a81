"""Lay one image on another by an affine map: resample it, and say what it covers and how well it fits.

A map is (2, 3) float64; it takes places of the second image to places of the first, both from 0 to 1 of width and
height.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from fastdup_ray.common.arrays import AnyArray, BoolArray, ByteArray, DoubleArray
from fastdup_ray.verify.filters import correlate, fit_size, leave_rim, reduce_much

REDUCE = 0.7
"""Scale below which an image is reduced before it is laid on another one."""

COVER_SIDE = 200
"""Pixels of the side of the square on which covers are measured."""

FIXED_POINT = 16
"""Steps of a pixel at which polygons are drawn."""

QUARTER_TURNS: dict[str, DoubleArray] = {
    "": np.array([[1, 0, 0], [0, 1, 0]], float),
    "mirrored": np.array([[-1, 0, 1], [0, 1, 0]], float),
    "half": np.array([[-1, 0, 1], [0, -1, 1]], float),
    "flipped": np.array([[1, 0, 0], [0, -1, 1]], float),
    "right": np.array([[0, -1, 1], [1, 0, 0]], float),
    "left": np.array([[0, 1, 0], [-1, 0, 1]], float),
    "transposed": np.array([[0, 1, 0], [1, 0, 0]], float),
    "transversed": np.array([[0, -1, 1], [-1, 0, 1]], float),
}
"""The eight ways to lay a whole image on another one."""


def lay(image: ByteArray, matrix: DoubleArray, size: tuple[int, int]) -> ByteArray:
    """Resample an image into the frame of another one.

    Args:
        image: (height, width) or (height, width, channels) uint8.
        matrix: The map.
        size: Width and height of the frame.

    Returns:
        (height, width) or (height, width, channels) of the frame. Where the image has nothing, its border is repeated.
    """
    height, width = image.shape[:2]
    if np.array_equal(matrix, QUARTER_TURNS[""]):
        return reduce_much(image, size) if width >= size[0] and height >= size[1] else _enlarge(image, size)
    pixels = _to_pixels(matrix, (width, height), size)
    scale = math.sqrt(abs(np.linalg.det(pixels[:, :2])))
    if scale < REDUCE:  # average, rather than skip, the pixels that become one
        smaller = fit_size((width, height), max(2, round(max(height, width) * scale)))
        if smaller != (width, height):
            return lay(reduce_much(image, smaller), matrix, size)
    return _warp(image, pixels, size)


def _warp(image: ByteArray, pixels: DoubleArray, size: tuple[int, int]) -> ByteArray:
    laid = cv2.warpAffine(image, pixels, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(laid, np.uint8)


def _enlarge(image: ByteArray, size: tuple[int, int]) -> ByteArray:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _to_pixels(matrix: DoubleArray, source: tuple[int, int], target: tuple[int, int]) -> DoubleArray:
    """Return the (..., 2, 3) maps between pixels of images of these widths and heights."""
    # Pixel centers are at half numbers: (x + 0.5) / width is from 0 to 1.
    from_pixels = np.array([[1 / source[0], 0, 0.5 / source[0]], [0, 1 / source[1], 0.5 / source[1]], [0, 0, 1]])
    to_pixels = np.array([[target[0], 0, -0.5], [0, target[1], -0.5], [0, 0, 1]])
    pixels: DoubleArray = to_pixels[:2] @ make_square(matrix) @ from_pixels
    return pixels


def invert(matrix: DoubleArray) -> DoubleArray:
    """Return the map in the other direction."""
    return np.asarray(np.linalg.inv(make_square(matrix))[:2], np.float64)


def make_square(matrix: DoubleArray) -> DoubleArray:
    """Return (..., 3, 3) for (..., 2, 3) maps."""
    last = np.broadcast_to([[0.0, 0.0, 1.0]], (*matrix.shape[:-2], 1, 3))
    return np.concatenate([matrix, last], axis=-2)


def find_mask(matrix: DoubleArray, size: tuple[int, int]) -> BoolArray:
    """Return (height, width) bool: which pixels of a frame lie in an image that is laid on it."""
    return _fill(_find_corners(matrix, size), size)


def _find_corners(matrix: DoubleArray, size: tuple[int, int]) -> AnyArray:
    """Return (..., 4, 2) int32 corners of an image in a frame, in parts of a pixel, for (..., 2, 3) maps."""
    corners = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], float) @ matrix.swapaxes(-2, -1) * size - 0.5
    return np.rint(corners * FIXED_POINT).clip(-(2**30), 2**30).astype(np.int32)


def _fill(corners: AnyArray, size: tuple[int, int]) -> BoolArray:
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(mask, corners, 1, shift=FIXED_POINT.bit_length() - 1)
    return mask.view(bool)


def measure_covers(matrix: DoubleArray) -> tuple[float, float]:
    """Return which part of the first image the second one covers, and which part of the second the first one."""
    first, second = (float(find_mask(way, (COVER_SIDE, COVER_SIDE)).mean()) for way in (matrix, invert(matrix)))
    return first, second


@dataclass(frozen=True)
class Overlay:
    """Gray levels of an image, and those of another one that is laid on it.

    Attributes:
        matrix: The map.
        gray: (height, width) uint8.
        other: The same, of the image that is laid on it.
    """

    matrix: DoubleArray
    gray: ByteArray
    other: ByteArray

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frame."""
        return self.gray.shape[1], self.gray.shape[0]

    @cached_property
    def inside(self) -> BoolArray:
        """(height, width), which pixels lie in the other image."""
        return find_mask(self.matrix, self.size)

    @cached_property
    def laid(self) -> ByteArray:
        """(height, width) gray levels of the other image in the frame of the first."""
        return lay(self.other, self.matrix, self.size)

    @cached_property
    def correlation(self) -> float:
        """Correlation of the gray levels where both images have some; 0 where one of them is flat."""
        return correlate(self.gray, self.laid, self.inside)


def correlate_each(matrices: DoubleArray, gray: ByteArray, other: ByteArray, rim: int) -> DoubleArray:
    """Return the correlations of gray levels with others that are laid on them in several ways.

    Args:
        matrices: (n, 2, 3), the maps.
        gray: (height, width) uint8.
        other: The same, of the image that is laid on it.
        rim: Pixels at the border of what both show that are left out.
    """
    size, other_size = gray.shape[::-1], other.shape[::-1]
    pixels = _to_pixels(matrices, other_size, size)
    is_reduced = np.abs(np.linalg.det(pixels[:, :, :2])) < REDUCE**2
    values = [
        correlate(
            gray,
            lay(other, matrices[n], size) if is_reduced[n] else _warp(other, pixels[n], size),
            leave_rim(_fill(corners, size), rim),
        )
        for n, corners in enumerate(_find_corners(matrices, size))
    ]
    return np.array(values)
