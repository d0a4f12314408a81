"""What differs between two aligned images, beyond what compression and resampling explain.

Compression and resampling change an image everywhere, the more the busier it is there. A changed word is a difference
that the busyness of its place does not explain.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fastdup_ray.common.arrays import BoolArray, FloatArray
from fastdup_ray.verify.filters import (
    blur,
    fit_size,
    measure_deviation,
    measure_rms,
    resize_floats,
    shrink,
    to_luma_and_color,
)
from fastdup_ray.verify.tone import KINDS, LITTLE, TRUSTED, Kind, ToneMatch, fit_tone

BLUR = 0.8
"""Standard deviation in pixels of the blur before a comparison. It removes what resampling filters differ in."""

WINDOW = 9
"""Pixels of the side of the windows that are compared: about one letter."""

SMALL, SMALL_WINDOW = 64, 5
"""Shorter side, in pixels, below which images are compared in smaller windows, and only as they are: in an icon a
change of tones can be all that differs."""

NOISE = 8.0
"""Gray levels, root mean square in a window, that compression and resampling explain anywhere."""

LEAST_LOSS, MOST_LOSS, TIMES_USUAL = 0.1, 0.35, 2.5
"""What they explain beyond it, in parts of the standard deviation of the gray levels in a window: so many times what is
usual in this pair of images, within limits."""

COLOR_NOISE, COLOR_LOSS = 12.0, 0.3
"""The same for Cr and Cb, in larger windows, and whatever is usual."""

COLORS = (1, 2)
"""Channels of Cr and Cb."""

BUSY = 6.0
"""Standard deviation of the gray levels in a window above which there is something to see in it."""

ALIKE = 0.5
"""Difference, in parts of the contrast of a place, up to which both images show the same there: a correlation of
0.87."""

GOOD_FIT = 0.08
"""What a change of tones may miss, in parts of the contrast, to be taken without trying others."""

TONE_SIDE = 128
"""Longest side, in pixels, at which tones and colors are compared."""


@dataclass(frozen=True)
class Difference:
    """What differs between two aligned images.

    Attributes:
        share: Part of the compared area that differs, from 0 to 1.
        strength: Largest difference, in times what is tolerated at its place.
        box: left, top, right and bottom of the place with the largest difference, from 0 to 1 of the compared frame.
        agreement: Part of the places with something to see at which both show the same, from 0 to 1.
        loss: Usual difference of the places with something to see, in parts of their contrast.
        seen: Part of the compared area with something to see.
    """

    share: float
    strength: float
    box: tuple[float, float, float, float]
    agreement: float
    loss: float
    seen: float


def measure_difference(first: FloatArray, second: FloatArray, mask: BoolArray) -> Difference:
    """Compare two aligned images, as they are and, if they differ, in the same tones.

    Args:
        first: (height, width, 3) float32 RGB, from 0 to 255.
        second: The same.
        mask: (height, width), pixels that both have.

    Returns:
        What differs within the mask.
    """
    window = WINDOW if min(mask.shape) >= SMALL else SMALL_WINDOW
    inside = shrink(mask, window)
    if not inside.any():
        return Difference(0.0, 0.0, (0.0, 0.0, 0.0, 0.0), 0.0, 0.0, 0.0)
    first, second = (blur(image, BLUR) for image in (first, second))
    as_they_are = _compare_windows(first, second, inside, window)
    if as_they_are.share == 0 or min(mask.shape) < SMALL:
        return as_they_are
    return _compare_windows(*_match_tones(first, second, mask), inside, window)


def _compare_windows(first: FloatArray, second: FloatArray, inside: BoolArray, window: int) -> Difference:
    first, second = to_luma_and_color(first), to_luma_and_color(second)
    residual = first - second
    luma = measure_rms(residual[..., 0], window)
    busyness = np.maximum(*(measure_deviation(image[..., 0], window) for image in (first, second)))
    wide = 2 * window + 1  # colors are stored at half the size
    color = np.hypot(*(measure_rms(residual[..., channel], wide) for channel in COLORS))
    colorful = np.minimum(
        *(np.hypot(*(measure_deviation(image[..., channel], wide) for channel in COLORS)) for image in (first, second))
    )
    busy = inside & (busyness > BUSY)
    lost = luma[busy] / busyness[busy]
    usual = float(np.median(lost)) if len(lost) else 0.0
    loss = min(max(TIMES_USUAL * usual, LEAST_LOSS), MOST_LOSS)
    excess = np.maximum(luma / (NOISE + loss * busyness), color / (COLOR_NOISE + COLOR_LOSS * colorful))
    excess = np.where(inside, excess, 0)
    differs = excess > 1
    return Difference(
        share=float(differs.sum()) / float(inside.sum()),
        strength=float(excess.max()),
        box=_find_box(differs, excess),
        agreement=float((lost < ALIKE).mean()) if len(lost) else 0.0,
        loss=usual,
        seen=float(busy.sum()) / float(inside.sum()),
    )


def _match_tones(first: FloatArray, second: FloatArray, mask: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return one image in the tones of the other, and the other; whichever way, and kind of change, fits best."""
    size = fit_size((mask.shape[1], mask.shape[0]), TONE_SIDE)
    small, other = (resize_floats(image, size) for image in (first, second))
    weight = resize_floats(mask.astype(np.float32), size)
    inside = weight > 0
    pairs = [((small, other), (first, second)), ((other, small), (second, first))]
    if small[inside].std() < other[inside].std():  # the one with more contrast has what the other has
        pairs.reverse()
    best, least = (first, second), np.inf
    for (source, target), whole in pairs:
        for kind in KINDS:
            missed, match = _fit_twice(source, target, weight, kind)
            if missed < least:
                best, least = (match.apply(whole[0]), whole[1]), missed
            if least < GOOD_FIT:
                return best
    return best


def _fit_twice(source: FloatArray, target: FloatArray, weight: FloatArray, kind: Kind) -> tuple[float, ToneMatch]:
    """Fit a change of tones with all pixels, then without what differs most; return what it misses, and the change."""
    match = fit_tone(source, target, weight, kind)
    missed = np.abs(match.apply(source) - target).sum(axis=2)
    limit = np.quantile(missed[weight > 0], TRUSTED)
    trusted = np.where(missed > limit, LITTLE * weight, weight)
    match = fit_tone(source, target, trusted, kind)
    missed = np.abs(match.apply(source) - target).sum(axis=2)
    contrast = max(1.0, float(target[weight > 0].std()))
    return float(np.minimum(missed, np.quantile(missed[weight > 0], 0.9))[weight > 0].mean()) / contrast, match


def _find_box(differs: BoolArray, excess: FloatArray) -> tuple[float, float, float, float]:
    if not differs.any():
        return 0.0, 0.0, 0.0, 0.0
    _, regions, boxes, _ = cv2.connectedComponentsWithStats(differs.astype(np.uint8))
    strength = np.bincount(regions.ravel(), np.where(differs, excess, 0).ravel())
    left, top, width, height, _ = boxes[1 + int(np.argmax(strength[1:]))].tolist()
    across, down = differs.shape[1], differs.shape[0]
    return left / across, top / down, (left + width) / across, (top + height) / down
