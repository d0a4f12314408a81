"""The optional decoders that are installed."""

from fastdup_ray.extract.heif import register_heif
from fastdup_ray.extract.video import describe_decoder


def list_optional_decoders() -> list[str]:
    """Return the names and versions of the decoders for HEIF and video.

    An embedding of an image that one of them decoded is reused only where the same version is installed.
    """
    return [decoder for decoder in (register_heif(), describe_decoder()) if decoder is not None]
