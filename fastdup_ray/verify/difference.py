"""What differs between two aligned images, beyond what compression and resampling explain.

Compression and resampling change an image everywhere, the more the busier it is there. A changed word is a difference
that the busyness of its place does not explain.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from operator import attrgetter

import cv2
import numpy as np

from fastdup_ray.common.arrays import BoolArray, ByteArray, FloatArray
from fastdup_ray.verify.filters import (
    blur,
    count_levels,
    interpolate,
    measure_length,
    measure_rms,
    quantile,
    shrink,
    subtract,
)
from fastdup_ray.verify.spots import STRONGLY_COMPRESSED, find_spots
from fastdup_ray.verify.tone import ToneMatch, match_tones
from fastdup_ray.verify.toned_image import COLOR_STEP, STEP, TonedImage

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

BUSYNESS_BINS, MOST_OTHERS, TIMES_OTHERS, LEAST_NOISE = 5, 0.95, 1.3, 3.0
"""Windows are put into so many bins by how busy they are. None may differ by more than so many times as most of its bin
do, plus so many gray levels: on a page that was made smaller, another digit differs by no more than compression can
explain, but by twice as much as the other digits do."""

SOME = 4
"""One of so many windows tells where bins begin."""

COLOR_NOISE, COLOR_LOSS = 12.0, 0.3
"""The same for Cr and Cb, in larger windows, and whatever is usual."""

COMPRESSED, EXACT = 0.05, 0.5
"""Usual difference, in parts of the contrast, of images that were compressed or resampled. If less is usual, less
is tolerated, down to this part of it; but colors, which are often stored at half the size, differ anyhow."""

SMALL_EXACT = 0.6
"""Part of all this that is tolerated in small images."""

TEXTURE, UNRELATED, UNRELATED_SHARE = 2.5, 0.85, 0.02
"""Two textures, with at least this standard deviation, are unrelated if they differ by more than this part of what two
independent ones would: compression weakens a texture, but makes no other one. So much of the area may have unrelated
ones."""

ERASED = 0.25
"""Part of its contrast below which something to see is erased by a change of tones, such as gray text on white."""

NEXT_TO_END = 0.05
"""Part of an image that has tones next to white, or black, if a change of tones may end there."""

BUSY = 6.0
"""Standard deviation of the gray levels in a window above which there is something to see in it."""

ALIKE = 0.5
"""Difference, in parts of the contrast of a place, up to which both images show the same there: a correlation of
0.87."""


COMMON_SHARE = 0.7
"""Part of an image without details that has to be equal to say what both have in common."""

SLACK = 1.25
"""Largest difference of two images that are the same, in times what is tolerated at its place."""

NEXT_TO_NOTHING = 0.002
"""Part of what both show that may differ if they are aligned by keypoints, which is less exact."""

IN_PLACES = 0.05
"""Part of two images up to which they differ in places, if all else is as equal as compression leaves it."""


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
        common: Range of the gray levels, without the highest and the lowest quarter, that both have in common where
            there are no details, if that is most of them, such as a sky around a sticker; else 0.
        tones: The tones in which they were compared; None: as they are.
    """

    share: float
    strength: float
    box: tuple[float, float, float, float]
    agreement: float
    loss: float
    seen: float
    common: float = 0.0
    tones: ToneMatch | None = None


