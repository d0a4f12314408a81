"""Whether two files show the same pixels, whatever their bytes are."""

import hashlib

import numpy as np
from PIL import Image, ImageOps

from fastdup_ray.extract.deep_color import has_16_bit_colors, has_more_bits, load_lower_bytes
from fastdup_ray.extract.open_image import open_image
from fastdup_ray.extract.unseen import find_unseen

EXACTLY_RGBA = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""Modes whose pixels have one value each of red, green, blue and opacity: a grey image equals its copy in color."""

ROWS = 256
"""Pixel rows that are converted at once: a large image is not held in memory a second time."""


def hash_pixels(data: bytes) -> str | None:
    """Return the sha256 of the size and of every pixel of the whole upright image, decoded at full size.

    None where the decoded pixels are not all that the file holds: animations, pages, channels or bits that decoders
    leave out. Raises whatever Pillow raises. To be called inside `careful_pillow`.
    """
    with open_image(data) as image:
        image.load()
        is_deep = has_16_bit_colors(image, data)
        lower = load_lower_bytes(data) if is_deep else None
        if find_unseen(image, data) or (is_deep and lower is None) or has_more_bits(image, data):
            return None
        if is_deep and _is_derived(lower, np.asarray(image)):
            lower = None
        upright = ImageOps.exif_transpose(image)
        known = upright.mode in EXACTLY_RGBA and lower is None
        digest = hashlib.sha256(f"{upright.size} {'RGBA' if known else upright.mode}".encode())
        for part in _iter_parts(upright):
            digest.update((part.convert("RGBA") if known else part).tobytes())
        if lower is not None:
            digest.update(lower.tobytes())
        return digest.hexdigest()


def _is_derived(lower: np.ndarray, upper: np.ndarray) -> bool:
    """Whether 16-bit colors were made of 8-bit ones: multiplied by 257, or by 256."""
    return not lower.any() or np.array_equal(lower, upper)


def _iter_parts(image: Image.Image):
    width, height = image.size
    for top in range(0, height, ROWS):
        yield image.crop((0, top, width, min(top + ROWS, height)))
