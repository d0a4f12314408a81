"""Decoders that are faster than Pillow's and give exactly its pixels: kornia-rs for PNG, OpenCV for WebP.

An embedding does not depend on which of them was used, so they are not part of the fingerprint. Pillow opens every file
first, with all its checks. Whatever these decoders refuse is decoded by Pillow, too, which decides whether it is bad.
They accept one kind of file that Pillow may refuse: a PNG whose zlib checksum is wrong although the checksums of its
chunks, which cover the same bytes, are right.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from fastdup_ray.common.arrays import AnyArray, ByteArray

MAX_PIXELS = 64_000_000
"""Pixels up to which an image is decoded here: this takes more memory than Pillow, and for PNG no other thread runs."""

MIN_WEBP_PIXELS = 500_000
"""Pixels from which on decoding a few WebP files saves more time than it takes to import OpenCV."""

_PNG_MODES = {"L": "mono", "RGB": "rgb", "RGBA": "rgba"}
"""Pillow's mode -> kornia's name of it; palettes and more or fewer than 8 bits are left to Pillow."""

_BYTES_PER_PIXEL = 8
"""Of the decoded pixels and of their copy in Pillow's layout."""

_PNG_SIGNATURE, _TRANSPARENT_COLOR = b"\x89PNG\r\n\x1a\n", b"tRNS"


def decode_fast(image: Image.Image, data: bytes, *, concurrent: bool = False) -> Image.Image | None:
    """Decode a file that Pillow has opened, and load the rest of its metadata.

    Args:
        image: The open image, which is not loaded yet. Afterwards its metadata is complete; its pixels are undefined.
        data: The bytes of the file.
        concurrent: Whether more than two threads of this process decode images. kornia holds Python's lock while it
            decodes, so together they are faster with Pillow.

    Returns:
        The pixels as `decode.to_color` returns them: mode RGB, or RGBa if parts are transparent. None if the file is
        left to Pillow, and `image` is as it was.

    Raises:
        Exception: Whatever Pillow raises on broken metadata behind the pixels.
    """
    if image.width * image.height > MAX_PIXELS:
        return None
    if image.format == "PNG" and not concurrent:
        pixels = _decode_png(image, data)
        if pixels is not None:
            color = _to_color(pixels, "RGB")
            _load_metadata(image, color)
            return color
    elif image.format == "WEBP":
        pixels = _decode_webp(image, data)
        return None if pixels is None else _to_color(pixels, "BGR")
    return None


def describe_fast_decoders() -> dict[str, str | None]:
    """Map each format that is decoded here to the name and version of its decoder; None if it cannot be used."""
    found: dict[str, str | None] = {"PNG": None, "WebP": None}
    with suppress(ImportError):
        import kornia_rs
        from kornia_rs.io import decode_image_png_u8  # noqa: F401

        found["PNG"] = f"kornia-rs {kornia_rs.__version__}"
    with suppress(ImportError):
        import cv2

        found["WebP"] = f"OpenCV {cv2.__version__}"
    return found


def _decode_png(image: Image.Image, data: bytes) -> ByteArray | None:
    """Return (height, width, channels) of a still PNG with 8 bits per sample and without a transparent color."""
    mode = _PNG_MODES.get(image.mode)
    if mode is None or data[:8] != _PNG_SIGNATURE or data[24:25] != b"\x08":
        return None
    if _TRANSPARENT_COLOR in data:  # Pillow applies it behind the pixels, too
        return None
    if getattr(image, "is_animated", False) or not _has_memory(image):
        return None
    try:
        from kornia_rs.io import decode_image_png_u8
    except ImportError:
        return None
    return _try_decode(image, lambda: decode_image_png_u8(data, (image.height, image.width), mode))


def _decode_webp(image: Image.Image, data: bytes) -> ByteArray | None:
    """Return (height, width, channels) of a large still WebP, in BGR or BGRA."""
    if image.width * image.height < MIN_WEBP_PIXELS or not _has_memory(image):
        return None
    frame = _extract_frame(data)
    if frame is None:
        return None
    try:
        import cv2
    except ImportError:
        return None
    return _try_decode(image, lambda: cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_UNCHANGED))


def _extract_frame(data: bytes) -> bytes | None:
    """Return the only frame of a WebP as a separate file; None if there are several, or if opacity is stored apart.

    A decoder that is given the whole file reads on behind the end of a damaged frame, and calls it good.
    """
    offset = 12
    while offset + 8 <= len(data):
        name, size = data[offset : offset + 4], int.from_bytes(data[offset + 4 : offset + 8], "little")
        end = offset + 8 + size
        if name in (b"ALPH", b"ANIM", b"ANMF") or end > len(data):
            return None
        if name in (b"VP8 ", b"VP8L"):
            chunk = data[offset:end]  # without the byte that makes its length even
            return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk
        offset = end + size % 2
    return None


def _try_decode(image: Image.Image, decode: Callable[[], AnyArray | None]) -> ByteArray | None:
    try:
        pixels = decode()
    except KeyboardInterrupt:
        raise
    except BaseException:  # kornia's panics are not of the class Exception
        return None
    shape = (image.height, image.width, len(image.getbands()))
    return pixels if pixels is not None and pixels.shape == shape and pixels.dtype == np.uint8 else None


def _has_memory(image: Image.Image) -> bool:
    """Return whether there is memory for an image: kornia would panic, and print where."""
    try:
        np.empty(_BYTES_PER_PIXEL * image.width * image.height, np.uint8)
    except MemoryError:
        return False
    return True


def _to_color(pixels: ByteArray, order: str) -> Image.Image:
    """Convert (height, width, channels) to mode RGB or RGBa. order: of the colors, RGB or BGR."""
    height, width, channels = pixels.shape
    if channels == 1:
        return Image.fromarray(pixels[..., 0]).convert("RGB")
    pixels = np.ascontiguousarray(pixels)
    if channels == 4 and not _is_opaque(pixels):
        return Image.frombytes("RGBA", (width, height), pixels, "raw", f"{order}A").convert("RGBa")
    return Image.frombytes("RGB", (width, height), pixels, "raw", f"{order}X" if channels == 4 else order)


def _is_opaque(pixels: ByteArray) -> bool:
    common = np.bitwise_and.reduce(pixels.view("<u4"), axis=None)  # as whole words, which is ten times as fast
    return int(common) >> 24 == 255


class _Skip(ImageFile.PyDecoder):
    """Reads over the pixels of a file."""

    def decode(self, _: Any) -> tuple[int, int]:
        return -1, 0


_SKIP = "fastdup_ray skip"
Image.register_decoder(_SKIP, _Skip)


def _load_metadata(image: Image.Image, color: Image.Image) -> None:
    """Load what follows the pixels of a PNG, such as EXIF tags. color: its pixels, so that Pillow allocates no more."""
    assert isinstance(image, ImageFile.ImageFile)
    image.im = color.im
    image.tile = [tile._replace(codec_name=_SKIP) for tile in image.tile]
    image.load()
