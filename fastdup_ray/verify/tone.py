"""Colors and tones of one image as another one would have them, if they were changed as a whole."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np

from fastdup_ray.common.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from fastdup_ray.verify.filters import (
    correlate,
    equalize,
    fit_size,
    look_up,
    measure_contrast,
    quantile,
    resize_bytes,
    resize_floats,
    sample_pixels,
    select_channel,
    split_channels,
    subtract,
    to_gray,
    to_luma_and_color,
)

BINS = 64
"""Steps of a tone curve, over 256 gray levels."""

LEVELS = np.arange(256, dtype=np.float32)

PLACES = np.linspace(0, 255, BINS, dtype=np.float32)
"""Levels at which a tone curve is given; in between it is straight."""

NEAREST = np.rint(np.arange(256) * ((BINS - 1) / 255)).astype(np.int64)
"""The step of each level."""

MAX_SATURATION = 2.0
"""Largest factor by which colors are strengthened."""

MAX_CAST = 10.0
"""Largest shift of all colors, in levels of Cr and Cb. A larger one, with colors removed, makes a bluish texture of a
reddish one."""

TRUSTED = 0.7
"""Part of an image, the least different one, from which tones and colors are learned."""

GOOD_FIT = 0.04
"""What a change of tones may miss, in parts of the contrast, to be taken without trying others."""

SIDE = 128
"""Pixels, of the longer side, by which tones and colors are compared: some of the image, as means of several pixels
would not have its tones."""

RELATED = 0.8
"""Correlation of ranks below which no change of tones makes two images agree: of 74 pairs that are the same in other
tones none has less than 0.95."""

COLORED, COLORED_SHARE, COS_OF_OTHER_HUE = 10.0, 0.05, 0.92
"""Levels of Cr and Cb from which on there is a color; the part of two images in which both have one from which on these
are compared; and the mean cosine of their angles below which they are others. Copies in other tones have 0.98."""

HUE_SIDE = 32
"""Pixels, of the longer side, at which colors are compared: means, as noise has any color."""

LITTLE = np.float32(0.02)
"""Weight of the rest, which decides only where levels are met nowhere else."""

Kind = Literal["channels", "luma"]
KINDS: tuple[Kind, ...] = ("channels", "luma")
"""What a tone curve applies to: each of red, green and blue (brightness, contrast, gamma), or the luma alone (colors
removed)."""


@dataclass(frozen=True)
class ToneMatch:
    """A change of colors and tones as a whole.

    Inverted tones and swapped colors are not among these changes: then nothing says that two images are one.

    Attributes:
        kind: See `KINDS`.
        curve: (BINS,) levels, never falling, for those at `PLACES`.
        saturation: Factor of Cr and Cb.
        cast: (2,) shift of Cr and Cb.
        changes_first: Whether it is for the first of two images, rather than for the second.
    """

    kind: Kind
    curve: FloatArray
    saturation: float
    cast: FloatArray
    changes_first: bool = True

    def apply(self, pixels: ByteArray) -> ByteArray:
        """Return (height, width, 3) uint8 luma, Cr and Cb of RGB pixels with these changes."""
        curve = _to_levels(np.interp(LEVELS, PLACES, self.curve))
        color = _to_levels((LEVELS - 128) * np.float32(self.saturation) + (128 + self.cast[:, None]))
        if self.kind == "channels":
            pixels, curve = look_up(pixels, curve), _to_levels(LEVELS)
        return look_up(to_luma_and_color(pixels), np.vstack([curve, color]).T)


@dataclass(frozen=True)
class Sample:
    """Some pixels of an image by which its tones are compared.

    Attributes:
        pixels: (1, n, 3) uint8 RGB.
        weight: (n,) float32, how much to go by each of them, above 0.
    """

    pixels: ByteArray
    weight: FloatArray

    @classmethod
    def select(cls, image: ByteArray, weight: FloatArray) -> Self:
        """Return the pixels of an image that have a weight.

        Args:
            image: (height, width, 3) uint8 RGB.
            weight: (height, width) float32.
        """
        inside = weight > 0
        if inside.all():
            return cls(image.reshape(1, -1, 3), weight.ravel())
        return cls(image[inside][None], weight[inside])

    @cached_property
    def luma_and_color(self) -> ByteArray:
        """(1, n, 3) uint8 luma, Cr and Cb."""
        return to_luma_and_color(self.pixels)

    @cached_property
    def contrast(self) -> float:
        """Standard deviation of the luma, at least 1."""
        return max(1.0, measure_contrast(select_channel(self.luma_and_color, 0)))

    @cached_property
    def spread(self) -> float:
        """Standard deviation of red, green and blue."""
        return measure_contrast(self.pixels.reshape(1, -1))


def match_tones(first: ByteArray, second: ByteArray, mask: BoolArray | None) -> ToneMatch | None:
    """Return the change that brings one image nearest to the tones of the other, whichever way and of whichever kind.

    Args:
        first: (height, width, 3) uint8 RGB.
        second: The same, aligned with the first.
        mask: (height, width), pixels that both have; None: all.

    Returns:
        The change; None if the images are so different that none helps.
    """
    height, width = first.shape[:2]
    size = fit_size((width, height), SIDE)
    images = sample_pixels(first, size), sample_pixels(second, size)
    weight = np.ones(size[::-1], np.float32) if mask is None else resize_floats(mask.astype(np.float32), size)
    if not weight[::2, ::2].any():
        return None
    if _correlate_ranks(*images, weight > 0) < RELATED or _have_other_hues(*images, weight):
        return None
    some = [Sample.select(image[::2, ::2], weight[::2, ::2]) for image in images]  # they tell which change fits
    every = [Sample.select(image, weight) for image in images]
    # The image with more contrast has what the other one has.
    order = (True, False) if every[0].spread >= every[1].spread else (False, True)
    least, best = np.inf, (order[0], KINDS[0])
    for changes_first in order:
        source, target = some if changes_first else some[::-1]
        for kind in KINDS:
            match = fit_tone(source, target, kind)
            missed = float(_sum_differences(match, source, target).mean()) / target.contrast
            if missed < least:
                least, best = missed, (changes_first, kind)
        if least < GOOD_FIT:
            break
    changes_first, kind = best
    source, target = every if changes_first else every[::-1]
    return replace(_fit_twice(source, target, kind), changes_first=changes_first)


def _fit_twice(source: Sample, target: Sample, kind: Kind) -> ToneMatch:
    """Fit a change of tones with all pixels, then without what differs most."""
    differences = _sum_differences(fit_tone(source, target, kind), source, target)
    is_trusted = differences <= quantile(differences, TRUSTED)
    trusted = replace(source, weight=np.where(is_trusted, source.weight, LITTLE * source.weight))
    return fit_tone(trusted, target, kind)


def _sum_differences(match: ToneMatch, source: Sample, target: Sample) -> FloatArray:
    """Return (n,) sums of the differences of luma, Cr and Cb after a change of tones."""
    differences = subtract(match.apply(source.pixels), target.luma_and_color)[0]
    total: FloatArray = differences.astype(np.float32) @ np.ones(3, np.float32)
    return total


def _have_other_hues(first: ByteArray, second: ByteArray, weight: FloatArray) -> bool:
    """Return whether what has a color in both images has another one: one is green all over, and the other blue."""
    size = fit_size((weight.shape[1], weight.shape[0]), HUE_SIDE)
    inside = resize_floats(weight, size) > 0
    own, other = (
        to_luma_and_color(resize_bytes(image, size))[inside][:, 1:].astype(np.float32) - 128
        for image in (first, second)
    )
    strengths = np.linalg.norm(own, axis=1), np.linalg.norm(other, axis=1)
    colored = np.minimum(*strengths) > COLORED
    if colored.mean() < COLORED_SHARE:
        return False
    product = (own * other).sum(axis=1)[colored].sum()
    return bool(product < COS_OF_OTHER_HUE * (strengths[0] * strengths[1])[colored].sum())


def _correlate_ranks(first: ByteArray, second: ByteArray, mask: BoolArray) -> float:
    """Return the correlation of the ranks of gray levels, which no change of tones changes."""
    return correlate(equalize(to_gray(first)), equalize(to_gray(second)), mask)


def fit_tone(source: Sample, target: Sample, kind: Kind) -> ToneMatch:
    """Fit a change that brings the colors and tones of an image near those of another one.

    Args:
        source: Pixels of an image, whose weights count.
        target: Pixels at the same places of the other.
        kind: See `KINDS`.
    """
    own, wanted = source.luma_and_color, target.luma_and_color
    if kind == "channels":
        curve = _fit_curve(source.pixels.ravel(), target.pixels.ravel(), np.repeat(source.weight, 3))
        own = to_luma_and_color(look_up(source.pixels, _to_levels(np.interp(LEVELS, PLACES, curve))))
    else:
        curve = _fit_curve(own[0, :, 0], wanted[0, :, 0], source.weight)
    shares = source.weight / np.float32(source.weight.sum())
    color, wanted_color = (np.array(split_channels(image)[1:], np.float32)[:, 0] for image in (own, wanted))
    mean, wanted_mean = color @ shares, wanted_color @ shares
    color -= mean[:, None]
    spread = float((np.square(color) @ shares).sum())
    wanted_color -= wanted_mean[:, None]
    product = float(((color * wanted_color) @ shares).sum())
    factor = min(max(product / spread, 0.0), MAX_SATURATION) if spread > 0.25 else 1.0
    cast = np.clip(wanted_mean - 128 - factor * (mean - 128), -MAX_CAST, MAX_CAST)
    return ToneMatch(kind, curve, factor, cast.astype(np.float32))


def _to_levels(values: FloatArray | DoubleArray) -> ByteArray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _fit_curve(source: ByteArray, target: ByteArray, weight: FloatArray) -> FloatArray:
    """Return (BINS,) levels of `target` for those of `source` at `PLACES`, which never fall."""
    weights = np.bincount(source, weight, 256)
    shifts = np.bincount(source, weight * target, 256) - weights * LEVELS
    count, shift = (np.asarray(np.bincount(NEAREST, values, BINS), np.float64) for values in (weights, shifts))
    known = count > 0
    if not known.any():
        return PLACES
    levels = _make_rising(PLACES[known] + shift[known] / count[known], count[known])
    curve: FloatArray = np.interp(PLACES, PLACES[known], levels).astype(np.float32)
    return curve


def _make_rising(values: DoubleArray, weights: DoubleArray) -> DoubleArray:
    """Return the nearest values, by weighted least squares, that never fall: the pool adjacent violators algorithm.

    scipy.optimize has it, too, but takes longer to import than to compare hundreds of images.
    """
    blocks: list[tuple[float, float, int]] = []  # mean, weight and number of values that are pooled
    for mean, weight in zip(values.tolist(), weights.tolist(), strict=True):
        count = 1
        while blocks and blocks[-1][0] >= mean:
            other, other_weight, other_count = blocks.pop()
            total = weight + other_weight
            mean, weight, count = (mean * weight + other * other_weight) / total, total, count + other_count
        blocks.append((mean, weight, count))
    return np.repeat([mean for mean, _, _ in blocks], [count for _, _, count in blocks])
