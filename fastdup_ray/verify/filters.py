"""Filters of OpenCV, with the types of this project."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from fastdup_ray.common.arrays import BoolArray, ByteArray, DoubleArray, FloatArray

MUCH, LARGE = 3, 512
"""Factor from which on an image with a longer side, in pixels, is made smaller by halves."""


@contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """Have OpenCV use the calling thread alone; it has no setting for a single call."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def to_gray(pixels: ByteArray) -> ByteArray:
    """Return (height, width) gray levels of RGB pixels."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def equalize(gray: ByteArray) -> ByteArray:
    """Return the ranks of (height, width) gray levels, from 0 to 255: levels with a flat histogram."""
    return np.asarray(cv2.equalizeHist(gray), np.uint8)


def to_luma_and_color(pixels: ByteArray) -> ByteArray:
    """Return (height, width, 3) luma, Cr and Cb of RGB pixels; 128 is no color."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb), np.uint8)


def fit_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return width and height, reduced so that the longer one is at most `side`."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize_bytes(pixels: ByteArray, size: tuple[int, int]) -> ByteArray:
    """Resize an image to width and height; where it becomes smaller, each pixel is the mean of those it replaces."""
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def reduce_much(pixels: ByteArray, size: tuple[int, int]) -> ByteArray:
    """Resize as `resize_bytes` does; by halves, which is nearly the same, if a large image becomes much smaller."""
    height, width = pixels.shape[:2]
    while max(width, height) > LARGE and width >= MUCH * size[0] and height >= MUCH * size[1]:
        width, height = width // 2, height // 2
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return resize_bytes(pixels, size)


