"""The optional decoders that are installed, and which formats they decode."""

from fastdup_ray.extract import heif, jxl, raw
from fastdup_ray.extract.video import describe_decoder

_DECODERS = {heif.FORMAT: heif.register_heif, jxl.FORMAT: jxl.describe_jxl, raw.FORMAT: raw.describe_rawpy}


def get_decoder(image_format: str) -> str | None:
    """Return the name and version of the decoder of a format; None for Pillow's own.

    Args:
        image_format: The name of the format, as in `Image.format`.
    """
    return _DECODERS[image_format]() if image_format in _DECODERS else None


def list_optional_decoders() -> list[str]:
    """Return the names and versions of the decoders for HEIF, JPEG XL, raw files and video.

    An embedding of an image that one of them decoded is reused only where the same version is installed.
    """
    found = [describe() for describe in (*_DECODERS.values(), describe_decoder)]
    return [decoder for decoder in found if decoder is not None]
