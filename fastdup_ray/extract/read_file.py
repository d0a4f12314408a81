"""Read files that are open: images as a whole, videos chunk by chunk."""

import hashlib
import io
from collections.abc import Callable
from typing import BinaryIO

from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.inputs.prefetch import Opened
from fastdup_ray.inputs.video import HEAD, is_video

_CHUNK = 4 << 20
"""Bytes of a video that are read at a time."""


def read_once(file: BinaryIO) -> bytes:
    """Return all bytes of a file without a second copy in memory, as joined parts or a `BytesIO` would have."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return file.read(size) + file.read()  # the rest: some file systems report a size of 0


def read_photo(name: str, opened: Opened) -> bytes:
    """Return the bytes of a photo; raise `BadImageError` if they cannot be read, or are those of a video."""
    with opened as file:
        if is_video(name, file.read(HEAD)):
            raise BadImageError(ErrorCode.UNSUPPORTED, "a box of a video: only photos have boxes")
        return read_once(file)


def hash_file(file: BinaryIO, tick: Callable[[], None]) -> str:
    """Return the sha256 of a whole file; `tick` is called after each chunk."""
    file.seek(0)
    digest = hashlib.sha256()
    while data := file.read(_CHUNK):
        digest.update(data)
        tick()
    return digest.hexdigest()