def enlarge(pixels: ByteArray, scale: float) -> ByteArray:
    """Enlarge an image by a factor."""
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def halve(pixels: ByteArray) -> ByteArray:
    """Reduce an image to half its size; the last row and column of odd numbers are left out."""
    height, width = pixels.shape[:2]
    if min(height, width) < 2:
        return pixels
    return resize_bytes(pixels[: height // 2 * 2, : width // 2 * 2], (width // 2, height // 2))


def sample_pixels(pixels: ByteArray, size: tuple[int, int]) -> ByteArray:
    """Return an image of this width and height that has some of the pixels, as they are."""
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def resize_floats(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Resize as `resize_bytes` does."""
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def interpolate(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Return values for another width and height."""
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)


def blur(pixels: ByteArray, deviation: float) -> ByteArray:
    """Blur with a Gaussian of this standard deviation, in pixels."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), deviation), np.uint8)


def look_up(pixels: ByteArray, table: ByteArray) -> ByteArray:
    """Replace each level by that of a (256,) table, or of a (256, 3) table with a column for each channel."""
    return np.asarray(cv2.LUT(pixels, table if table.ndim == 1 else table[None]), np.uint8)


def select_channel(pixels: ByteArray, number: int) -> ByteArray:
    """Return one of the channels, contiguous."""
    return np.asarray(cv2.extractChannel(pixels, number), np.uint8)


def select_colors(pixels: ByteArray) -> ByteArray:
    """Return (height, width, 2), the last two of the three channels, contiguous."""
    return np.asarray(cv2.merge([cv2.extractChannel(pixels, number) for number in (1, 2)]), np.uint8)


def split_channels(pixels: ByteArray) -> list[ByteArray]:
    """Return each of the channels, contiguous."""
    return [np.asarray(channel, np.uint8) for channel in cv2.split(pixels)]


def subtract(first: ByteArray, second: ByteArray) -> ByteArray:
    """Return the absolute differences."""
    return np.asarray(cv2.absdiff(first, second), np.uint8)


def subtract_signed(first: ByteArray, second: ByteArray) -> FloatArray:
    """Return the differences with their sign."""
    return np.asarray(cv2.subtract(first, second, dtype=cv2.CV_32F), np.float32)


def quantile(values: FloatArray | DoubleArray | ByteArray, share: float) -> float:
    """Return what `numpy.quantile` does for (n,) values, in a fifth of the time for some thousands of them."""
    place = share * (len(values) - 1)
    below = int(place)
    parted = np.partition(values, below)
    low = float(parted[below])
    return low if below == place else low + (place - below) * (float(parted[below + 1 :].min()) - low)


def measure_contrast(levels: ByteArray) -> float:
    """Return the standard deviation of (height, width) levels."""
    return float(cv2.meanStdDev(levels)[1].item())


def correlate(levels: ByteArray, others: ByteArray, mask: BoolArray) -> float:
    """Return the correlation of (height, width) levels within a mask; 0 where one of them is flat."""
    count = np.count_nonzero(mask)
    levels, others = (np.asarray(cv2.copyTo(each, mask.view(np.uint8)), np.uint8) for each in (levels, others))
    total, other_total = cv2.sumElems(levels)[0], cv2.sumElems(others)[0]
    square, other_square = cv2.norm(levels, cv2.NORM_L2SQR), cv2.norm(others, cv2.NORM_L2SQR)
    product = (square + other_square - cv2.norm(levels, others, cv2.NORM_L2SQR)) / 2
    spreads = (count * square - total**2) * (count * other_square - other_total**2)
    return (count * product - total * other_total) / math.sqrt(spreads) if spreads > 0 else 0.0


def count_levels(levels: ByteArray, step: int = 1) -> DoubleArray:
    """Return how many of (height, width) levels there are in each of the `256 / step` steps."""
    return np.asarray(cv2.calcHist([levels], [0], None, [256 // step], [0, 256]), np.float64).ravel()


def count_level_pairs(levels: ByteArray, others: ByteArray) -> DoubleArray:
    """Return (256, 256), how many pixels have each level of one image together with each of another one."""
    return np.asarray(cv2.calcHist([levels, others], [0, 1], None, [256, 256], [0, 256, 0, 256]), np.float64)


def measure_ranges(channels: list[ByteArray]) -> ByteArray:
    """Return the difference of the highest and the lowest of some channels at each pixel."""
    highest, lowest = channels[0], channels[0]
    for channel in channels[1:]:
        highest, lowest = np.maximum(highest, channel), np.minimum(lowest, channel)
    return highest - lowest


def measure_means(values: ByteArray | FloatArray, window: int) -> FloatArray:
    """Return the mean in the window around every pixel."""
    return np.asarray(cv2.boxFilter(values, cv2.CV_32F, (window, window)), np.float32)


def measure_rms(values: ByteArray, window: int, step: int) -> FloatArray:
    """Return the root mean square in the window around every `step`-th pixel."""
    _, squares = _average_windows(values, window, step)
    return np.sqrt(squares, dtype=np.float32)


def measure_deviation(values: ByteArray, window: int, step: int) -> FloatArray:
    """Return the standard deviation in the window around every `step`-th pixel."""
    means, squares = _average_windows(values, window, step)
    return np.sqrt(np.maximum(squares - np.square(means), 0), dtype=np.float32)


def measure_length(vectors: FloatArray) -> FloatArray:
    """Return (height, width) lengths of (height, width, 2) vectors."""
    return np.asarray(cv2.magnitude(vectors[..., 0], vectors[..., 1]), np.float32)


def _average_windows(values: ByteArray, window: int, step: int) -> tuple[DoubleArray, DoubleArray]:
    """Return the mean and the mean square in the window around every `step`-th pixel.

    Both are differences of sums from the first pixel on: a filter would take as long at the pixels that are left out.
    """
    beside = window // 2
    padded = cv2.copyMakeBorder(values, beside, beside, beside, beside, cv2.BORDER_REFLECT)
    (top, bottom), (left, right) = (_list_edges(side, window, step) for side in values.shape[:2])
    averages = []
    for sums in cv2.integral2(padded):
        bands = np.asarray(sums)[bottom] - np.asarray(sums)[top]
        averages.append((bands[:, right] - bands[:, left]) / window**2)
    means, squares = averages
    return means, squares


def _list_edges(side: int, window: int, step: int) -> tuple[slice, slice]:
    """Return where windows begin along a side, and where they end."""
    first = min(step // 2, side - 1)
    return slice(first, side, step), slice(first + window, side + window, step)


def measure_edges(gray: ByteArray) -> FloatArray:
    """Return the length of the gradient at each pixel (Sobel)."""
    across, down = (np.asarray(cv2.Sobel(gray, cv2.CV_32F, *axis), np.float32) for axis in ((1, 0), (0, 1)))
    return np.hypot(across, down)


def grow(mask: BoolArray, pixels: int) -> BoolArray:
    """Extend a mask by so many pixels on each side."""
    return np.asarray(cv2.dilate(mask.view(np.uint8), _make_square(pixels)), np.uint8).view(bool)


def shrink(mask: BoolArray, pixels: int) -> BoolArray:
    """Reduce a mask by so many pixels on each side, though not at the border of the frame."""
    return np.asarray(cv2.erode(mask.view(np.uint8), _make_square(pixels)), np.uint8).view(bool)


def leave_rim(mask: BoolArray, pixels: int) -> BoolArray:
    """Reduce a mask by so many pixels on each side, at the border of the frame, too."""
    inner = cv2.erode(mask.view(np.uint8), _make_square(pixels), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(inner, np.uint8).view(bool)


def _make_square(pixels: int) -> ByteArray:
    return np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
