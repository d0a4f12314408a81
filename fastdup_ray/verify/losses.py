"""What one of two images of the same picture has lost beside the other: colors, tones, or clean areas to noise.

Whichever has lost something is the copy. The reverse cannot be told from bytes: noise and steps between tones make a
file larger. What saving again takes away is no loss in this sense: it makes a file smaller.
"""

import math

import cv2
import numpy as np

from fastdup_ray.common.arrays import ByteArray, DoubleArray
from fastdup_ray.common.relations import Loss
from fastdup_ray.verify.filters import split_channels, to_luma_and_color

SIDE = 512
"""Longest side, in pixels, at which losses are looked for."""

COLORFUL, LESS_COLORFUL = 1.5, 0.25
"""Spread of Cr and Cb among pixels of one gray level from which an image has colors; and part of it up to which the
other image has lost them: it is gray, or has one hue for each level."""

NOISY, TIMES_NOISE = 2.0, 3.0
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


def find_losses(first: ByteArray, second: ByteArray) -> tuple[Loss | None, Loss | None]:
    """Return what each of two images has lost that the other one has.

    Args:
        first: (height, width, 3) uint8 RGB.
        second: The same, aligned with the first.
    """
    own, other = (to_luma_and_color(image) for image in (first, second))
    for loss, losses in (
        (Loss.NOISE, _have_noise(own[..., 0], other[..., 0])),
        (Loss.COLORS, _have_lost_colors(own, other)),
        (Loss.TONES, _have_lost_tones(own[..., 0], other[..., 0])),
    ):
        if any(losses):
            return tuple(loss if lost else None for lost in losses)  # type: ignore[return-value]  # two
    return None, None


def _have_noise(own: ByteArray, other: ByteArray) -> tuple[bool, bool]:
    noise = [_measure_noise(luma) for luma in (own, other)]
    part = [each / max(float(luma.std()), 1.0) for each, luma in zip(noise, (own, other), strict=True)]
    return (
        noise[0] > NOISY and part[0] > TIMES_NOISE * part[1],
        noise[1] > NOISY and part[1] > TIMES_NOISE * part[0],
    )


def _measure_noise(luma: ByteArray) -> float:
    """Return the standard deviation of the noise in the calmest part of an image.

    J. Immerkær, Fast Noise Variance Estimation, Computer Vision and Image Understanding 64 (1996), by windows.
    """
    if min(luma.shape) < 16:
        return 0.0
    details = np.abs(cv2.filter2D(luma, cv2.CV_32F, _NOISE_FILTER))
    means = np.asarray(cv2.blur(details, (9, 9)), np.float32)[4:-4:3, 4:-4:3]
    return float(np.quantile(means, CALM)) * math.sqrt(math.pi / 2) / 6


def _have_lost_colors(own: ByteArray, other: ByteArray) -> tuple[bool, bool]:
    colors = [_measure_colors(image[::2, ::2]) for image in (own, other)]
    return tuple(max(colors) > COLORFUL and each <= LESS_COLORFUL * max(colors) for each in colors)  # type: ignore[return-value]


def _measure_colors(image: ByteArray) -> float:
    """Return the standard deviation of Cr and Cb among pixels with the same luma."""
    luma, *colors = (channel.ravel() for channel in split_channels(image))
    count = np.maximum(np.bincount(luma, minlength=256), 1)
    squares = sum(float(np.square(color, dtype=np.int64).sum()) for color in colors)
    explained = sum(float((np.bincount(luma, color, 256) ** 2 / count).sum()) for color in colors)
    return math.sqrt(max(squares - explained, 0.0) / luma.size)


def _have_lost_tones(own: ByteArray, other: ByteArray) -> tuple[bool, bool]:
    shares = [np.bincount(luma.ravel(), minlength=256) / luma.size for luma in (own, other)]
    levels, steps = [_count_levels(each) for each in shares], [_measure_steps(each) for each in shares]
    density = [count / max(float(luma.std()), 1.0) for count, luma in zip(levels, (own, other), strict=True)]
    lost = [
        levels[rest] > MANY_TONES
        and (density[side] < FEWER * density[rest] or steps[side] > max(IN_STEPS, TIMES_STEPS * steps[rest]))
        for side, rest in ((0, 1), (1, 0))
    ]
    return lost[0] and not lost[1], lost[1] and not lost[0]


def _count_levels(shares: DoubleArray) -> float:
    """Return the number of equally frequent levels with the same entropy as these shares."""
    present = shares[shares > 0]
    return float(2 ** -(present * np.log2(present)).sum())


def _measure_steps(shares: DoubleArray) -> float:
    """Return by how much the shares of levels differ from those of the levels around them, without both ends."""
    around = np.convolve(shares, np.full(5, 0.2), "same")
    return float(np.abs(shares - around)[8:-8].sum())
