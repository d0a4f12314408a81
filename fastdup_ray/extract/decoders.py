"""Which decoders other than Pillow's own are at work here: what they made is reused only where they are the same."""

from fastdup_ray.extract.heif import heif_decoder
from fastdup_ray.extract.video import video_decoder


def optional_decoders() -> list[str]:
    """Name the decoders for HEIF and videos, with their versions."""
    return [decoder for decoder in (heif_decoder(), video_decoder()) if decoder is not None]
