"""One image, and what is derived from it once for all its comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property

import cv2
import numpy as np

from fastdup_ray.common.arrays import AnyArray, ByteArray, FloatArray
from fastdup_ray.extract.margins import find_content_box
from fastdup_ray.verify.filters import (
    count_levels,
    enlarge,
    fit_size,
    measure_contrast,
    measure_ranges,
    reduce_much,
    resize_bytes,
    sample_pixels,
    split_channels,
    to_gray,
)

DETAIL = 1600
"""Longest side, in pixels, at which images are compared."""

SIDE = 384
"""Longest side, in pixels, at which keypoints are found."""

BLOB_SIDE = 256
"""Longest side, in pixels, at which blobs are found: it takes five times as long as corners."""

LEAST_ENLARGED, MOST_ENLARGED = 1.2, 2.0
"""Factors by which small images are enlarged: descriptors of corners are of 31 pixels, and none is at the border."""

KEYPOINTS = 600
"""Keypoints of an image."""

BORDER = 31
"""Pixels at the border of an image without corners, as a descriptor is of that many."""

FAST_LEVELS = 8
"""Gray levels by which a corner differs from what is around it."""

SMALL = 48
"""Side of the thumbnails by which quarter turns are found."""

FLAT = 2.0
"""Standard deviation of the gray levels below which an image is of one color."""

DRAWN_SIDE, DRAWN_STEP, DRAWN = 128, 8, 0.7
"""Images with a shorter side below the first value are small drawings if most of their pixels, by the last value, are
in two steps of so many gray levels: a change of tones makes a ring with soft borders a thicker one."""

FEW_TONES, TONE_STEP = 7.0, 8
"""Colored images have few tones if each channel has fewer steps of so many levels, as its entropy counts them. Of 150
flags all but one have few, as JPEGs of quality 60 three in four; of 197 photographs one in eight, mostly drawn."""

COLORED, COLORED_SHARE = 24, 0.05
"""Range of the channels of a pixel from which on it has a color, and the part of such pixels in a colored image."""


class Storage(Enum):
    """How a file stores its pixels: exactly, by a palette, or so that they may have changed."""

    EXACT = auto()
    PALETTE = auto()
    LOSSY = auto()


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of an image.

    Attributes:
        places: (m, 2) float32, from 0 to 1 of width and height.
        descriptors: (m, d) uint8 or float32.
        norm: The distance of OpenCV that compares descriptors.
    """

    places: FloatArray
    descriptors: AnyArray
    norm: int


class DetailImage:
    """An image and what is derived from it once, for all its pairs.

    Attributes:
        pixels: (height, width, 3) uint8 RGB.
        is_cut_out: Whether parts of it are transparent, and show a ground that is not its own.
        storage: How its file stores it.
    """

    def __init__(self, pixels: ByteArray, *, is_cut_out: bool = False, storage: Storage = Storage.LOSSY) -> None:
        self.pixels = pixels
        self.is_cut_out = is_cut_out
        self.storage = storage

    @cached_property
    def gray(self) -> ByteArray:
        """Gray levels, `SIDE` wide or high; of a small image less, as it is enlarged to no more than twice its size."""
        gray = to_gray(self._reduce())
        scale = min(MOST_ENLARGED, SIDE / max(gray.shape))
        return gray if scale < LEAST_ENLARGED else enlarge(gray, scale)

    @cached_property
    def is_flat(self) -> bool:
        """Whether there is next to nothing to see."""
        return self.contrast < FLAT

    @cached_property
    def contrast(self) -> float:
        """Standard deviation of the gray levels."""
        return measure_contrast(self.gray)

    @cached_property
    def is_small_drawing(self) -> bool:
        """Whether the image is small and has so few tones that other ones make it another image."""
        if min(self.pixels.shape[:2]) >= DRAWN_SIDE:
            return False
        counts = np.sort(count_levels(to_gray(self.pixels), DRAWN_STEP))
        return bool(counts[-2:].sum() > DRAWN * counts.sum())

    @cached_property
    def has_few_tones(self) -> bool:
        """Whether the image is colored, in so few tones that a change of them may make any other image: flags, charts.

        A curve for each channel turns the flag of Ireland into that of Italy.
        """
        channels = split_channels(sample_pixels(self.pixels, fit_size(self.pixels.shape[1::-1], DRAWN_SIDE)))
        if (measure_ranges(channels) > COLORED).mean() < COLORED_SHARE:
            return False
        return all(_count_tones(channel) < FEW_TONES for channel in channels)

    @cached_property
    def small(self) -> FloatArray:
        """(SMALL, SMALL) gray levels with a mean of 0 and a length of 1."""
        small = reduce_much(self.gray, (SMALL, SMALL)).astype(np.float32)
        small -= small.mean()
        return small / max(float(np.linalg.norm(small)), 1e-6)

    @cached_property
    def content_box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what the margins enclose, from 0 to 1 of width and height."""
        pixels = self._reduce()
        height, width = pixels.shape[:2]
        left, top, right, bottom = find_content_box(pixels)
        return left / width, top / height, right / width, bottom / height

    def _reduce(self) -> ByteArray:
        return reduce_much(self.pixels, fit_size((self.pixels.shape[1], self.pixels.shape[0]), SIDE))

    @cached_property
    def corners(self) -> Keypoints:
        """Corners with binary descriptors (ORB: E. Rublee et al., 2011)."""
        if min(self.gray.shape) <= 2 * BORDER:
            return Keypoints(np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8), cv2.NORM_HAMMING)
        orb = cv2.ORB.create(KEYPOINTS, edgeThreshold=BORDER, fastThreshold=FAST_LEVELS)
        found, descriptors = orb.detectAndCompute(self.gray, None)
        return Keypoints(_list_places(found, self.gray), np.asarray(descriptors), cv2.NORM_HAMMING)

    @cached_property
    def blobs(self) -> Keypoints:
        """Blobs with RootSIFT descriptors (D. Lowe, 2004; R. Arandjelović and A. Zisserman, 2012)."""
        gray = resize_bytes(self.gray, fit_size(self.gray.shape[::-1], BLOB_SIDE))
        found, descriptors = cv2.SIFT.create(KEYPOINTS, contrastThreshold=0.02).detectAndCompute(gray, None)
        if descriptors is not None:
            descriptors = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
        return Keypoints(_list_places(found, gray), np.asarray(descriptors), cv2.NORM_L2)


def _count_tones(levels: ByteArray) -> float:
    """Return how many steps of tones there are, each by its part of the pixels: the exponential of their entropy."""
    share = count_levels(levels, TONE_STEP) / levels.size
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def _list_places(found: Sequence[cv2.KeyPoint], gray: ByteArray) -> FloatArray:
    height, width = gray.shape
    places = np.array([point.pt for point in found], np.float32).reshape(-1, 2)
    places /= np.array([width, height], np.float32)
    return places
