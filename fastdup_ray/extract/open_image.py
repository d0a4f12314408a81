"""Open an image with whichever decoder can read it, or say in one line why none can."""

import io
from collections.abc import Callable

from PIL import Image, ImageFile, UnidentifiedImageError

from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract import raw
from fastdup_ray.extract.heif import HEIF_BRANDS, open_with_heif, register_heif
from fastdup_ray.extract.jxl import open_jxl
from fastdup_ray.extract.jxl_header import is_jxl
from fastdup_ray.extract.raw_structure import is_raw

_SIGNATURES = {
    b"\xff\xd8\xff": ErrorCode.CORRUPT,
    b"\x89PNG\r\n\x1a\n": ErrorCode.CORRUPT,
    b"GIF8": ErrorCode.CORRUPT,
    b"II*\0": ErrorCode.UNSUPPORTED,  # TIFF
    b"MM\0*": ErrorCode.UNSUPPORTED,
}
"""Codes of files that Pillow does not recognize, by their first bytes; any other file is not an image."""

DRAFTED = ("JPEG", "MPO", raw.FORMAT)
"""Formats of images that can be decoded at 1/2, 1/4 or 1/8 of their size, by `draft`."""

_NO_CODEC = "has not been built in"
"""Part of libheif's message for a format that it recognizes and cannot decode."""


def _accept(_: tuple[int, int]) -> None:
    """Accept an image of any size."""


def open_image(data: bytes, check: Callable[[tuple[int, int]], None] = _accept) -> Image.Image:
    """Open an image as Pillow does, but refuse formats that are programs, which Pillow passes to Ghostscript.

    AVIF and HEIC are decoded at once: several decoders read them, and each refuses files that others accept. So is JPEG
    XL, whose decoder has only one step.

    Args:
        data: The bytes of the file.
        check: Called with (width, height) before an image is decoded at once; raises to refuse it.

    Raises:
        BadImageError: The format is not supported.
        Exception: Whatever Pillow, another decoder or `check` raises.
    """
    if is_raw(data):
        return raw.open_raw(data, check)
    if is_jxl(data):
        return open_jxl(data, check)
    if data[4:8] == b"ftyp":
        return _open_with_any_decoder(data, check)
    image = Image.open(io.BytesIO(data))
    if image.format == "EPS":
        raise BadImageError(ErrorCode.UNSUPPORTED, "EPS files are not supported (they contain code)")
    if isinstance(image, ImageFile.StubImageFile):
        raise BadImageError(ErrorCode.UNSUPPORTED, f"{image.format} files need an external program")
    return image


def _open_with_any_decoder(data: bytes, check: Callable[[tuple[int, int]], None]) -> Image.Image:
    """Return the image of the first decoder that can read it; raise the error of the first that knows the format."""
    refusal: Exception = UnidentifiedImageError()
    for open_with in (_open_with_pillow, open_with_heif):
        try:
            image = open_with(data)
            check(image.size)
            image.load()
            return image
        except (BadImageError, MemoryError):
            raise
        except Exception as error:  # plugins raise anything at all on broken files
            if isinstance(refusal, UnidentifiedImageError) and _NO_CODEC not in str(error):
                refusal = error
        if _is_truncated(data):  # the next decoder might accept it
            break
    raise refusal


def _open_with_pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("AVIF",))


def explain_error(error: BaseException, data: bytes) -> BadImageError:
    """Return the error code and the reason for what a decoder raised on a file.

    Args:
        error: What the decoder raised.
        data: The bytes of the file.
    """
    if isinstance(error, UnidentifiedImageError):
        return _explain_unidentified(data)
    return BadImageError(_choose_code(error, data), str(error) or type(error).__name__)


def _explain_unidentified(data: bytes) -> BadImageError:
    if _is_truncated(data):
        return BadImageError(ErrorCode.TRUNCATED, "the file is shorter than its header says")
    for signature, code in _SIGNATURES.items():
        if data.startswith(signature):
            if code is ErrorCode.UNSUPPORTED:
                return BadImageError(code, "an image format that the installed decoder cannot read")
            return BadImageError(ErrorCode.TRUNCATED, "the file ends or breaks inside its header")
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and register_heif() is None:
        return BadImageError(ErrorCode.UNSUPPORTED, "HEIC: to read it, pip install 'fastdup-ray[heic]'")
    if data[4:8] == b"ftyp" and data[8:12] in (*HEIF_BRANDS, b"avif"):
        return BadImageError(ErrorCode.UNSUPPORTED, "an image format that the installed decoder cannot read")
    return BadImageError(ErrorCode.NOT_AN_IMAGE, "not an image in any known format")


def _choose_code(error: BaseException, data: bytes) -> ErrorCode:
    text = str(error).lower()
    if isinstance(error, EOFError) or "truncated" in text or _is_truncated(data):
        return ErrorCode.TRUNCATED
    if isinstance(error, NotImplementedError) or text.startswith(("unsupported", "cannot find loader")):
        return ErrorCode.UNSUPPORTED
    return ErrorCode.CORRUPT


def _is_truncated(data: bytes) -> bool:
    """Return whether a file is shorter than a header near its beginning says; False for formats without such a one."""
    if data[:4] == b"RIFF":  # WebP
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data[:4] in (b"II*\0", b"MM\0*"):  # TIFF: the offset of its first directory
        return int.from_bytes(data[4:8], "little" if data[:1] == b"I" else "big") >= len(data)
    if data[4:8] in (b"ftyp", b"jP  ", b"JXL "):  # AVIF, HEIC, CR3, JPEG 2000, JPEG XL: a sequence of boxes
        return _find_end_of_boxes(data) > len(data)
    return False


def _find_end_of_boxes(data: bytes) -> int:
    offset = 0
    while offset < len(data):
        length = int.from_bytes(data[offset : offset + 4], "big")
        if length == 1:
            length = int.from_bytes(data[offset + 8 : offset + 16], "big")
        if length < 8:  # 0: to the end of the file; else no box
            return len(data)
        offset += length
    return offset
