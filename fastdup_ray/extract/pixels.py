"""Compare files by their pixels, whatever their bytes are."""

import hashlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from fastdup_ray.common.arrays import ByteArray
from fastdup_ray.common.records import AnyBox
from fastdup_ray.extract.boxes import BESIDE_BOX, crop
from fastdup_ray.extract.deep_color import has_16_bit_colors, has_more_bits, load_lower_bytes
from fastdup_ray.extract.open_image import open_image
from fastdup_ray.extract.unseen import find_unseen

EXACTLY_RGBA = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""Modes whose pixels convert to RGBA without loss, so that a gray image equals its copy in color."""

ROWS = 256
"""Rows of pixels that are converted at a time, so that a large image is not in memory twice."""


def hash_pixels(data: bytes, box: AnyBox | None = None) -> str | None:
    """Return the sha256 of the size and of every pixel of an upright image at full size, or of a box of it.

    Call it inside `strict_pillow`.

    Args:
        data: The bytes of the file.
        box: The part to use, of the upright image; None: all of it.

    Returns:
        The digest in hexadecimal; None if the file holds more than the decoded pixels: further frames or pages,
        channels or bits that the decoder leaves out. Of a box, also if there is more than 8 bits to a color.

    Raises:
        Exception: Whatever Pillow raises on a broken file.
    """
    with open_image(data) as image:
        image.load()
        is_deep = has_16_bit_colors(image, data)
        lower = load_lower_bytes(data) if is_deep else None
        unseen = find_unseen(image, data) - (BESIDE_BOX if box is not None else frozenset())
        if unseen or (is_deep and lower is None) or has_more_bits(image, data):
            return None
        if lower is not None and _is_derived(lower, np.asarray(image)):
            lower = None
        if lower is not None and box is not None:
            return None
        upright = crop(ImageOps.exif_transpose(image), box)
        as_rgba = upright.mode in EXACTLY_RGBA and lower is None
        digest = hashlib.sha256(f"{upright.size} {'RGBA' if as_rgba else upright.mode}".encode())
        for part in _iter_parts(upright):
            digest.update((part.convert("RGBA") if as_rgba else part).tobytes())
        if lower is not None:
            digest.update(lower.tobytes())
        return digest.hexdigest()


def _is_derived(lower: ByteArray, upper: ByteArray) -> bool:
    """Return whether 16-bit colors are 8-bit ones times 257 or 256."""
    return not lower.any() or np.array_equal(lower, upper)


def _iter_parts(image: Image.Image) -> Iterator[Image.Image]:
    width, height = image.size
    for top in range(0, height, ROWS):
        yield image.crop((0, top, width, min(top + ROWS, height)))
