"""Open an image by whichever decoder can, and say in one line why none of them can."""

import io
from collections.abc import Callable

from PIL import Image, ImageFile, UnidentifiedImageError

from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.extract.heif import HEIF_BRANDS, open_with_heif, register_heif

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

_NO_CODEC = "has not been built in"
"""In libheif's words for a format that it knows and cannot decode."""


def open_image(data: bytes, check: Callable[[tuple[int, int]], None] = lambda size: None) -> Image.Image:
    """Open an image as Pillow does, but for formats that are programs: Pillow would have Ghostscript run them.

    AVIF and HEIC, which several decoders read, each some that the others refuse, are decoded here already.

    Args:
        data: The bytes of the file.
        check: Is called with (width, height) before anything is decoded here; raises to refuse the image.
    """
    if data[4:8] == b"ftyp":
        return _open_by_any_decoder(data, check)
    image = Image.open(io.BytesIO(data))
    if image.format == "EPS":
        raise BadImageError(ErrorCode.UNSUPPORTED, "EPS files are not supported (they contain code)")
    if isinstance(image, ImageFile.StubImageFile):
        raise BadImageError(ErrorCode.UNSUPPORTED, f"{image.format} files need an external program")
    return image


def _open_by_any_decoder(data: bytes, check: Callable[[tuple[int, int]], None]) -> Image.Image:
    """The image as the first decoder gives it that can; raises what the first said that knew the format."""
    refusal: Exception = UnidentifiedImageError()
    for opened in (_open_with_pillow, open_with_heif):
        try:
            image = opened(data)
            check(image.size)
            image.load()
            return image
        except (BadImageError, MemoryError):
            raise
        except Exception as error:  # plugins raise anything at all on broken files
            if isinstance(refusal, UnidentifiedImageError) and _NO_CODEC not in str(error):
                refusal = error
        if _is_cut(data):  # which one of them might not mind
            break
    raise refusal


def _open_with_pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("AVIF",))


def explain_error(error: BaseException, data: bytes) -> BadImageError:
    """Return the code and the reason of what a decoder raised on a file."""
    if isinstance(error, UnidentifiedImageError):
        return _explain_unidentified(data)
    return BadImageError(_code_of(error, data), str(error) or type(error).__name__)


def _explain_unidentified(data: bytes) -> BadImageError:
    if _is_cut(data):
        return BadImageError(ErrorCode.TRUNCATED, "the file is shorter than its header says")
    for signature, code in _SIGNATURES.items():
        if data.startswith(signature):
            if code is ErrorCode.UNSUPPORTED:
                return BadImageError(code, "an image format that the installed decoder cannot read")
            return BadImageError(ErrorCode.TRUNCATED, "the file ends or breaks inside its header")
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and register_heif() is None:
        return BadImageError(ErrorCode.UNSUPPORTED, "HEIC: to read it, pip install 'fastdup-ray[heic]'")
    if data[4:8] == b"ftyp" and data[8:12] in (*HEIF_BRANDS, b"avif", b"crx "):
        return BadImageError(ErrorCode.UNSUPPORTED, "an image format that the installed decoder cannot read")
    return BadImageError(ErrorCode.NOT_AN_IMAGE, "not a picture in any known format")


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
