"""Filters of OpenCV, with the types of this project."""

import cv2
import numpy as np

from fastdup_ray.common.arrays import BoolArray, ByteArray, FloatArray


def to_gray(pixels: ByteArray) -> ByteArray:
    """Return (height, width) gray levels of RGB pixels."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def to_luma_and_color(pixels: FloatArray) -> FloatArray:
    """Return (height, width, 3) luma, Cr and Cb of RGB pixels; all from 0 to 255, with 128 for no color."""
    # For float32, OpenCV takes levels from 0 to 1, and 0.5 for no color.
    converted = cv2.cvtColor(pixels * np.float32(1 / 255), cv2.COLOR_RGB2YCrCb)
    return np.asarray(converted * np.float32(255), np.float32)


def to_rgb(luma_and_color: FloatArray) -> FloatArray:
    """Return the RGB pixels of which `to_luma_and_color` returns this, clipped to 0 to 255."""
    rgb = cv2.cvtColor(luma_and_color * np.float32(1 / 255), cv2.COLOR_YCrCb2RGB)
    return np.asarray(np.clip(rgb, 0, 1) * np.float32(255), np.float32)


def fit_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return width and height, reduced so that the longer one is at most `side`."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize_bytes(pixels: ByteArray, size: tuple[int, int]) -> ByteArray:
    """Resize an image to width and height; where it becomes smaller, each pixel is the mean of those it replaces."""
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def resize_floats(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Resize as `resize_bytes` does."""
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def blur(values: FloatArray, deviation: float) -> FloatArray:
    """Blur with a Gaussian of this standard deviation, in pixels."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), deviation), np.float32)


def average(values: FloatArray, window: int) -> FloatArray:
    """Return the mean of the window around each pixel."""
    return np.asarray(cv2.blur(values, (window, window), borderType=cv2.BORDER_REFLECT), np.float32)


def measure_rms(values: FloatArray, window: int) -> FloatArray:
    """Return the root mean square of the window around each pixel."""
    return np.sqrt(np.maximum(average(np.square(values), window), 0))  # running sums may end below 0


def measure_deviation(values: FloatArray, window: int) -> FloatArray:
    """Return the standard deviation within the window around each pixel."""
    return np.sqrt(np.maximum(average(np.square(values), window) - np.square(average(values, window)), 0))


def measure_edges(gray: ByteArray) -> FloatArray:
    """Return the length of the gradient at each pixel (Sobel)."""
    across, down = (np.asarray(cv2.Sobel(gray, cv2.CV_32F, *axis), np.float32) for axis in ((1, 0), (0, 1)))
    return np.hypot(across, down)


def grow(mask: BoolArray, pixels: int) -> BoolArray:
    """Extend a mask by so many pixels on each side."""
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel), bool)


def shrink(mask: BoolArray, pixels: int) -> BoolArray:
    """Reduce a mask by so many pixels on each side, though not at the border of the frame."""
    return ~grow(~mask, pixels)
