"""Convert samples of more than 8 bits (16-bit and 32-bit integers, floats) to the 8 bits that the model takes."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from fastdup_ray.common.arrays import AnyArray, ByteArray, DoubleArray, IntArray

BIT_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
"""Bits that unsigned samples use in practice, whatever the width of the integers that hold them."""

STRAY = 1e-4
"""Share of the samples that may exceed the bits that all others use: defective pixels of a sensor."""

SCALES = (1.0, 255.0, 65535.0)
"""Usual values of white in images of floats that are tones, not measurements."""

FILLED = 0.9
"""Share of a scale that the values have to cover for the scale to be assumed."""

LOW_CONTRAST = 1 / 8
"""Share of the range of their bits below which samples are stretched from the lowest to the highest value..."""

NO_CONTRAST = 1 / 4096
"""... unless they cover less than this: then the image is uniform, and the rest is noise."""

FEW_LEVELS = 16
"""Number of distinct values below which an extreme one may be a label like the others, not a missing sample."""

FENCE = 3.0
"""How far a value may be from the 1st or the 99th percentile, in distances between the two; as Tukey's fences."""

SAMPLES = 1 << 20
"""Largest number of values from which a range is estimated."""

_GDAL_NODATA = 42113
"""The TIFF tag in which GDAL stores the value of missing samples: https://gdal.org/drivers/raster/gtiff.html."""
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO = 0
_SIGNED = 2


class Range(NamedTuple):
    """The range of values that is mapped to 0 to 255.

    Attributes:
        low: The value that becomes black.
        high: The value that becomes white.
        strays: Whether values outside the range may be data rather than marks of missing samples.
    """

    low: float
    high: float
    strays: bool = False


