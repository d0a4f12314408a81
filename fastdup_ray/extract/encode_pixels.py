"""Write pixels that have no file as one, so that they take the way of all images."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def to_image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """Return an array of pixels as an image.

    Args:
        pixels: (height, width) or (height, width, 1, 3 or 4) uint8.

    Raises:
        ValueError: It has another type or shape, which the message names.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not is_image or 0 in pixels.shape:
        raise ValueError(
            f"{pixels.dtype} of shape {pixels.shape} (must be uint8, (height, width) or (height, width, 3))"
        )
    return Image.fromarray(np.ascontiguousarray(pixels))


def encode_png(image: Image.Image, compress_level: int = 1) -> bytes:
    """Return a PNG with the pixels of an image and its EXIF orientation.

    Args:
        image: The image.
        compress_level: Of zlib, from 0, which takes no time, to 9.

    Raises:
        Exception: Whatever Pillow raises on a broken file, which may be decoded only now.
    """
    file = io.BytesIO()
    pixels = image if image.mode in _PNG_MODES else image.convert("RGB")
    pixels.save(file, "PNG", compress_level=compress_level, exif=image.getexif())
    return file.getvalue()
