"""Whether two files show the same pixels, whatever their bytes are."""

import hashlib

from PIL import Image, ImageOps

from fastdup_ray.extract.deep_color import has_16_bit_colors, has_more_bits, load_lower_bytes
from fastdup_ray.extract.open_image import open_image
from fastdup_ray.extract.unseen import find_unseen

EXACTLY_RGBA = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""Modes whose pixels have one value each of red, green, blue and opacity: a grey image equals its copy in color."""

ROWS = 256
"""Pixel rows that are converted at once: a large image is not held in memory a second time."""


def pixel_digest(data: bytes) -> str | None:
    """Return the sha256 of the size and of every pixel of the whole upright image, decoded at full size.

    None where the decoded pixels are not all that the file holds: animations, pages, channels or bits that decoders
    leave out. Raises whatever Pillow raises. To be called inside `careful_pillow`.
    """
    with open_image(data) as image:
        image.load()
        lower = load_lower_bytes(data) if has_16_bit_colors(image, data) else None
        if find_unseen(image, data) or (lower is None and _loses_bits(image, data)):
            return None
        upright = ImageOps.exif_transpose(image)
        known = upright.mode in EXACTLY_RGBA and lower is None
        digest = hashlib.sha256(f"{upright.size} {'RGBA' if known else upright.mode}".encode())
        for part in _parts(upright):
            digest.update((part.convert("RGBA") if known else part).tobytes())
        if lower is not None:
            digest.update(lower.tobytes())
        return digest.hexdigest()


def _loses_bits(image: Image.Image, data: bytes) -> bool:
    return has_16_bit_colors(image, data) or has_more_bits(image, data)


def _parts(image: Image.Image):
    width, height = image.size
    for top in range(0, height, ROWS):
        yield image.crop((0, top, width, min(top + ROWS, height)))
