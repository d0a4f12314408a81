"""Which decoders other than Pillow's own are at work here: what they made is reused only where they are the same."""

from fastdup_ray.extract.heif import register_heif
from fastdup_ray.extract.video import describe_decoder


def list_optional_decoders() -> list[str]:
    """Name the decoders for HEIF and videos, with their versions."""
    return [decoder for decoder in (register_heif(), describe_decoder()) if decoder is not None]
