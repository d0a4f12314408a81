"""What one of two images of the same picture has lost beside the other: colors, tones, or clean areas to noise.

Whichever has lost something is the copy. The reverse cannot be told from bytes: noise and steps between tones make a
file larger. What saving again takes away is no loss in this sense: it makes a file smaller.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from fastdup_ray.common.arrays import ByteArray, DoubleArray
from fastdup_ray.common.relations import Loss
from fastdup_ray.verify.filters import (
    count_level_pairs,
    count_levels,
    measure_contrast,
    measure_means,
    quantile,
    sample_pixels,
    select_channel,
    split_channels,
    to_luma_and_color,
)

SIDE = 512
"""Longest side, in pixels, at which losses are looked for."""

COLORFUL, LESS_COLORFUL = 1.5, 0.25
"""Spread of Cr and Cb among pixels of one gray level from which an image has colors; and part of it up to which the
other image has lost them: it is gray, or has one hue for each level."""

NOISY, TIMES_NOISE = 2.0, 4.0
"""Noise, in gray levels, that was added if the other image has so many times less, in parts of its contrast. Of 250
photographs none has so much and loses as many times as much by JPEG or WebP at a quality of 30."""

CALM = 0.2
"""Part of an image, the one with the least noise, by which noise is measured: the rest has textures."""

MANY_TONES, FEWER = 64, 0.6
"""Gray levels in use from which an image has tones; and part of them, at the same contrast, that is left if tones were
lost. Documents and drawings have fewer, and more of them after compression."""

IN_STEPS, TIMES_STEPS = 0.3, 2.0
"""Unevenness of a histogram, from 0 to 2, from which tones are in steps if that of the other image is so many times
less."""

_NOISE_FILTER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class _Traits:
    """What is compared of an image.

    Attributes:
        contrast: Standard deviation of its gray levels, at least 1.
        noise: Standard deviation of the noise in its calmest part.
        colors: Standard deviation of Cr and Cb among pixels of one gray level.
        levels: Gray levels in use.
        steps: Unevenness of its histogram.
    """

    contrast: float
    noise: float
    colors: float
    levels: float
    steps: float

    def has_noise(self, other: "_Traits") -> bool:
        return self.noise > NOISY and self.noise / self.contrast > TIMES_NOISE * other.noise / other.contrast

    def has_lost_colors(self, other: "_Traits") -> bool:
        return other.colors > COLORFUL and self.colors <= LESS_COLORFUL * other.colors

    def has_lost_tones(self, other: "_Traits") -> bool:
        has_fewer = self.levels / self.contrast < FEWER * other.levels / other.contrast
        is_in_steps = self.steps > max(IN_STEPS, TIMES_STEPS * other.steps)
        return other.levels > MANY_TONES and (has_fewer or is_in_steps)


def find_losses(first: ByteArray, second: ByteArray) -> tuple[Loss | None, Loss | None]:
    """Return what each of two images has lost that the other one has.

    Args:
        first: (height, width, 3) uint8 RGB.
        second: The same, aligned with the first.
    """
    own, other = _measure_traits(first), _measure_traits(second)
    return _find_loss(own, other), _find_loss(other, own)


def _find_loss(own: _Traits, other: _Traits) -> Loss | None:
    if own.has_noise(other):
        return Loss.NOISE
    if own.has_lost_colors(other):
        return Loss.COLORS
    if other.has_noise(own) or other.has_lost_tones(own):  # noise fills the steps between tones
        return None
    return Loss.TONES if own.has_lost_tones(other) else None


def _measure_traits(pixels: ByteArray) -> _Traits:
    image = to_luma_and_color(pixels)
    luma = select_channel(image, 0)
    shares = count_levels(luma) / luma.size
    contrast = max(measure_contrast(luma), 1.0)
    half = (luma.shape[1] + 1) // 2, (luma.shape[0] + 1) // 2
    colors = _measure_colors(sample_pixels(image, half))
    return _Traits(contrast, _measure_noise(luma), colors, _count_levels(shares), _measure_steps(shares))


def _measure_noise(luma: ByteArray) -> float:
    """Return the standard deviation of the noise in the calmest part of an image.

    J. Immerkær, Fast Noise Variance Estimation, Computer Vision and Image Understanding 64 (1996), by windows.
    """
    if min(luma.shape) < 16:
        return 0.0
    details = cv2.convertScaleAbs(cv2.filter2D(luma, cv2.CV_16S, _NOISE_FILTER))  # at most 255, which is not calm
    means = measure_means(np.asarray(details, np.uint8), 9)[4:-4:3, 4:-4:3]
    return quantile(means.ravel(), CALM) * math.sqrt(math.pi / 2) / 6


def _measure_colors(image: ByteArray) -> float:
    """Return the standard deviation of Cr and Cb among pixels with the same luma."""
    luma, *colors = split_channels(image)
    count, levels = np.maximum(count_levels(luma), 1), np.arange(256)
    spread = 0.0
    for color in colors:
        pairs = count_level_pairs(luma, color)
        spread += float(pairs.sum(axis=0) @ np.square(levels) - (np.square(pairs @ levels) / count).sum())
    return math.sqrt(max(spread, 0.0) / luma.size)


def _count_levels(shares: DoubleArray) -> float:
    """Return the number of equally frequent levels with the same entropy as these shares."""
    present = shares[shares > 0]
    return float(2 ** -(present * np.log2(present)).sum())


def _measure_steps(shares: DoubleArray) -> float:
    """Return by how much the shares of levels differ from those of the levels around them, without both ends."""
    around = np.convolve(shares, np.full(5, 0.2), "same")
    return float(np.abs(shares - around)[8:-8].sum())
