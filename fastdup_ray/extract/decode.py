"""Decode: from the bytes of an image to the pixels that the model takes, and what of the file is not in them."""

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, features

from fastdup_ray.common.records import MIN_SIDE, Box, Limits, Statistics, Unseen
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract import tones
from fastdup_ray.extract.deep_color import has_16_bit_colors, show_used_bits
from fastdup_ray.extract.heif import FORMAT as HEIF_FORMAT
from fastdup_ray.extract.heif import register_heif
from fastdup_ray.extract.margins import find_content_box, has_marks
from fastdup_ray.extract.open_image import explain_error, open_image
from fastdup_ray.extract.statistics import compute_statistics
from fastdup_ray.extract.transparency import choose_ground, flatten_on, has_alpha
from fastdup_ray.extract.unseen import find_unseen

RECIPE = 4
"""Part of the fingerprint: raise it with any change here that changes pixels or statistics."""

LONGEST = 8.0
"""Width by height, or height by width, from which on an image is too long for what is squashed to a square."""

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = 1
_UPRIGHT_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How an image of each EXIF orientation becomes upright."""

_TURNED = (5, 6, 7, 8)
"""Orientations in which width and height change places."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """The pixels of one image, and facts of its file.

    Attributes:
        pixels: (height, width, 3) uint8, RGB, of the size that was asked for.
        width: Pixels of the whole image as it is shown.
        height: The same.
        format: Pillow's name.
        statistics: Of `pixels`.
        unseen: What the file holds and the pixels do not show.
        decoder: What decoded it, where that is not Pillow alone.
    """

    pixels: np.ndarray
    width: int
    height: int
    format: str
    statistics: Statistics
    unseen: frozenset[Unseen] = frozenset()
    decoder: str | None = None


def decode_bytes(data: bytes, size: tuple[int, int], limits: Limits, *, trim: bool = False) -> DecodedImage:
    """Decode the whole image, or what is in the box: upright, opaque, squashed to `size` (width, height).

    Of an animation or a file of several pages this is the first one; `Decoded.unseen` says so. To be called inside
    `careful_pillow`.

    Args:
        data: The bytes of the file.
        size: Width and height of the pixels that are returned.
        limits: What is too large, too small, and the box.
        trim: Leave out margins of one color.

    Raises:
        BadImageError: For whatever cannot be decoded to its end.
    """
    if not data:
        raise BadImageError(ErrorCode.ZERO_SIZE, "the file is empty")
    try:
        with open_image(data, lambda size: check_size(size, limits)) as image:
            return decode_image(image, size, limits, trim=trim, data=data)
    except BadImageError:
        raise
    except MemoryError:
        raise BadImageError(ErrorCode.OUT_OF_MEMORY, "decoding it takes more memory than an actor may use") from None
    except BaseException as error:  # plugins raise anything at all on broken files
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # only there it is the user's
        raise explain_error(error, data) from None


def decode_image(
    image: Image.Image, size: tuple[int, int], limits: Limits, *, trim: bool, data: bytes | None = None
) -> DecodedImage:
    """The same of an image that is open; what Pillow raises is the caller's.

    data: the bytes of its file, where it has one.
    """
    stored = image.size
    check_size(stored, limits)
    image_format = image.format or "UNKNOWN"
    if image_format in ("JPEG", "MPO"):
        _draft_jpeg(image, size, limits.box)
    image.load()
    color, unseen = to_color(image, data)
    orientation = image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT)
    if orientation in _UPRIGHT_BY:
        color = color.transpose(_UPRIGHT_BY[orientation])
    width, height = stored[::-1] if orientation in _TURNED else stored
    small, more = resize(color, size, limits.box, (width, height), trim=trim)
    decoder = register_heif() if image_format == HEIF_FORMAT else None
    pixels, statistics = np.asarray(small), compute_statistics(small)
    return DecodedImage(pixels, width, height, image_format, statistics, unseen | more, decoder)


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


def _draft_jpeg(image: Image.Image, size: tuple[int, int], box: Box | None) -> None:
    """Has a JPEG decoded at 1/2, 1/4 or 1/8, never so small that the model would get fewer pixels than it takes."""
    wanted = size
    if box is not None:
        shown = image.size
        turned = image.getexif().get(_EXIF_ORIENTATION, 1) in _TURNED
        left, top, right, bottom = crop_box(box, shown[::-1] if turned else shown)
        kept = (bottom - top, right - left) if turned else (right - left, bottom - top)
        wanted = tuple(math.ceil(a * whole / part) for a, whole, part in zip(size, shown, kept, strict=True))
    image.draft(None, wanted)


def crop_box(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
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


def resize(
    image: Image.Image,
    size: tuple[int, int],
    box: Box | None = None,
    shown: tuple[int, int] | None = None,
    *,
    trim: bool = False,
) -> tuple[Image.Image, frozenset[Unseen]]:
    """Squash an upright image, or what is in the box, to `size` (width, height); in RGB.

    Args:
        image: In RGB, or in RGBa where it has an alpha channel (see `to_color`).
        size: Width and height of the result.
        box: What is kept, in pixels of `shown`.
        shown: The image's own size, where `image` is a smaller version of it.
        trim: Leave out margins of one color, as far as they are seen at `size`.

    Returns:
        The image, and what is not seen in it.
    """
    corners = (0, 0, *image.size)
    if box is not None:
        scale = [own / whole for own, whole in zip(image.size, shown or image.size, strict=True)]
        kept = [edge * scale[place % 2] for place, edge in enumerate(crop_box(box, shown or image.size))]
        left, top = map(math.floor, kept[:2])
        image = image.crop((left, top, *map(math.ceil, kept[2:])))
        corners = tuple(edge - (left, top)[place % 2] for place, edge in enumerate(kept))
    left, top, right, bottom = corners
    sides = sorted((right - left, bottom - top))
    unseen = {Unseen.ASPECT_RATIO} if sides[1] > LONGEST * sides[0] else set()
    small = _resize_box(image, size, corners)
    level = 0
    if small.mode == "RGBa":
        ground = choose_ground(small)
        level = ground.level
        unseen |= {Unseen.TRANSPARENCY} if ground.hides else set()
    small = flatten_alpha(small, level)
    if trim and (kept := find_content_box(np.asarray(small))) != (0, 0, *size):
        unseen |= {Unseen.MARGIN} if has_marks(np.asarray(small), kept) else set()
        across, down = (right - left) / size[0], (bottom - top) / size[1]
        inner = (left + kept[0] * across, top + kept[1] * down, left + kept[2] * across, top + kept[3] * down)
        small = flatten_alpha(_resize_box(image, size, inner), level)
    return small, frozenset(unseen)


def _resize_box(image: Image.Image, size: tuple[int, int], box: tuple[float, ...]) -> Image.Image:
    """The part in the box (left, top, right, bottom) at `size`.

    Across first, then down: in one call Pillow begins with down for tall images since version 13, and pillow-simd
    does not, which is a grey level in a fifth of the pixels.
    """
    left, top, right, bottom = box
    narrow = image.resize((size[0], image.height), Image.Resampling.BILINEAR, box=(left, 0, right, image.height))
    return narrow.resize(size, Image.Resampling.BILINEAR, box=(0, top, size[0], bottom))


def to_color(image: Image.Image, data: bytes | None = None) -> tuple[Image.Image, frozenset[Unseen]]:
    """Bring a loaded image to eight bits of red, green and blue: mode RGB, or RGBa where parts are transparent.

    Args:
        image: A loaded image in any mode.
        data: The bytes of its file, where it has one: Pillow gives no more than the upper half of 16-bit colors.

    Returns:
        The image, and what of the file it does not show.
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
    if image.getextrema()[3] == (255, 255):
        return image.convert("RGBA").convert("RGB"), frozenset(unseen)
    return image.convert("RGBa"), frozenset(unseen)


