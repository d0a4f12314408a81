"""Align images that have too few keypoints: by their margins, or by sliding one over the other."""

import cv2
import numpy as np

from fastdup_ray.verify.alignment import Alignment
from fastdup_ray.verify.detail_image import DetailImage
from fastdup_ray.verify.filters import measure_contrast, reduce_much, to_gray

SIDE = 192
"""Longest side, in pixels, at which images are aligned."""

FITS = 0.9
"""Correlation above which one image is a part of the other."""

LEAST_SIDE = 32
"""Side of a part, in pixels, that can be found."""

FLAT = 4.0
"""Standard deviation of the gray levels below which anything correlates."""


def align_by_margins(first: DetailImage, second: DetailImage) -> Alignment | None:
    """Lay what the margins of one image enclose on that of the other; None if neither has margins."""
    (left, top, right, bottom), other = first.content_box, second.content_box
    if (left, top, right, bottom) == other == (0.0, 0.0, 1.0, 1.0):
        return None
    across, down = (right - left) / (other[2] - other[0]), (bottom - top) / (other[3] - other[1])
    return Alignment(np.array([[across, 0, left - across * other[0]], [0, down, top - down * other[1]]]), 0)


def align_by_sliding(first: DetailImage, second: DetailImage) -> Alignment | None:
    """Find one image in the other at the same scale; None if it is not in there."""
    height, width = first.pixels.shape[:2]
    other_height, other_width = second.pixels.shape[:2]
    scale = min(1.0, SIDE / max(height, width, other_height, other_width))
    size, other_size = _scale(width, height, scale), _scale(other_width, other_height, scale)
    across, down = other_width / width, other_height / height
    if size[0] >= other_size[0] and size[1] >= other_size[1]:
        place = _find_place(first, size, second, other_size)
        return place and Alignment(np.array([[across, 0, place[0]], [0, down, place[1]]]), 0)
    if size[0] <= other_size[0] and size[1] <= other_size[1]:
        place = _find_place(second, other_size, first, size)
        return place and Alignment(np.array([[across, 0, -across * place[0]], [0, down, -down * place[1]]]), 0)
    return None


def _scale(width: int, height: int, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def _find_place(
    image: DetailImage, size: tuple[int, int], part: DetailImage, part_size: tuple[int, int]
) -> tuple[float, float] | None:
    """Return left and top of the part in the image, from 0 to 1 of its width and height; None if it does not fit."""
    if min(part_size) < LEAST_SIDE:
        return None
    levels, part_levels = to_gray(reduce_much(image.pixels, size)), to_gray(reduce_much(part.pixels, part_size))
    if measure_contrast(part_levels) < FLAT:
        return None
    fit = cv2.matchTemplate(levels, part_levels, cv2.TM_CCOEFF_NORMED)
    _, value, _, place = cv2.minMaxLoc(fit)
    return (place[0] / size[0], place[1] / size[1]) if value > FITS else None
