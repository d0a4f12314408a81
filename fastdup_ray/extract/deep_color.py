"""Images with several channels of 16 bits, of which Pillow's decoders keep the upper bytes only."""

import io

import numpy as np
from PIL import Image

from fastdup_ray.common.arrays import ByteArray
from fastdup_ray.extract import jxl
from fastdup_ray.extract.jxl_header import read_jxl_header
from fastdup_ray.extract.tones import apply_range, find_range

BRIGHT = 64
"""Upper byte of any color from which on an image uses more than 14 bits: then its upper bytes are enough..."""

EVEN = 1
"""... unless they differ by no more than this: then all content is in the lower bytes."""

_COLORS = ("RGB", "RGBA", "RGBX")
_OTHER_BYTES = {
    **{f"{colors};16B": f"{colors};16L" for colors in _COLORS},
    **{f"{colors};16L": f"{colors};16B" for colors in _COLORS},
    **{f"{colors};16N": f"{colors};16B" for colors in _COLORS},
    "LA;16B": "RGBA",
}
"""Pillow's raw modes, each with the one that reads the lower bytes of the same samples; for LA, the upper ones too."""

_BITS_PER_SAMPLE, _PLANAR_CONFIGURATION = 258, 284
"""TIFF tags."""

_SEPARATE = 2
"""Value of `_PLANAR_CONFIGURATION` for one plane per color."""

_AV1_HIGH_BIT_DEPTH = 0x40
"""Bit of the third byte of the box av1C: AV1 Codec ISO Media File Format Binding, 2.3."""

_JPEG_2000_DEPTH = 40
"""Bytes from the marker SIZ to the depth of the first component: ISO/IEC 15444-1, A.5.1."""


def has_16_bit_colors(image: Image.Image, data: bytes) -> bool:
    """Return whether the file `data` has 16 bits per color, of which the decoded `image` has 8: PNG and TIFF only."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    if image.format == "PNG":
        return data[24:25] == b"\x10"
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    return image.format == "TIFF" and bool(bits[0] == 16)


def has_more_bits(image: Image.Image, data: bytes) -> bool:
    """Return whether a file has more than 8 bits per channel, and `load_lower_bytes` does not read them.

    True in doubtful cases: an AVIF without the box av1C, a PPM with more than one byte per sample.

    Args:
        image: A loaded image, in 8 bits per channel if the file has colors.
        data: The bytes of its file.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return False
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
        return bool(bits[0] > 8) and not has_16_bit_colors(image, data)
    if image.format == "AVIF":
        box = data.find(b"av1C")
        return box < 0 or bool(data[box + 6] & _AV1_HIGH_BIT_DEPTH)
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8)) > 8
    if image.format == jxl.FORMAT:
        return read_jxl_header(data).is_deep
    if image.format == "JPEG2000":
        return (data[data.find(b"\xff\x51") + _JPEG_2000_DEPTH] & 0x7F) + 1 > 8
    if image.format == "SGI":
        return data[3] > 1
    return image.format == "PPM" and image.mode == "RGB" and len(data) > 4 * image.width * image.height


def show_used_bits(image: Image.Image, data: bytes) -> tuple[Image.Image, bool]:
    """Map the bits that the samples of an image use to 8; many sensors use 10 or 12 of 16.

    Args:
        image: A loaded image for which `has_16_bit_colors` is true.
        data: The bytes of its file.

    Returns:
        The image in the same mode, and whether values outside the range may be data (see `tones.Range`).
    """
    upper = np.asarray(image)
    is_visible = upper[..., :3].max() >= BRIGHT and np.ptp(upper[..., :3]) > EVEN
    if is_visible or (lower := load_lower_bytes(data)) is None:
        return image, False
    colors = upper[..., :3].astype(np.uint16) << 8 | lower[..., :3]
    shown = find_range(colors)
    return Image.fromarray(np.dstack([apply_range(colors, shown), upper[..., 3:]])), shown.strays


def load_lower_bytes(data: bytes) -> ByteArray | None:
    """Return the lower bytes of 16-bit colors, (height, width, 3 or 4) uint8; None for a layout that cannot be read."""
    with Image.open(io.BytesIO(data)) as image:
        if getattr(image, "tag_v2", {}).get(_PLANAR_CONFIGURATION) == _SEPARATE:
            return None  # Pillow ignores the raw mode for separate planes
        tiles = []
        for tile in image.tile:
            raw, *more = [tile.args] if isinstance(tile.args, str) else tile.args or ()
            if raw not in _OTHER_BYTES:
                return None
            tiles.append(tile._replace(args=(_OTHER_BYTES[raw], *more) if more else _OTHER_BYTES[raw]))
        image.tile = tiles
        image.load()
        pixels = np.asarray(image)
    return pixels[..., [1, 1, 1, 3]] if raw == "LA;16B" else pixels
