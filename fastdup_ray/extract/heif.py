"""HEIC and HEIF, where pillow-heif is installed, and AVIF where it can read what Pillow refuses."""

import io
from functools import cache

from PIL import Image, UnidentifiedImageError

FORMAT = "HEIF"
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@cache
def register_heif() -> str | None:
    """Have Pillow open HEIC, too; return what its pixels depend on beside the file.

    None where pillow-heif is not installed.
    """
    try:
        import pillow_heif
    except ImportError:
        return None
    pillow_heif.register_heif_opener()
    return f"pillow-heif {pillow_heif.__version__}, libheif {pillow_heif.libheif_version()}"


def open_with_heif(data: bytes) -> Image.Image:
    """Open the primary image of a HEIC or AVIF file with pillow-heif; its format is `FORMAT`.

    Raises:
        UnidentifiedImageError: Where pillow-heif is not installed, or does not know the file.
    """
    if register_heif() is None:
        raise UnidentifiedImageError
    import pillow_heif

    try:
        return pillow_heif.HeifImageFile(io.BytesIO(data))
    except SyntaxError:
        raise UnidentifiedImageError from None
