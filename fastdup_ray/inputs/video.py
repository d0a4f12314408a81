"""Videos and their frames, by name and by their first bytes. How they are decoded stands in `extract/video.py`."""

import hashlib
import re

from fastdup_ray.inputs.suffixes import is_video_name

HEAD = 1024
"""Bytes from the beginning of a file that tell whether it is a video."""

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_PICTURE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
_PICTURE_BRANDS += (b"crx ", b"jp2 ", b"jpx ", b"jpm ")
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
    """Whether a file is a video, by its first `HEAD` bytes, and by its name where they tell nothing."""
    if head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS:
        return False
    return bool(_VIDEO.match(head)) or (bool(head) and is_video_name(name) and not head.startswith(_PICTURES))


def get_frame_time(index: int, fps: float) -> int:
    """Milliseconds from the beginning of a video to its frame `index`, where `fps` frames a second are taken."""
    return round(index * 1000 / fps)


def format_frame_suffix(milliseconds: int) -> str:
    """What is added to the name of a video to make that of a frame, such as `#t=12.000`."""
    return f"#t={milliseconds // 1000}.{milliseconds % 1000:03d}"


def split_frame(name: str) -> tuple[str, int] | None:
    """The video, and milliseconds, that a name such as `clip.mp4#t=12.000` may mean."""
    match = _FRAME.fullmatch(name)
    return (match[1], int(match[2].replace(".", ""))) if match else None


def hash_frame(sha256: str, milliseconds: int) -> str:
    """The digest of one frame of the video whose bytes have the digest `sha256`."""
    return hashlib.sha256(f"{sha256}{format_frame_suffix(milliseconds)}".encode()).hexdigest()