def measure_difference(
    first: ByteArray,
    second: ByteArray,
    mask: BoolArray | None = None,
    tones: ToneMatch | None = None,
    *,
    as_they_are: bool = False,
) -> Difference:
    """Compare two aligned images in some tones and, if they differ, in those that fit best.

    Args:
        first: (height, width, 3) uint8 RGB.
        second: The same.
        mask: (height, width), pixels that both have; None: all.
        tones: The tones to try first; None: as they are.
        as_they_are: Try no other tones.

    Returns:
        What differs within the mask.
    """
    height, width = first.shape[:2]
    window = WINDOW if min(height, width) >= SMALL else SMALL_WINDOW
    inside = np.ones((height, width), bool) if mask is None else shrink(mask, window)
    inside = inside[STEP // 2 :: STEP, STEP // 2 :: STEP]
    if not inside.any():
        return Difference(0.0, 0.0, (0.0, 0.0, 0.0, 0.0), 0.0, 0.0, 0.0)
    images = tuple(TonedImage(blur(image, BLUR), window) for image in (first, second))
    found = _compare_in_tones(images, inside, tones)
    if as_they_are or min(height, width) < SMALL or _have_same_tones(found):
        return found
    fitting = match_tones(images[0].pixels, images[1].pixels, mask)
    if fitting is None:
        return found
    return min(found, _compare_in_tones(images, inside, fitting), key=attrgetter("share"))


def _compare_in_tones(images: tuple[TonedImage, ...], inside: BoolArray, tones: ToneMatch | None) -> Difference:
    first, second = images
    if tones is None:
        return _compare_windows(first, second, inside)
    changed, fixed = (first, second) if tones.changes_first else (second, first)
    found = _compare_windows(TonedImage(changed.pixels, changed.window, tones), fixed, inside, changed)
    return replace(found, tones=tones)


def _have_same_tones(found: Difference) -> bool:
    """Return whether no change of tones can explain what differs: nothing does, or only in places."""
    is_equal = found.strength <= SLACK and found.share <= NEXT_TO_NOTHING
    return is_equal or (found.loss < COMPRESSED and found.share < IN_PLACES)


def _compare_windows(
    own: TonedImage, other: TonedImage, inside: BoolArray, before: TonedImage | None = None
) -> Difference:
    """Compare luma, Cr and Cb in a window around each `STEP`-th pixel.

    Args:
        own: An image.
        other: Another one.
        inside: Which windows count.
        before: The first image before its tones were changed; None: they were not.
    """
    luma = measure_rms(subtract(own.luma, other.luma), own.window, STEP)
    deviation, other_deviation = own.deviation, other.deviation
    busyness = np.maximum(deviation, other_deviation)
    busy = inside & (busyness > BUSY)
    lost = luma[busy] / busyness[busy]
    usual = quantile(lost, 0.5) if len(lost) else 0.0
    loss = min(max(TIMES_USUAL * usual, LEAST_LOSS), MOST_LOSS)
    tolerance = (NOISE + loss * busyness) * min(max(usual / COMPRESSED, EXACT), 1.0)
    if min(own.luma.shape) < SMALL:
        tolerance *= SMALL_EXACT
    else:
        tolerance = np.minimum(tolerance, _find_usual(luma, busyness, inside) * TIMES_OTHERS + LEAST_NOISE)
    excess = np.maximum(luma / tolerance, _compare_colors(own, other, luma.shape))
    had = deviation if before is None else before.deviation
    inexplicable = _find_unrelated(luma, had, deviation, other_deviation, inside)
    if before is not None:
        inexplicable |= (had > 2 * BUSY) & (deviation < ERASED * had) & ~_find_clipped(own.luma, other.luma)
    excess[inexplicable] = np.maximum(excess[inexplicable], 2 * SLACK)
    excess *= inside
    if usual <= STRONGLY_COMPRESSED and excess.max() <= SLACK:
        has_spot = inside & find_spots(own.luma, other.luma, np.minimum(deviation, other_deviation), inside)
        excess[has_spot] = 2 * SLACK
    differs = excess > 1
    area, count = np.count_nonzero(inside), np.count_nonzero(differs)
    return Difference(
        share=count / area,
        strength=float(excess.max()),
        box=_find_box(differs, excess) if count else (0.0, 0.0, 0.0, 0.0),
        agreement=np.count_nonzero(lost < ALIKE) / len(lost) if len(lost) else 0.0,
        loss=usual,
        seen=np.count_nonzero(busy) / area,
        common=_measure_common(own.luma, inside & ~differs & (busyness <= BUSY)) if count else 0.0,
    )


def _measure_common(luma: ByteArray, equal: BoolArray) -> float:
    """Return the range of the middle half of the gray levels of windows without details; 0 if these are just a part."""
    levels = luma[STEP // 2 :: STEP, STEP // 2 :: STEP][equal]
    if levels.size <= COMMON_SHARE * equal.size:
        return 0.0
    return quantile(levels, 0.75) - quantile(levels, 0.25)


def _find_usual(luma: FloatArray, busyness: FloatArray, inside: BoolArray) -> FloatArray:
    """Return for each window by how much most windows that are as busy differ."""
    values, places = luma[inside], busyness[inside]
    some = np.sort(places[::SOME])
    limits = np.unique(some[np.arange(1, BUSYNESS_BINS) * len(some) // BUSYNESS_BINS])
    bins = (places >= limits[:, None]).sum(axis=0, dtype=np.uint8)
    order = np.argsort(bins, kind="stable")
    ends = np.cumsum(np.bincount(bins))
    values, places = values[order], places[order]
    parts = [slice(*both) for both in pairwise([0, *ends]) if both[0] < both[1]]
    most = [quantile(values[part], MOST_OTHERS) for part in parts]
    return np.interp(busyness, [places[part].mean() for part in parts], most).astype(np.float32)


def _find_unrelated(
    luma: FloatArray, had: FloatArray, deviation: FloatArray, other: FloatArray, inside: BoolArray
) -> BoolArray:
    """Return which windows have textures that are not of one image, if these are not just a few.

    Args:
        luma: Differences, root mean square.
        had: Standard deviations of the first image before its tones were changed.
        deviation: The same now.
        other: The same of the second image.
        inside: Which windows count.
    """
    unrelated = (
        inside & (np.minimum(had, other) > TEXTURE) & (luma > UNRELATED * np.asarray(cv2.magnitude(deviation, other)))
    )
    return unrelated & (np.count_nonzero(unrelated) > UNRELATED_SHARE * np.count_nonzero(inside))


def _find_clipped(luma: ByteArray, other: ByteArray) -> BoolArray:
    """Return at which windows a change of tones ends in white or black, as brightness does.

    Only if the other image has tones next to white, or black: else nothing shows that its tones go on beyond it.
    """
    level = luma[STEP // 2 :: STEP, STEP // 2 :: STEP]
    shares = count_levels(other) / other.size
    near_white, near_black = shares[201:250].sum(), shares[6:55].sum()
    clipped: BoolArray = (level >= 250) & (near_white > NEXT_TO_END) | (level <= 5) & (near_black > NEXT_TO_END)
    return clipped


def _compare_colors(own: TonedImage, other: TonedImage, shape: tuple[int, ...]) -> FloatArray:
    """Return (rows, columns) differences of Cr and Cb, in parts of what is tolerated."""
    color = measure_length(measure_rms(subtract(own.color, other.color), own.window, COLOR_STEP))
    tolerance = COLOR_NOISE + COLOR_LOSS * np.minimum(own.colorfulness, other.colorfulness)
    excess = np.asarray(color / tolerance, np.float32)
    return interpolate(excess, (shape[1], shape[0]))


def _find_box(differs: BoolArray, excess: FloatArray) -> tuple[float, float, float, float]:
    _, regions, boxes, _ = cv2.connectedComponentsWithStats(differs.view(np.uint8))
    strength = np.bincount(regions.ravel(), (excess * differs).ravel())
    left, top, width, height, _ = boxes[1 + int(np.argmax(strength[1:]))].tolist()
    across, down = differs.shape[1], differs.shape[0]
    return left / across, top / down, (left + width) / across, (top + height) / down
