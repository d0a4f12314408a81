"""HEIC and HEIF, if pillow-heif is installed, and AVIF files that pillow-heif reads and Pillow does not."""

import io
from functools import cache
from typing import cast

from PIL import Image, UnidentifiedImageError

FORMAT = "HEIF"
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of HEIC and HEIF in a file's `ftyp` box: ISO/IEC 23008-12, 10."""


@cache
def register_heif() -> str | None:
    """Make Pillow open HEIC.

    Returns:
        The versions of pillow-heif and libheif, on which pixels depend; None if pillow-heif is not installed.
    """
    try:
        import pillow_heif
    except ImportError:
        return None
    pillow_heif.register_heif_opener()
    return f"pillow-heif {pillow_heif.__version__}, libheif {pillow_heif.libheif_version()}"


def open_with_heif(data: bytes) -> Image.Image:
    """Open the primary image of a HEIC or AVIF file with pillow-heif; the format of the result is `FORMAT`.

    Raises:
        UnidentifiedImageError: pillow-heif is not installed, or does not recognize the file.
    """
    if register_heif() is None:
        raise UnidentifiedImageError
    import pillow_heif

    try:
        image = pillow_heif.HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]  # it has no annotations
        return cast(Image.Image, image)
    except SyntaxError:
        raise UnidentifiedImageError from None
