"""Whether two files show the same pixels, whatever their bytes are."""

import hashlib

from PIL import Image, ImageOps

from fastdup_ray.extract.decode import open_image

EXACTLY_RGBA = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""Modes whose pixels have one value each of red, green, blue and opacity: a grey picture equals its copy in colour."""

ROWS = 256
"""Pixel rows that are converted at once: a large picture is not held in memory a second time."""


def pixel_digest(data: bytes) -> str | None:
    """sha256 of the size and of every pixel of the whole upright picture, decoded at full size.

    None of a file with several pictures (animations): one of them is not the whole. Raises whatever Pillow raises. To
    be called inside `careful_pillow`.
    """
    with open_image(data) as image:
        if getattr(image, "n_frames", 1) > 1:
            return None
        upright = ImageOps.exif_transpose(image)
        known = upright.mode in EXACTLY_RGBA
        digest = hashlib.sha256(f"{upright.size} {'RGBA' if known else upright.mode}".encode())
        for part in _parts(upright):
            digest.update((part.convert("RGBA") if known else part).tobytes())
        return digest.hexdigest()


def _parts(image: Image.Image):
    width, height = image.size
    for top in range(0, height, ROWS):
        yield image.crop((0, top, width, min(top + ROWS, height)))
