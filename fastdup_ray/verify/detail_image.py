"""One image, and what is derived from it once for all its comparisons."""

from functools import cached_property

import cv2
import numpy as np

from fastdup_ray.common.arrays import ByteArray, FloatArray
from fastdup_ray.verify.filters import fit_size, resize_bytes, resize_floats, to_gray

DETAIL = 1600
"""Longest side, in pixels, at which images are compared."""

SIDE = 384
"""Longest side, in pixels, at which keypoints are found."""

KEYPOINTS = 600
"""Keypoints of an image."""

SMALL = 48
"""Side of the thumbnails by which quarter turns are found."""


FLAT = 2.0
"""Standard deviation of the gray levels below which an image is of one color."""


class DetailImage:
    """An image and what is derived from it once, for all its pairs.

    Attributes:
        pixels: (height, width, 3) uint8 RGB.
    """

    def __init__(self, pixels: ByteArray) -> None:
        self.pixels = pixels

    @cached_property
    def gray(self) -> ByteArray:
        """Gray levels at most `SIDE` wide and high."""
        height, width = self.pixels.shape[:2]
        return to_gray(resize_bytes(self.pixels, fit_size((width, height), SIDE)))

    @cached_property
    def is_flat(self) -> bool:
        """Whether there is next to nothing to see."""
        return bool(self.gray.std() < FLAT)

    @cached_property
    def small(self) -> FloatArray:
        """(SMALL, SMALL) gray levels with a mean of 0 and a length of 1."""
        small = resize_floats(self.gray.astype(np.float32), (SMALL, SMALL))
        small -= small.mean()
        return small / max(float(np.linalg.norm(small)), 1e-6)

    @cached_property
    def keypoints(self) -> tuple[FloatArray, FloatArray]:
        """(m, 2) places from 0 to 1 of width and height, and their (m, 128) RootSIFT descriptors."""
        points, descriptors = cv2.SIFT.create(KEYPOINTS, contrastThreshold=0.02).detectAndCompute(self.gray, None)
        if not points:
            return np.empty((0, 2), np.float32), np.empty((0, 128), np.float32)
        height, width = self.gray.shape
        places = np.array([point.pt for point in points], np.float32) / (width, height)
        rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
        return places.astype(np.float32), rooted.astype(np.float32)
