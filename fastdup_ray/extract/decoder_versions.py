"""The optional decoders that are installed, and which formats they decode."""

from fastdup_ray.extract.heif import FORMAT, register_heif
from fastdup_ray.extract.video import describe_decoder


def get_decoder(image_format: str) -> str | None:
    """Return the name and version of the decoder of a format; None for Pillow's own.

    Args:
        image_format: Pillow's name of the format.
    """
    return register_heif() if image_format == FORMAT else None


def list_optional_decoders() -> list[str]:
    """Return the names and versions of the decoders for HEIF and video.

    An embedding of an image that one of them decoded is reused only where the same version is installed.
    """
    return [decoder for decoder in (register_heif(), describe_decoder()) if decoder is not None]
