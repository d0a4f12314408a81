"""Refuse images that are too large or too small."""

from fastdup_ray.common.records import Limits
from fastdup_ray.errors import BadImageError, ErrorCode


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """Check the size of an image.

    Args:
        size: Width and height in pixels.
        limits: What is too large and too small.

    Raises:
        BadImageError: The size is impossible, too large or too small.
    """
    width, height = size
    check_pixel_count(size, limits.max_pixels)
    if min(width, height) < limits.min_size:
        reason = f"{width} x {height} pixels; {limits.min_size} a side are needed"
        raise BadImageError(ErrorCode.TOO_SMALL, reason, size)


def check_pixel_count(size: tuple[int, int], max_pixels: int) -> None:
    """Check that an image, (width, height), has at most `max_pixels` pixels.

    Raises:
        BadImageError: It has more, or the size is impossible.
    """
    width, height = size
    if max(size) >= 1 << 31 or min(size) < 0:
        raise BadImageError(ErrorCode.CORRUPT, f"impossible size in the header: {width} x {height} pixels")
    if width * height > max_pixels:
        reason = f"{width} x {height} pixels are more than max_pixels={max_pixels}"
        raise BadImageError(ErrorCode.TOO_LARGE, reason, size)
