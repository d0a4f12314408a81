"""One of two images that are compared, as it is or in other tones, and what is derived from it once."""

from functools import cached_property

from fastdup_ray.common.arrays import ByteArray, FloatArray
from fastdup_ray.verify.filters import (
    halve,
    measure_deviation,
    measure_length,
    select_channel,
    select_colors,
    to_luma_and_color,
)
from fastdup_ray.verify.tone import ToneMatch

STEP = 3
"""Pixels from one window to the next."""

COLOR_STEP = (STEP + 1) // 2
"""The same for colors, at half the size."""


class TonedImage:
    """An image in some tones.

    Attributes:
        pixels: (height, width, 3) uint8 RGB, before any change of tones.
        window: Pixels of the side of the windows that are compared.
        tones: The change; None: as it is.
    """

    def __init__(self, pixels: ByteArray, window: int, tones: ToneMatch | None = None) -> None:
        self.pixels = pixels
        self.window = window
        self.tones = tones

    @cached_property
    def _luma_and_color(self) -> ByteArray:
        return to_luma_and_color(self.pixels) if self.tones is None else self.tones.apply(self.pixels)

    @cached_property
    def luma(self) -> ByteArray:
        """(height, width) uint8."""
        return select_channel(self._luma_and_color, 0)

    @cached_property
    def deviation(self) -> FloatArray:
        """(rows, columns) standard deviation of the luma in the window around each `STEP`-th pixel."""
        return measure_deviation(self.luma, self.window, STEP)

    @cached_property
    def color(self) -> ByteArray:
        """(height, width, 2) uint8 Cr and Cb at half the size."""
        return select_colors(halve(self._luma_and_color))

    @cached_property
    def colorfulness(self) -> FloatArray:
        """(rows, columns) standard deviation of the colors in windows of that size."""
        return measure_length(measure_deviation(self.color, self.window, COLOR_STEP))
