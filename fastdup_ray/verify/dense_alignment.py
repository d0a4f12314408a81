"""Align images that have too few keypoints: by their margins, or by sliding one over the other."""

import cv2
import numpy as np

from fastdup_ray.common.arrays import ByteArray
from fastdup_ray.verify.alignment import Alignment
from fastdup_ray.verify.detail_image import DetailImage
from fastdup_ray.verify.filters import resize_bytes, to_gray

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
    own, others = (_reduce(image, scale) for image in (first, second))
    if own.shape[0] >= others.shape[0] and own.shape[1] >= others.shape[1]:
        place = _find_place(own, others)
        if place is None:
            return None
        across, down = other_width / width, other_height / height
        return Alignment(np.array([[across, 0, place[0] / own.shape[1]], [0, down, place[1] / own.shape[0]]]), 0)
    if own.shape[0] <= others.shape[0] and own.shape[1] <= others.shape[1]:
        place = _find_place(others, own)
        if place is None:
            return None
        across, down = other_width / width, other_height / height
        left, top = place[0] / others.shape[1], place[1] / others.shape[0]
        return Alignment(np.array([[across, 0, -across * left], [0, down, -down * top]]), 0)
    return None


def _reduce(image: DetailImage, scale: float) -> ByteArray:
    height, width = image.pixels.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return to_gray(resize_bytes(image.pixels, size))


def _find_place(image: ByteArray, part: ByteArray) -> tuple[int, int] | None:
    """Return column and row of the part in the image, in pixels; None if it does not fit."""
    if min(part.shape) < LEAST_SIDE or part.std() < FLAT:
        return None
    fit = cv2.matchTemplate(image, part, cv2.TM_CCOEFF_NORMED)
    _, value, _, place = cv2.minMaxLoc(fit)
    return (int(place[0]), int(place[1])) if value > FITS else None