def flatten_alpha(image: Image.Image, level: int | None = None) -> Image.Image:
    """Lay an image of `to_color` on a grey level, chosen by what it shows where none is given; in RGB."""
    if image.mode != "RGBa":
        return image
    return flatten_on(image, choose_ground(image).level if level is None else level)


@contextmanager
def strict_pillow(max_pixels: int | None = None) -> Iterator[None]:
    """Pillow that takes no half picture for a whole one, and does not warn of broken files.

    With `max_pixels` for its own limit, also for pictures inside of pictures (ICO, ICNS, the frames of a GIF), whose
    headers are read as late as when they are decoded; None: no limit. Texts and colour profiles of pictures may be of
    the size that Pillow allows them in all, and not of 1 MB each.

    It may be entered by several threads at once, each with a limit of its own. Threads that are started inside have
    this limit if they run in a copy of the context; else the largest of those that are in force.
    """
    _switches.hold(max_pixels)
    before = _max_pixels.set(max_pixels)
    try:
        yield
    finally:
        _max_pixels.reset(before)
        _switches.release(max_pixels)


_max_pixels: ContextVar[int | None] = ContextVar("max_pixels")


class _PillowSwitches:
    """What Pillow and `warnings` have for the whole process: the first holder sets it, the last one restores it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[int | None] = []
        self._restore = ExitStack()

    def hold(self, max_pixels: int | None) -> None:
        with self._lock:
            if not self._limits:
                self._set()
            self._limits = [*self._limits, max_pixels]

    def release(self, max_pixels: int | None) -> None:
        with self._lock:
            left = self._limits.copy()
            left.remove(max_pixels)
            self._limits = left
            if not left:
                self._restore.close()

    def _set(self) -> None:
        careful = [
            (Image, "MAX_IMAGE_PIXELS", None),
            (Image, "_decompression_bomb_check", self._check),  # Pillow's own does not say what size it was
            (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
            (PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_MEMORY),
        ]
        self._restore.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for module, name, value in careful:
            self._restore.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)

    def _check(self, size: tuple[int, int], *_: Any, **__: Any) -> None:
        limits = self._limits
        limit = _max_pixels.get(None if None in limits or not limits else max(limits))
        if limit is not None:
            _refuse_larger(size, limit)


_switches = _PillowSwitches()


def decoder_fingerprint() -> str:
    """What pixels depend on beside the file."""
    parts = [f"recipe {RECIPE}", f"pillow {Image.__version__}"]
    for name, check in (("libjpeg_turbo", features.version_feature), ("zlib", features.version_codec)):
        parts.append(f"{name} {check(name)}")
    for name in ("webp", "avif"):
        known = name in features.modules  # AVIF is, from Pillow 11.2 on
        parts.append(f"{name} {features.version_module(name) if known and features.check_module(name) else None}")
    for name in ("libtiff", "jpg_2000"):
        parts.append(f"{name} {features.version_codec(name)}")
    return ", ".join(parts)
