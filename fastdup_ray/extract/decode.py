"""From the bytes of a picture to the pixels that the model takes."""

import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError, features

from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract.heif import HEIF_BRANDS, heif_decoder
from fastdup_ray.extract.margins import inside
from fastdup_ray.extract.statistics import statistics_of
from fastdup_ray.records import MIN_SIDE, Box, Limits, Statistics

RECIPE = 3
"""Part of the fingerprint: raise it with any change here that changes pixels or statistics."""

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = 1
_TURNED = (5, 6, 7, 8)
"""Orientations in which width and height change places."""

_SIGNATURES = {
    b"\xff\xd8\xff": ErrorCode.CORRUPT,
    b"\x89PNG\r\n\x1a\n": ErrorCode.CORRUPT,
    b"GIF8": ErrorCode.CORRUPT,
    b"II*\0": ErrorCode.UNSUPPORTED,  # TIFF, and the raw formats of cameras that are made like it
    b"MM\0*": ErrorCode.UNSUPPORTED,
    b"\xff\x0a": ErrorCode.UNSUPPORTED,  # JPEG XL
    b"\0\0\0\x0cJXL ": ErrorCode.UNSUPPORTED,
}
"""What a file is that begins so and that Pillow cannot open; any other is not an image."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """pixels: (height, width, 3) uint8, RGB, of the size that was asked for; statistics: of these.

    width, height: of the whole picture as it is shown. format: Pillow's name.
    """

    pixels: np.ndarray
    width: int
    height: int
    format: str
    statistics: Statistics


def decode(data: bytes, size: tuple[int, int], limits: Limits, *, trim: bool = False) -> Decoded:
    """The whole picture, or what is in the box, upright, on white, squashed to `size` (width, height).

    trim: without margins of one colour.

    The first frame of an animated one. Raises `BadImageError` for whatever cannot be decoded to its end. To be called
    inside `careful_pillow`.
    """
    if not data:
        raise BadImageError(ErrorCode.ZERO_SIZE, "the file is empty")
    try:
        with open_image(data) as image:
            return decoded(image, size, limits, trim=trim)
    except BadImageError:
        raise
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except MemoryError:
        raise BadImageError(ErrorCode.OUT_OF_MEMORY, "decoding it takes more memory than an actor may use") from None
    except BaseException as error:  # plugins raise anything at all on broken files
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # only there it is the user's
        raise BadImageError(_code_of(error, data), str(error) or type(error).__name__) from None


def open_image(data: bytes) -> Image.Image:
    """`Image.open`, but for formats that are programs: Pillow would have Ghostscript run them."""
    heif_decoder()
    image = Image.open(io.BytesIO(data))
    if image.format == "EPS":
        raise BadImageError(ErrorCode.UNSUPPORTED, "EPS is a program, which is not run")
    if isinstance(image, ImageFile.StubImageFile):
        raise BadImageError(ErrorCode.UNSUPPORTED, f"{image.format} needs a program of its own to be read")
    return image


def _code_of(error: BaseException, data: bytes) -> ErrorCode:
    text = str(error).lower()
    if isinstance(error, EOFError) or "truncated" in text or _is_cut(data):
        return ErrorCode.TRUNCATED
    if isinstance(error, NotImplementedError) or text.startswith(("unsupported", "cannot find loader")):
        return ErrorCode.UNSUPPORTED
    return ErrorCode.CORRUPT


def _is_cut(data: bytes) -> bool:
    """Whether the file is shorter than it says itself, where its format says it ahead of the end."""
    if data[:4] == b"RIFF":  # WebP
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data[:4] in (b"II*\0", b"MM\0*"):  # TIFF: the place of its directory
        return int.from_bytes(data[4:8], "little" if data[:1] == b"I" else "big") >= len(data)
    if data[4:8] in (b"ftyp", b"jP  "):  # AVIF, HEIC, JPEG 2000: boxes, one after the other
        return _boxes_end(data) > len(data)
    return False


def _boxes_end(data: bytes) -> int:
    place = 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if length == 1:
            length = int.from_bytes(data[place + 8 : place + 16], "big")
        if length < 8:  # 0: to the end of the file; else no box
            return len(data)
        place += length
    return place


def decoded(image: Image.Image, size: tuple[int, int], limits: Limits, *, trim: bool) -> Decoded:
    """The same of a picture that is open; what Pillow raises is the caller's."""
    stored = image.size
    check_size(stored, limits)
    image_format = image.format or "UNKNOWN"
    if image_format in ("JPEG", "MPO"):
        _draft(image, size, limits.box)
    image.load()
    orientation = image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT)
    upright = image if orientation == _UPRIGHT else ImageOps.exif_transpose(image)  # which makes a copy in any case
    width, height = stored[::-1] if orientation in _TURNED else stored
    small = shrunk(upright, size, limits.box, (width, height), trim=trim)
    return Decoded(np.asarray(small), width, height, image_format, statistics_of(small))


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """`BadImageError` where a picture of `size` (width, height) is none to be decoded."""
    width, height = size
    _refuse_larger(size, limits.max_pixels)
    if min(width, height) < limits.min_size:
        reason = f"{width} x {height} pixels; {limits.min_size} a side are needed"
        raise BadImageError(ErrorCode.TOO_SMALL, reason, size)


