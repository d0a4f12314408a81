"""Crop an image to the bounding box and resize it to the size that the model takes."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fastdup_ray.common.records import MIN_SIDE, Box, Unseen
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract.margins import find_content_box, has_marks
from fastdup_ray.extract.transparency import choose_ground, flatten_alpha

LONGEST = 8.0
"""Longer side by shorter side above which details are lost when an image is squashed to a square."""


GAP = 4
"""An image is averaged over whole blocks before it is resampled, as long as this many times the pixels of the result
remain: at 4 the embeddings of 62 large pages have a cosine of 0.978 or more to those without it, at 3 of 0.969."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How an image is fitted to the size that a model takes.

    Attributes:
        trim: Leave out margins of one color, as far as they are visible at that size.
        center: Keep the proportions, and leave out what is too long at both ends; otherwise the image is squashed.
        share: Share of each side, around the center, that is used.
        resampling: Pillow's filter.
    """

    trim: bool = False
    center: bool = False
    share: float = 1.0
    resampling: Image.Resampling = Image.Resampling.BILINEAR

    def enlarge(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the width and height that a whole image needs for its used part to have at least `size`."""
        return math.ceil(size[0] / self.share), math.ceil(size[1] / self.share)

    def choose_part(self, part: tuple[float, float], size: tuple[int, int]) -> tuple[float, float]:
        """Return the width and height that are used of `part`, a width and height in pixels, to fill `size`."""
        width, height = part
        if self.center:
            scale = min(width / size[0], height / size[1])
            width, height = size[0] * scale, size[1] * scale
        return width * self.share, height * self.share


SQUASH = Fit()
"""The whole image, squashed."""


def crop_box(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Clip a bounding box to an image.

    Args:
        box: The bounding box.
        size: Width and height of the upright image.

    Returns:
        left, top, right and bottom, in pixels of the image.

    Raises:
        BadImageError: The box misses the image, or leaves fewer than `MIN_SIDE` pixels a side.
    """
    width, height = size
    left, top = box.cols, box.rows
    right, bottom = min(width, box.cols + box.width), min(height, box.rows + box.height)
    if min(box.width, box.height) >= MIN_SIDE and (left >= right or top >= bottom):
        reason = f"the box {box} is outside the image's {width} x {height} pixels"
        raise BadImageError(ErrorCode.BOUNDING_BOX_OUTSIDE, reason, size)
    if min(right - left, bottom - top) < MIN_SIDE:
        reason = f"the box {box} leaves {right - left} x {bottom - top} pixels; {MIN_SIDE} a side are needed"
        raise BadImageError(ErrorCode.TOO_SMALL, reason, size)
    return left, top, right, bottom


def resize(
    image: Image.Image,
    size: tuple[int, int],
    box: Box | None = None,
    full_size: tuple[int, int] | None = None,
    fit: Fit = SQUASH,
) -> tuple[Image.Image, frozenset[Unseen]]:
    """Resize an upright image, or the part of it in a box, to exactly `size`.

    Args:
        image: An image in mode RGB, or in RGBa if it has an alpha channel (see `decode.to_color`).
        size: Width and height of the result.
        box: The part to use, in pixels of `full_size`.
        full_size: Width and height of the original, if `image` was decoded at a smaller size.
        fit: How it is fitted to `size`.

    Returns:
        The image in mode RGB, and what it no longer shows.

    Raises:
        BadImageError: See `crop_box`.
    """
    left, top, right, bottom = 0.0, 0.0, float(image.width), float(image.height)
    if box is not None:
        full_size = full_size or image.size
        across, down = image.width / full_size[0], image.height / full_size[1]
        inside = crop_box(box, full_size)
        left, top, right, bottom = inside[0] * across, inside[1] * down, inside[2] * across, inside[3] * down
        x, y = math.floor(left), math.floor(top)
        image = image.crop((x, y, math.ceil(right), math.ceil(bottom)))
        left, top, right, bottom = left - x, top - y, right - x, bottom - y
    shorter, longer = sorted((right - left, bottom - top))
    unseen = {Unseen.ASPECT_RATIO} if longer > LONGEST * shorter and not fit.center else set()
    used = fit.choose_part((right - left, bottom - top), size)
    beside, above = (right - left - used[0]) / 2, (bottom - top - used[1]) / 2
    unseen |= {Unseen.CROP} if max(beside, above) >= 1 else set()
    left, top, right, bottom = left + beside, top + above, right - beside, bottom - above
    across, down = max(1, int((right - left) / size[0] / GAP)), max(1, int((bottom - top) / size[1] / GAP))
    if (across, down) != (1, 1):
        image = image.reduce((across, down))
        left, top, right, bottom = left / across, top / down, right / across, bottom / down
    small = _resize_box(image, size, (left, top, right, bottom), fit.resampling)
    level = 0
    if small.mode == "RGBa":
        ground = choose_ground(small)
        level = ground.level
        unseen |= {Unseen.TRANSPARENCY} if ground.hides else set()
    small = flatten_alpha(small, level)
    if fit.trim and (content := find_content_box(np.asarray(small))) != (0, 0, *size):
        unseen |= {Unseen.MARGIN} if has_marks(np.asarray(small), content) else set()
        across, down = (right - left) / size[0], (bottom - top) / size[1]
        right, bottom = left + content[2] * across, top + content[3] * down
        left, top = left + content[0] * across, top + content[1] * down
        small = flatten_alpha(_resize_box(image, size, (left, top, right, bottom), fit.resampling), level)
    return small, frozenset(unseen)


def _resize_box(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float], resampling: Image.Resampling
) -> Image.Image:
    """Resize the part of an image in the box (left, top, right, bottom), first across, then down.

    In a single call Pillow begins with the height of tall images since version 13, and pillow-simd does not, which
    changes a fifth of the pixels by one gray level.
    """
    left, top, right, bottom = box
    narrow = image.resize((size[0], image.height), resampling, box=(left, 0, right, image.height))
    return narrow.resize(size, resampling, box=(0, top, size[0], bottom))
