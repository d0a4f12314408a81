"""From the bytes of a picture to the pixels that the model takes."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract.heif import HEIF_BRANDS, heif_decoder

RECIPE = 1
"""Part of the fingerprint: raise it with any change here that changes pixels."""

MIN_SIDE = 2

_EXIF_ORIENTATION = 0x0112

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
    """pixels: (side, side, 3) uint8, RGB. width, height: of the picture as it is shown. format: Pillow's name."""

    pixels: np.ndarray
    width: int
    height: int
    format: str


def decode(data: bytes, side: int, max_pixels: int, min_size: int = MIN_SIDE) -> Decoded:
    """The whole picture, upright, on white, squashed to side × side pixels.

    The first frame of an animated one. Raises `BadImageError` for whatever cannot be decoded to its end. To be called
    inside `careful_pillow`.
    """
    if not data:
        raise BadImageError(ErrorCode.ZERO_SIZE, "the file is empty")
    try:
        with open_image(data) as image:
            return decoded(image, side, max_pixels, min_size)
    except BadImageError:
        raise
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except MemoryError:
        raise BadImageError(ErrorCode.OUT_OF_MEMORY, "decoding it takes more memory than an actor may use") from None
    except Exception as error:  # plugins raise anything at all on broken files
        text = str(error) or type(error).__name__
        truncated = isinstance(error, EOFError) or "truncated" in text.lower() or _is_cut_riff(data)
        raise BadImageError(ErrorCode.TRUNCATED if truncated else ErrorCode.CORRUPT, text) from None


def open_image(data: bytes) -> Image.Image:
    """`Image.open`, but for formats that are programs: Pillow would have Ghostscript run them."""
    heif_decoder()
    image = Image.open(io.BytesIO(data))
    if image.format == "EPS":
        raise BadImageError(ErrorCode.UNSUPPORTED, "EPS is a program, which is not run")
    return image


def _is_cut_riff(data: bytes) -> bool:
    """Whether a WebP is shorter than it says."""
    return data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 > len(data)


def decoded(image: Image.Image, side: int, max_pixels: int, min_size: int) -> Decoded:
    """The same of a picture that is open; what Pillow raises is the caller's."""
    width, height = image.size
    check_size(image.size, max_pixels, min_size)
    image_format = image.format or "UNKNOWN"
    if image_format in ("JPEG", "MPO"):
        image.draft(None, (side, side))  # decodes at 1/2, 1/4 or 1/8, never below the model's size
    image.load()
    turned = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    small = to_rgb(ImageOps.exif_transpose(image)).resize((side, side), Image.Resampling.BILINEAR)
    if turned:
        width, height = height, width
    return Decoded(np.asarray(small), width, height, image_format)


def check_size(size: tuple[int, int], max_pixels: int, min_size: int) -> None:
    """`BadImageError` where a picture of `size` (width, height) is none to be decoded."""
    width, height = size
    if width * height > max_pixels:
        reason = f"{width} x {height} pixels are more than max_pixels={max_pixels}"
        raise BadImageError(ErrorCode.TOO_LARGE, reason, size)
    if min(width, height) < min_size:
        raise BadImageError(ErrorCode.TOO_SMALL, f"{width} x {height} pixels; {min_size} a side are needed", size)


def to_rgb(image: Image.Image) -> Image.Image:
    """Eight bits of red, green and blue, with white behind what is transparent."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        shown = (values >> 8).astype(np.uint8)
        shown[values == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(shown)
    elif image.mode in ("I", "F"):
        image = _stretched(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
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
def careful_pillow() -> Iterator[None]:
    """Pillow without its own limit of pixels (ours is `max_pixels`) and without its warnings about broken files."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


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
