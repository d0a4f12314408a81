"""Say why a file is not a video that can be decoded."""

import re
from typing import Any, BinaryIO

from fastdup_ray.errors import BadImageError, ErrorCode

_TRACKS = {"audio": "sound", "subtitle": "subtitles"}

_SOUND = re.compile(rb"ID3|\xff[\xe2-\xff]|fLaC|RIFF....WAVE|OggS", re.DOTALL)
"""First bytes of sound files in formats that FFmpeg may not open here."""


def describe_tracks(container: Any) -> str:
    """Say what a file without a video contains."""
    tracks = ["a cover" if stream.type == "video" else _TRACKS.get(stream.type, "data") for stream in container.streams]
    tracks = sorted(set(tracks), reverse=True)
    return f"this has {' and '.join(tracks)}, and no video" if tracks else "this has no video: it has no tracks at all"


def explain_ffmpeg_error(file: BinaryIO, error: Any, *, opened: bool) -> BadImageError:
    """Return the error code and the reason for an error of FFmpeg.

    Args:
        file: The file that it was given.
        error: Its error, of a class in `av.error`.
        opened: Whether it had read the header.
    """
    import av

    is_truncated, boxes = _read_boxes(file)
    if is_truncated:
        return BadImageError(ErrorCode.TRUNCATED, "the file ends before its index")
    if opened:
        return BadImageError(ErrorCode.CORRUPT, f"the video cannot be decoded: {error.strerror}")
    if boxes and b"moov" not in boxes:
        return BadImageError(ErrorCode.TRUNCATED, "the file has no index: its recording or download did not finish")
    if isinstance(error, av.error.EOFError):
        return BadImageError(ErrorCode.TRUNCATED, "the file ends before its first frame")
    file.seek(0)
    if _SOUND.match(file.read(12)):
        return BadImageError(ErrorCode.NOT_AN_IMAGE, "this has sound, and no video")
    if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
        return BadImageError(ErrorCode.CORRUPT, "this is no video in a known format, or its header is damaged")
    return BadImageError(ErrorCode.CORRUPT, f"not a video that can be decoded: {error.strerror}")


def _read_boxes(file: BinaryIO) -> tuple[bool, set[bytes]]:
    """Read the boxes of an MP4 or QuickTime file: ISO/IEC 14496-12, 4.2.

    Returns:
        Whether the last box ends after the end of the file, and the types of all boxes; none for other files.
    """
    end = file.seek(0, 2)
    file.seek(4)
    types: set[bytes] = set()
    if file.read(4) not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return False, types
    offset = 0
    while offset + 8 <= end:
        file.seek(offset)
        size, type_ = int.from_bytes(file.read(4), "big"), file.read(4)
        types.add(type_)
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if size < 8:
            return False, types
        offset += size
    return offset > end, types