def _refuse_larger(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if max(size) >= 1 << 31 or min(size) < 0:
        raise BadImageError(ErrorCode.CORRUPT, f"its header says that it has {width} x {height} pixels")
    if width * height > max_pixels:
        reason = f"{width} x {height} pixels are more than max_pixels={max_pixels}"
        raise BadImageError(ErrorCode.TOO_LARGE, reason, size)


def _draft(image: Image.Image, size: tuple[int, int], box: Box | None) -> None:
    """Has a JPEG decoded at 1/2, 1/4 or 1/8, never so small that the model would get fewer pixels than it takes."""
    wanted = size
    if box is not None:
        shown = image.size
        turned = image.getexif().get(_EXIF_ORIENTATION, 1) in _TURNED
        left, top, right, bottom = clipped(box, shown[::-1] if turned else shown)
        kept = (bottom - top, right - left) if turned else (right - left, bottom - top)
        wanted = tuple(math.ceil(a * whole / part) for a, whole, part in zip(size, shown, kept, strict=True))
    image.draft(None, wanted)


def clipped(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """left, top, right, bottom of what `box` keeps of an upright picture of `size` (width, height).

    `BadImageError` where that is nothing, or too little.
    """
    width, height = size
    left, top = box.cols, box.rows
    right, bottom = min(width, box.cols + box.width), min(height, box.rows + box.height)
    if left >= right or top >= bottom:
        reason = f"the box {box} lies outside of the picture's {width} x {height} pixels"
        raise BadImageError(ErrorCode.BOUNDING_BOX_OUTSIDE, reason, size)
    if min(right - left, bottom - top) < MIN_SIDE:
        reason = f"the box {box} leaves {right - left} x {bottom - top} pixels; {MIN_SIDE} a side are needed"
        raise BadImageError(ErrorCode.TOO_SMALL, reason, size)
    return left, top, right, bottom


def shrunk(
    image: Image.Image,
    size: tuple[int, int],
    box: Box | None = None,
    shown: tuple[int, int] | None = None,
    *,
    trim: bool = False,
) -> Image.Image:
    """An upright picture, or what is in the box, on white, in RGB, squashed to `size` (width, height).

    shown: the picture's own size, where `image` is a smaller one of it; the box is in pixels of that.
    trim: without margins of one colour, as far as they are seen at `size`.
    """
    corners = (0, 0, *image.size)
    if box is not None:
        scale = [own / whole for own, whole in zip(image.size, shown or image.size, strict=True)]
        kept = [edge * scale[place % 2] for place, edge in enumerate(clipped(box, shown or image.size))]
        left, top = map(math.floor, kept[:2])
        image = image.crop((left, top, *map(math.ceil, kept[2:])))
        corners = tuple(edge - (left, top)[place % 2] for place, edge in enumerate(kept))
    image = to_rgb(image)
    small = _squashed(image, size, corners)
    if trim and (kept := inside(np.asarray(small))) != (0, 0, *size):
        left, top, right, bottom = corners
        across, down = (right - left) / size[0], (bottom - top) / size[1]
        inner = (left + kept[0] * across, top + kept[1] * down, left + kept[2] * across, top + kept[3] * down)
        return _squashed(image, size, inner)
    return small


def _squashed(image: Image.Image, size: tuple[int, int], box: tuple[float, ...]) -> Image.Image:
    """The part in the box (left, top, right, bottom) at `size`.

    Across first, then down: in one call Pillow begins with down for tall pictures since version 13, and pillow-simd
    does not, which is a grey level in a fifth of the pixels.
    """
    left, top, right, bottom = box
    narrow = image.resize((size[0], image.height), Image.Resampling.BILINEAR, box=(left, 0, right, image.height))
    return narrow.resize(size, Image.Resampling.BILINEAR, box=(0, top, size[0], bottom))


def to_rgb(image: Image.Image) -> Image.Image:
    """Eight bits of red, green and blue, with white behind what is transparent."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        shown = (values >> 8).astype(np.uint8)
        shown[values == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(shown)
    elif image.mode in ("I", "F"):
        image = _stretched(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _stretched(image: Image.Image) -> Image.Image:
    """Values without a known range, laid between black and white."""
    values = np.nan_to_num(np.asarray(image, np.float32), posinf=0, neginf=0)
    low, high = values.min(), values.max()
    return Image.fromarray(((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))


def _unidentified(data: bytes) -> BadImageError:
    if _is_cut(data):
        return BadImageError(ErrorCode.TRUNCATED, "the file is shorter than its header says")
    for signature, code in _SIGNATURES.items():
        if data.startswith(signature):
            if code is ErrorCode.UNSUPPORTED:
                return BadImageError(code, "an image format that the installed decoder cannot read")
            return BadImageError(ErrorCode.TRUNCATED, "the file ends or breaks inside its header")
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and heif_decoder() is None:
        return BadImageError(ErrorCode.UNSUPPORTED, "HEIC: to read it, pip install 'fastdup-ray[heic]'")
    if data[4:8] == b"ftyp" and data[8:12] in (*HEIF_BRANDS, b"avif", b"crx "):
        return BadImageError(ErrorCode.UNSUPPORTED, "an image format that the installed decoder cannot read")
    return BadImageError(ErrorCode.NOT_AN_IMAGE, "not a picture in any known format")


@contextmanager
def careful_pillow(max_pixels: int | None = None) -> Iterator[None]:
    """Pillow that takes no half picture for a whole one, and does not warn of broken files.

    With `max_pixels` for its own limit, also for pictures inside of pictures (ICO, ICNS, the frames of a GIF), whose
    headers are read as late as when they are decoded; None: no limit. Texts and colour profiles of pictures may be of
    the size that Pillow allows them in all, and not of 1 MB each.
    """

    def check(size: tuple[int, int], *_: Any, **__: Any) -> None:
        if max_pixels is not None:
            _refuse_larger(size, max_pixels)

    careful = [
        (Image, "MAX_IMAGE_PIXELS", None),
        (Image, "_decompression_bomb_check", check),  # Pillow's own does not say what size it was
        (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
        (PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_MEMORY),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in careful]
    try:
        for module, name, value in careful:
            setattr(module, name, value)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def decoder_fingerprint() -> str:
    """What pixels depend on beside the file."""
    parts = [f"recipe {RECIPE}", f"pillow {Image.__version__}"]
    for name, check in (("libjpeg_turbo", features.version_feature), ("zlib", features.version_codec)):
        parts.append(f"{name} {check(name)}")
    for name in ("webp", "avif"):
        parts.append(f"{name} {features.version_module(name) if features.check_module(name) else None}")
    for name in ("libtiff", "jpg_2000"):
        parts.append(f"{name} {features.version_codec(name)}")
    return ", ".join(parts)
