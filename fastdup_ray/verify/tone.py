"""Colors and tones of one image as another one would have them, if they were changed as a whole."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import isotonic_regression

from fastdup_ray.common.arrays import FloatArray
from fastdup_ray.verify.filters import to_luma_and_color, to_rgb

BINS = 64
"""Steps of a tone curve, over 256 gray levels."""

MAX_SATURATION = 2.0
"""Largest factor by which colors are strengthened."""

MAX_CAST = 24.0
"""Largest shift of all colors, in levels of Cr and Cb."""

TRUSTED = 0.7
"""Part of an image, the least different one, from which tones and colors are learned."""

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
        curve: (BINS,) levels, never falling, for those from 0 to 255.
        saturation: Factor of Cr and Cb.
        cast: (2,) shift of Cr and Cb.
    """

    kind: Kind
    curve: FloatArray
    saturation: float
    cast: FloatArray

    def apply(self, pixels: FloatArray) -> FloatArray:
        """Return (height, width, 3) float32 pixels with these changes; both RGB."""
        if self.kind == "channels":
            changed = to_luma_and_color(_bend(pixels, self.curve))
        else:
            changed = to_luma_and_color(pixels)
            changed[..., 0] = _bend(changed[..., 0], self.curve)
        changed[..., 1:] = (changed[..., 1:] - 128) * np.float32(self.saturation) + 128 + self.cast
        return to_rgb(changed)


def fit_tone(source: FloatArray, target: FloatArray, weight: FloatArray, kind: Kind) -> ToneMatch:
    """Fit a change that brings the colors and tones of an image near those of another one.

    Args:
        source: (height, width, 3) float32 RGB, from 0 to 255.
        target: The same, aligned with `source`.
        weight: (height, width), how much to go by each pixel.
        kind: See `KINDS`.
    """
    own, wanted = to_luma_and_color(source), to_luma_and_color(target)
    if kind == "channels":
        curve = _fit_curve(source.reshape(-1), target.reshape(-1), np.repeat(weight.reshape(-1), 3))
        own = to_luma_and_color(_bend(source, curve))
    else:
        curve = _fit_curve(own[..., 0].reshape(-1), wanted[..., 0].reshape(-1), weight.reshape(-1))
    shares = (weight / np.float32(max(float(weight.sum()), 1e-6)))[..., None]
    color, wanted_color = own[..., 1:], wanted[..., 1:]
    mean, wanted_mean = (shares * color).sum(axis=(0, 1)), (shares * wanted_color).sum(axis=(0, 1))
    spread = float((shares * (color - mean) ** 2).sum())
    product = float((shares * (color - mean) * (wanted_color - wanted_mean)).sum())
    factor = min(max(product / spread, 0.0), MAX_SATURATION) if spread > 0.25 else 1.0
    cast = np.clip(wanted_mean - 128 - factor * (mean - 128), -MAX_CAST, MAX_CAST)
    return ToneMatch(kind, curve, factor, cast.astype(np.float32))


def _bend(levels: FloatArray, curve: FloatArray) -> FloatArray:
    place = np.clip(levels, 0, 255) * np.float32((BINS - 1) / 255)
    step = np.minimum(place.astype(np.int32), BINS - 2)
    slope = np.diff(curve)
    bent: FloatArray = (curve[step] + (place - step) * slope[step]).astype(np.float32)
    return bent


def _fit_curve(source: FloatArray, target: FloatArray, weight: FloatArray) -> FloatArray:
    """Return (BINS,) levels of `target` for levels of `source`, which never fall."""
    step = np.clip((source * ((BINS - 1) / 255) + 0.5).astype(np.int64), 0, BINS - 1)
    count = np.bincount(step, weight, BINS)
    shift = np.bincount(step, weight * (target - source), BINS)
    known = count > 0
    places = np.linspace(0, 255, BINS)
    if not known.any():
        return places.astype(np.float32)
    levels = isotonic_regression(places[known] + shift[known] / count[known], weights=count[known]).x
    curve: FloatArray = np.interp(places, places[known], levels).astype(np.float32)
    return curve
