"""What a file holds besides the pixels of its first image: further frames, clips, channels that decoders leave out."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, MpoImagePlugin

from fastdup_ray.common.records import Unseen
from fastdup_ray.extract import jxl, raw
from fastdup_ray.extract.jxl_header import read_jxl_header

_SAMPLES_PER_PIXEL, _SUB_IFDS = 277, 330
"""TIFF tags."""

_MP_ENTRIES = 0xB002
_MP_THUMBNAILS = ("Large Thumbnail (VGA Equivalent)", "Large Thumbnail (Full HD Equivalent)")
"""Types of images in an MPO that repeat the first one, in Pillow's words for CIPA DC-007, 5.2.3.3."""

_SEVERAL_SIZES = ("ICO", "CUR", "ICNS")
_READ_AHEAD = ("GIF", "TIFF", "PSD")
"""Formats of which Pillow has to read more of the file to say whether there is a second frame."""

_DDS_SEVERAL = 0x200 | 0x200000
"""Bits of dwCaps2 for cube maps and volumes: Microsoft, DDS_HEADER structure."""

_CLIP_MARKS = (b"MotionPhoto", b"MicroVideo")
"""In the XMP of photographs with a clip: https://developer.android.com/media/platform/motion-photo-format."""

_SAMSUNG_TRAILER, _SAMSUNG_CLIP = b"SEFT", b"MotionPhoto_Data"


def find_unseen(image: Image.Image, data: bytes) -> frozenset[Unseen]:
    """Return what a file holds besides the pixels of `image`: frames, a clip, channels.

    Args:
        image: The decoded image.
        data: The bytes of its file.
    """
    return frozenset(_iter_unseen(image, data))


def _iter_unseen(image: Image.Image, data: bytes) -> Iterator[Unseen]:
    if image.format == raw.FORMAT:
        yield Unseen.VALUES  # a preview has 8 bits of the samples, in the tones that the camera chose
    if _has_frames(image, data):
        yield Unseen.FRAMES
    if _has_clip(image, data):
        yield Unseen.VIDEO
    if _has_unused_channels(image, data):
        yield Unseen.CHANNELS


def _has_frames(image: Image.Image, data: bytes) -> bool:
    if image.format in _SEVERAL_SIZES:
        return len(image.info.get("sizes", ())) > 1 or _count_icons(data) > 1
    if isinstance(image, MpoImagePlugin.MpoImageFile):
        entries = image.mpinfo[_MP_ENTRIES] if image.mpinfo else ()
        types = [entry["Attribute"]["MPType"] for entry in entries]
        return sum(type_ not in _MP_THUMBNAILS for type_ in types) > 1
    if image.format == "DDS":
        return int.from_bytes(data[112:116], "little") & _DDS_SEVERAL != 0
    if image.format not in _READ_AHEAD:
        return getattr(image, "n_frames", 1) > 1
    try:
        with Image.open(io.BytesIO(data)) as again:  # `image` may be closed, and counting frames would seek in it
            n_frames: int = again.n_frames  # type: ignore[attr-defined]  # the classes of these formats have it
            return n_frames > 1 or _SUB_IFDS in getattr(again, "tag_v2", {})
    except Exception:  # broken, but there is something after the first frame
        return True


def _count_icons(data: bytes) -> int:
    """Return the number of images in a Windows icon or cursor by its header; 0 for any other file."""
    return int.from_bytes(data[4:6], "little") if data[:4] in (b"\0\0\1\0", b"\0\0\2\0") else 0


def _has_clip(image: Image.Image, data: bytes) -> bool:
    xmp = image.info.get("xmp", b"")
    if isinstance(xmp, bytes) and any(mark in xmp for mark in _CLIP_MARKS):
        return True
    return data.endswith(_SAMSUNG_TRAILER) and _SAMSUNG_CLIP in data


def _has_unused_channels(image: Image.Image, data: bytes) -> bool:
    bands = len(image.getbands())
    if image.format == "TIFF":
        return int(getattr(image, "tag_v2", {}).get(_SAMPLES_PER_PIXEL, 1)) > bands
    if image.format == jxl.FORMAT:
        return read_jxl_header(data).extra_channels > image.getbands().count("A")
    if image.format == "PSD":
        return int.from_bytes(data[12:14], "big") > bands
    if image.format == "BMP" and image.mode == "RGB" and int.from_bytes(data[28:30], "little") == 32:
        fourth = np.frombuffer(data, np.uint8, offset=int.from_bytes(data[10:14], "little"))[3::4]
        return bool(len(fourth)) and int(fourth.min()) != int(fourth.max())
    return False