def has_deep_samples(image: Image.Image) -> bool:
    """Return whether an image has one channel of a type that Pillow does not convert to 8 bits correctly."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16") or _is_signed(image)


def to_8_bits(image: Image.Image) -> tuple[Image.Image, bool]:
    """Convert an image for which `has_deep_samples` is true to mode L.

    NaN and samples below the range become black, samples above it white.

    Returns:
        The image, and whether values outside the range may be data (see `Range`).
    """
    values = read_samples(image)
    shown = find_range(values, _read_nodata(image))
    pixels = apply_range(values, shown)
    if _read_tag(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO and not image.mode.startswith(("L", "1")):
        pixels = 255 - pixels  # Pillow inverts such images itself only up to 8 bits
    return Image.fromarray(pixels), shown.strays


def read_samples(image: Image.Image) -> AnyArray:
    """Return the samples of an image with one channel, (height, width), in the data type of the file."""
    values: AnyArray = np.asarray(image)
    if _is_signed(image):
        return values.view(np.int8)
    if image.mode == "I" and image.format == "TIFF" and _read_tag(image, _BITS_PER_SAMPLE, 8) == 32:
        return values if _read_tag(image, _SAMPLE_FORMAT, 1) == _SIGNED else values.view(np.uint32)
    if image.mode == "I" and image.format == "PPM":  # Pillow scales these to 16 bits
        return values.astype(np.uint16)
    return values


def find_range(values: AnyArray, nodata: float | None = None) -> Range:
    """Return the range of the samples that are not missing.

    Missing samples are NaN, infinite, equal to `nodata`, or an extreme value (such as -9999, -3.4e38 or 65535) that is
    farther from its nearest value than all other values are from each other.

    Args:
        values: Samples of any shape, integers or floats.
        nodata: The value of missing samples, if the file names it.
    """
    levels, counts = _count_levels(values, nodata)
    if len(levels) == 0:
        return Range(0.0, 1.0)
    first, last = _find_data(levels)
    may_be_labels = len(levels) < FEW_LEVELS and last - first + 1 < len(levels)
    levels, counts = levels[first : last + 1], counts[first : last + 1]
    is_unsigned = np.issubdtype(values.dtype, np.unsignedinteger)
    shown = _range_of_bits(levels, counts) if is_unsigned else _range_of_measurements(levels, counts)
    return shown._replace(strays=bool(shown.strays) or may_be_labels)


def apply_range(values: AnyArray, shown: Range) -> ByteArray:
    """Map samples linearly from a range to 0 to 255; uint8 of the same shape."""
    low, high, _ = shown
    if values.dtype == np.uint16:  # by a table: large images often have 16 bits
        table = apply_range(np.arange(1 << 16, dtype=np.float64), shown)
        pixels: ByteArray = table[values]
        return pixels
    inside = np.clip(values.astype(np.float64), low, high)
    levels = (inside - low) / (high - low) * 255 if high > low else np.zeros(values.shape)
    return (np.nan_to_num(levels) + 0.5).astype(np.uint8)


def _count_levels(values: AnyArray, nodata: float | None) -> tuple[DoubleArray, IntArray]:
    """Return the distinct finite values in ascending order and their counts, from at most about `SAMPLES` samples."""
    flat = values.reshape(-1)
    flat = flat[:: max(1, len(flat) // SAMPLES)]
    if flat.dtype == np.uint16 and nodata is None:  # the most frequent case, which needs no sorting
        counts = np.bincount(flat)
        levels = np.flatnonzero(counts)
        return levels.astype(np.float64), counts[levels]
    flat = flat[np.isfinite(flat)]
    if nodata is not None:
        flat = flat[flat != np.asarray(nodata).astype(flat.dtype)]
    levels, counts = np.unique(flat, return_counts=True)
    return levels.astype(np.float64), counts


def _find_data(levels: DoubleArray) -> tuple[int, int]:
    """Return the indices of the first and the last of the ascending levels that are not marks of missing samples."""
    first, last = 0, len(levels) - 1
    while last - first > 2:
        spread = levels[last - 1] - levels[first + 1]
        is_low = levels[first + 1] - levels[first] > spread
        is_high = levels[last] - levels[last - 1] > spread
        if not (is_low or is_high):
            break
        first, last = first + is_low, last - is_high
    return first, last


def _range_of_bits(levels: DoubleArray, counts: IntArray) -> Range:
    """Return the range of unsigned integers: from 0 to the largest number of the bits that they use."""
    most = float(levels[_find_percentile(counts, 1 - STRAY)])
    bits = next(bits for bits in BIT_DEPTHS if most < 1 << bits)
    white = float((1 << bits) - 1)
    high = min(float(levels[-1]), white)
    if white * NO_CONTRAST <= high - levels[0] < white * LOW_CONTRAST:
        return Range(float(levels[0]), high, levels[-1] > high)
    return Range(0.0, white, levels[-1] > white)


def _range_of_measurements(levels: DoubleArray, counts: IntArray) -> Range:
    """Return the range of values of unknown scale: from the lowest to the highest, without a few that are far away."""
    low, high = float(levels[0]), float(levels[-1])
    for white in SCALES:
        if FILLED * white <= high <= white and 0 <= low <= (1 - FILLED) * white:
            return Range(0.0, white)
    least, most = (float(levels[_find_percentile(counts, share)]) for share in (0.01, 0.99))
    reach = FENCE * (most - least)
    if reach == 0:  # all but a few samples are equal: those few are the content
        return Range(low, high)
    inside = levels[(levels >= least - reach) & (levels <= most + reach)]
    return Range(float(inside[0]), float(inside[-1]), len(inside) < len(levels))


def _find_percentile(counts: IntArray, share: float) -> int:
    """Return the index of the level at or below which `share` of the samples are."""
    total = np.cumsum(counts)
    return int(np.searchsorted(total, share * total[-1]))


def _read_nodata(image: Image.Image) -> float | None:
    try:
        return float(str(_read_tag(image, _GDAL_NODATA, "")).strip("\0 "))
    except ValueError:
        return None


def _is_signed(image: Image.Image) -> bool:
    """Return whether it is a TIFF of signed bytes, which Pillow treats as unsigned."""
    return image.mode == "L" and image.format == "TIFF" and _read_tag(image, _SAMPLE_FORMAT, 1) == _SIGNED


def _read_tag(image: Image.Image, number: int, default: object) -> object:
    """Return the value of a TIFF tag, the first one if there are several."""
    tags = getattr(image, "tag_v2", None)
    value = default if tags is None else tags.get(number, default)
    return value[0] if isinstance(value, tuple) and value else value
