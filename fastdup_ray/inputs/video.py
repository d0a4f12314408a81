"""Recognize videos by their first bytes, and name their frames. `extract/video.py` decodes them."""

import hashlib
import re

from fastdup_ray.inputs.suffixes import is_video_name

HEAD = 1024
"""Bytes at the beginning of a file by which a video is recognized."""

_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_IMAGE_BRANDS = (
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"),
    *(b"crx ", b"jp2 ", b"jpx ", b"jpm "),
)
"""Brands of `ftyp` boxes (ISO base media file format) of images."""
_VIDEO = re.compile(
    rb"....(?:ftyp|moov|mdat|wide)"  # MP4, QuickTime
    rb"|\x1aE\xdf\xa3"  # Matroska, WebM
    rb"|RIFF....AVI "
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11"  # ASF, WMV
    rb"|FLV\x01"
    rb"|OggS"
    rb"|\x06\x0e\x2b\x34"  # MXF
    rb"|\0\0\x01[\xba\xb3]"  # MPEG program stream, MPEG video
    rb"|\x47.{187}\x47.{187}\x47|.{4}\x47.{191}\x47.{191}\x47",  # MPEG transport stream, the same in M2TS
    re.DOTALL,
)
_FRAME = re.compile(r"(.+)#t=(\d+\.\d{3})", re.DOTALL)


def is_video(name: str, head: bytes) -> bool:
    """Return whether a file is a video, by its first `HEAD` bytes, or by its name if they do not tell."""
    if head[4:8] == b"ftyp" and head[8:12] in _IMAGE_BRANDS:
        return False
    return bool(_VIDEO.match(head)) or (bool(head) and is_video_name(name) and not head.startswith(_IMAGES))


def get_frame_time(index: int, fps: float) -> int:
    """Return the time of frame `index` in milliseconds, if `fps` frames per second are taken."""
    return round(index * 1000 / fps)


def format_frame_suffix(milliseconds: int) -> str:
    """Return the suffix, such as `#t=12.000`, that makes the name of a frame from that of its video."""
    return f"#t={milliseconds // 1000}.{milliseconds % 1000:03d}"


def split_frame(name: str) -> tuple[str, int] | None:
    """Split a name such as `clip.mp4#t=12.000` into video and milliseconds; return None for other names."""
    match = _FRAME.fullmatch(name)
    return (match[1], int(match[2].replace(".", ""))) if match else None


def hash_frame(sha256: str, milliseconds: int) -> str:
    """Return the digest of a frame, in hex, from that of its video."""
    return hashlib.sha256(f"{sha256}{format_frame_suffix(milliseconds)}".encode()).hexdigest()
