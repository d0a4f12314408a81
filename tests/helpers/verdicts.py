"""What becomes of a file: good with its pixels, or bad with a code."""

from unittest import mock

from fastdup_ray.common.records import Limits
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract import decode
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.resize import Fit

SIDE = 64


def verdict_of(data: bytes, *, concurrent: bool = False) -> tuple[object, ...]:
    """Code and message of a bad image; pixels and all facts of a good one."""
    try:
        with strict_pillow():
            image = decode.decode_bytes(data, (SIDE, SIDE), Limits(10**8), Fit(trim=True), concurrent=concurrent)
    except BadImageError as error:
        return error.code, error.message
    facts = (image.width, image.height, image.format, image.statistics, image.unseen, image.decoder, image.taken)
    return image.pixels.tobytes(), *facts


def pillows_verdict_of(data: bytes) -> tuple[object, ...]:
    """The same without the fast decoders."""
    with mock.patch.object(decode, "decode_fast", return_value=None):
        return verdict_of(data)
