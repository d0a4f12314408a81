"""Decode the bytes of an image to the pixels that the model takes, and record what these do not show of the file."""

import io
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import PIL
from PIL import Image, ImageFile, features

from fastdup_ray.common.arrays import ByteArray
from fastdup_ray.common.records import Box, Limits, Statistics, Unseen
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract import tones
from fastdup_ray.extract.date_taken import read_date_taken
from fastdup_ray.extract.decoder_versions import get_decoder
from fastdup_ray.extract.deep_color import has_16_bit_colors, show_used_bits
from fastdup_ray.extract.fast_decoders import decode_fast
from fastdup_ray.extract.open_image import DRAFTED, explain_error, open_image
from fastdup_ray.extract.progressive_jpeg import leave_out_details
from fastdup_ray.extract.resize import SQUASH, Fit, crop_box, resize
from fastdup_ray.extract.size_limits import check_size
from fastdup_ray.extract.statistics import compute_statistics
from fastdup_ray.extract.transparency import has_alpha
from fastdup_ray.extract.unseen import find_unseen

RECIPE = 5
"""Part of the fingerprint. Increase it with any change to this package that changes pixels or statistics."""

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = 1
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transpose that makes an image of each EXIF orientation upright."""

_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations in which width and height are swapped."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """The pixels of one image, and facts of its file.

    Attributes:
        pixels: (height, width, 3) uint8, RGB, of the size that was asked for.
        width: Pixels of the whole upright image.
        height: Pixels of the whole upright image.
        format: Pillow's name of the format, or the codec of a video.
        statistics: Statistics of `pixels`.
        unseen: What the file holds and `pixels` does not show.
        decoder: Name and version of the decoder; None for Pillow, and for one that gives exactly its pixels.
        taken: See `date_taken.read_date_taken`.
    """

    pixels: ByteArray
    width: int
    height: int
    format: str
    statistics: Statistics
    unseen: frozenset[Unseen] = frozenset()
    decoder: str | None = None
    taken: str | None = None


Decoded = TypeVar("Decoded")


def decode_bytes(
    data: bytes, size: tuple[int, int], limits: Limits, fit: Fit = SQUASH, *, concurrent: bool = False
) -> DecodedImage:
    """Decode a file to an upright, opaque RGB image of exactly `size`.

    The first frame of an animation and the first page of a document are used; `unseen` of the result says if there are
    more. Call it inside `strict_pillow`.

    Args:
        data: The bytes of the file.
        size: Width and height of the pixels that are returned.
        limits: What is too large or too small, and the bounding box to crop to.
        fit: How the image is fitted to `size`.
        concurrent: Whether more than two threads of this process decode images (see `fast_decoders.decode_fast`).

    Raises:
        BadImageError: The file cannot be decoded to its end, or the limits exclude it.
    """
    return decode_file(
        data,
        limits,
        lambda image, fast: decode_image(image, size, limits, fit, data=data, concurrent=fast),
        concurrent=concurrent,
    )


def decode_file(
    data: bytes, limits: Limits, decode: Callable[[Image.Image, bool], Decoded], *, concurrent: bool
) -> Decoded:
    """Open a file and decode it. Call it inside `strict_pillow`.

    Args:
        data: The bytes of the file.
        limits: What is too large or too small.
        decode: Called with the open image, and whether more than two threads decode images.
        concurrent: See `decode_bytes`.

    Raises:
        BadImageError: Whatever is wrong with the file.
    """
    if not data:
        raise BadImageError(ErrorCode.ZERO_SIZE, "the file is empty")
    try:
        with open_image(data, lambda full_size: check_size(full_size, limits)) as image:
            return decode(image, concurrent)
    except BadImageError:
        raise
    except MemoryError:
        raise BadImageError(ErrorCode.OUT_OF_MEMORY, "decoding it takes more memory than an actor may use") from None
    except BaseException as error:  # plugins raise anything at all on broken files
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # elsewhere it is a plugin's, not the user's
        if concurrent:  # a fast decoder may accept it, and whether it is bad does not depend on the number of threads
            return decode_file(data, limits, decode, concurrent=False)
        raise explain_error(error, data) from None


def decode_image(
    image: Image.Image,
    size: tuple[int, int],
    limits: Limits,
    fit: Fit = SQUASH,
    *,
    data: bytes | None = None,
    concurrent: bool = False,
) -> DecodedImage:
    """Decode an open image as `decode_bytes` does.

    Args:
        image: An image that is open and may be loaded.
        size: Width and height of the pixels that are returned.
        limits: What is too large or too small, and the bounding box to crop to.
        fit: How the image is fitted to `size`.
        data: The bytes of its file, if it has one; `unseen` of the result is incomplete without.
        concurrent: As of `decode_bytes`.

    Raises:
        BadImageError: The limits exclude the image.
        Exception: Whatever Pillow raises on a broken file.
    """
    stored = image.size
    check_size(stored, limits)
    image_format = image.format or "UNKNOWN"
    if image_format in DRAFTED:
        _draft_jpeg(image, fit.enlarge(size), limits.box, data)
    color, unseen = load_color(image, data, concurrent=concurrent)
    color = turn_upright(color, orientation := get_orientation(image))
    width, height = stored[::-1] if orientation in _SIDEWAYS else stored
    small, lost = resize(color, size, limits.box, (width, height), fit)
    pixels, statistics = np.asarray(small), compute_statistics(small)
    decoder, taken = get_decoder(image_format), read_date_taken(image)
    return DecodedImage(pixels, width, height, image_format, statistics, unseen | lost, decoder, taken)


def load_color(
    image: Image.Image, data: bytes | None, *, concurrent: bool = False
) -> tuple[Image.Image, frozenset[Unseen]]:
    """Load an open image, as it is stored, with the fastest decoder, and convert it as `to_color` does."""
    color = None if data is None else decode_fast(image, data, concurrent=concurrent)
    if color is None or data is None:
        image.load()
        return to_color(image, data)
    return color, find_unseen(image, data)


def get_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, from 1 (upright) to 8."""
    orientation: int = image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT)
    return orientation


