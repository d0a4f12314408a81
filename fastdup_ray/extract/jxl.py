"""JPEG XL, if pillow-jxl-plugin is installed."""

import io
from collections.abc import Callable
from functools import cache
from importlib import metadata

from PIL import ExifTags, Image

from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract.jxl_header import read_jxl_header

FORMAT = "JXL"

_HALF_FLOATS = "F;16"

_TIFF = (b"II*\0", b"MM\0*")
"""First bytes of EXIF tags; pillow-jxl-plugin writes a box without the offset that should precede them."""


@cache
def describe_jxl() -> str | None:
    """Return the version of pillow-jxl-plugin, which contains libjxl; None if it is not installed."""
    try:
        return f"pillow-jxl-plugin {metadata.version('pillow-jxl-plugin')}"
    except metadata.PackageNotFoundError:
        return None


def open_jxl(data: bytes, check: Callable[[tuple[int, int]], None]) -> Image.Image:
    """Decode a JPEG XL image, upright. The format of the result is `FORMAT`.

    Only the image of a recompressed JPEG may have an orientation in its EXIF tags; it is stored as it was in the JPEG.

    Args:
        data: The bytes of the file.
        check: Called with (width, height) before anything is decoded; raises to refuse it.

    Raises:
        BadImageError: pillow-jxl-plugin is not installed, or the image is an animation, of which it decodes the last
            frame only.
        Exception: Whatever `check` or the decoder raises.
    """
    header = read_jxl_header(data)
    check(header.size)
    try:
        # Its class for Pillow decodes with a thread for each core, and turns images whose EXIF tags repeat the header.
        from pillow_jxl import Decoder
    except ImportError:
        message = "JPEG XL: to read it, pip install 'fastdup-ray[jxl]'"
        raise BadImageError(ErrorCode.UNSUPPORTED, message) from None
    if header.is_animated:
        raise BadImageError(ErrorCode.UNSUPPORTED, "an animation in JPEG XL", header.size)
    try:
        is_jpeg, found, decoded, _, boxes = Decoder(num_threads=0)(data)
    except RuntimeError:  # its text is of several lines, and says how to build libjxl
        raise ValueError("the file is damaged, or not complete") from None
    if is_jpeg:
        image: Image.Image = Image.open(io.BytesIO(decoded), formats=("JPEG",))
        image.load()
    else:
        mode = "F" if found.mode == _HALF_FLOATS else found.mode
        image = Image.frombytes(mode, (found.width, found.height), decoded)
        image.info["exif"] = _read_exif([box.data for box in boxes if box.box_type == b"Exif"])
    image.format = FORMAT
    return image


def _read_exif(boxes: list[bytes]) -> bytes:
    """Return the EXIF tags without the orientation, which the decoder has applied."""
    exif = Image.Exif()
    try:
        start = 0 if boxes[0].startswith(_TIFF) else 4 + int.from_bytes(boxes[0][:4], "big")
        exif.load(boxes[0][start:])
        exif.pop(ExifTags.Base.Orientation, None)
        return exif.tobytes()
    except Exception:  # there are none, or Pillow raises anything at all on broken ones
        return b""