def get_upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an open image once it is upright."""
    width, height = image.size
    return (height, width) if get_orientation(image) in _SIDEWAYS else (width, height)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image that is stored in an EXIF orientation; return it as it is if the orientation is not known."""
    return image.transpose(_TO_UPRIGHT[orientation]) if orientation in _TO_UPRIGHT else image


def _draft_jpeg(image: Image.Image, size: tuple[int, int], box: Box | None, data: bytes | None) -> None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its size if what the model gets still has at least `size` pixels."""
    width, height = image.size
    wanted = size
    if box is not None:
        sideways = get_orientation(image) in _SIDEWAYS
        left, top, right, bottom = crop_box(box, (height, width) if sideways else (width, height))
        across, down = (bottom - top, right - left) if sideways else (right - left, bottom - top)
        wanted = math.ceil(size[0] * width / across), math.ceil(size[1] * height / down)
    image.draft(None, wanted)
    is_eighth = image.size == (math.ceil(width / 8), math.ceil(height / 8))
    if data is not None and is_eighth and image.info.get("progressive") and image.mode in ("L", "RGB"):
        lighter = leave_out_details(data)
        if lighter is not None:
            cast(ImageFile.ImageFile, image).fp = io.BytesIO(lighter)


def to_color(image: Image.Image, data: bytes | None = None) -> tuple[Image.Image, frozenset[Unseen]]:
    """Convert a loaded image to 8 bits of red, green and blue: mode RGB, or RGBa if parts are transparent.

    Args:
        image: A loaded image in any mode.
        data: The bytes of its file, if it has one: of 16-bit colors Pillow gives the upper bytes only.

    Returns:
        The image, and what it does not show of the file.
    """
    unseen = set(find_unseen(image, data)) if data is not None else set()
    if tones.has_deep_samples(image):
        transparent = image.info.get("transparency")
        clear = None if transparent is None else np.asarray(image) == transparent
        image, lost = tones.to_8_bits(image)
        unseen |= {Unseen.VALUES} if lost else set()
        if clear is not None:
            image.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    elif data is not None and has_16_bit_colors(image, data):
        image, lost = show_used_bits(image, data)
        unseen |= {Unseen.VALUES} if lost else set()
    if not has_alpha(image):
        return image if image.mode == "RGB" else image.convert("RGB"), frozenset(unseen)
    image = image.convert("LA") if image.mode == "La" else image
    image = image if image.mode in ("RGBA", "RGBa") else image.convert("RGBA")
    if image.getchannel(3).getextrema() == (255, 255):
        return image.convert("RGB" if image.mode == "RGBA" else "RGBA").convert("RGB"), frozenset(unseen)
    return image.convert("RGBa"), frozenset(unseen)


def make_decoder_fingerprint() -> str:
    """Return the versions of all code that the pixels of an image depend on."""
    parts = [f"recipe {RECIPE}", f"pillow {PIL.__version__}"]
    for name, check in (("libjpeg_turbo", features.version_feature), ("zlib", features.version_codec)):
        parts.append(f"{name} {check(name)}")
    for name in ("webp", "avif"):
        listed = name in features.modules  # AVIF since Pillow 11.2
        parts.append(f"{name} {features.version_module(name) if listed and features.check_module(name) else None}")
    for name in ("libtiff", "jpg_2000"):
        parts.append(f"{name} {features.version_codec(name)}")
    return ", ".join(parts)
