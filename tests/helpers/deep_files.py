"""Files that Pillow reads and does not write: 16 bits a color, further channels, signed and unsigned samples."""

import struct
import zlib

import numpy as np

_ASCII, _SHORT, _LONG = 2, 3, 4
_LETTERS = {_ASCII: "B", _SHORT: "H", _LONG: "I"}


def save_tiff(
    samples: np.ndarray, extra_samples: list[int] | None = None, photometric: int | None = None, nodata: str = ""
) -> bytes:
    """Return an uncompressed little-endian TIFF 6.0.

    Args:
        samples: (height, width) or (height, width, channels), of any kind of integers or float32.
        extra_samples: What each channel after the colors is: 0 unspecified, 1 and 2 opacity.
        photometric: 0 white is zero, 1 black is zero, 2 RGB; by the number of channels where not given.
        nodata: GDAL's mark of missing samples.
    """
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, channels = samples.shape
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    colors = channels - len(extra_samples or [])
    if photometric is None:
        photometric = 2 if colors == 3 else 1
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    tags = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [samples.itemsize * 8] * channels),
        (259, _SHORT, [1]),
        (262, _SHORT, [photometric]),
        (273, _LONG, [8]),
        (277, _SHORT, [channels]),
        (278, _LONG, [height]),
        (279, _LONG, [len(data)]),
        *([(338, _SHORT, extra_samples)] if extra_samples else []),
        (339, _SHORT, [kind] * channels),
        *([(42113, _ASCII, list(nodata.encode() + b"\0"))] if nodata else []),
    ]
    start = 8 + len(data)
    more, entries, place = b"", b"", start + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        packed = struct.pack("<" + _LETTERS[kind] * len(values), *values)
        if len(packed) > 4:
            entries += struct.pack("<HHII", tag, kind, len(values), place + len(more))
            more += packed
        else:
            entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", start) + data + struct.pack("<H", len(tags)) + entries + bytes(4) + more


def save_png_16(samples: np.ndarray) -> bytes:
    """Return a PNG with 16 bits a sample: (height, width, channels) uint16, gray, gray with alpha, RGB or RGBA."""
    height, width, channels = samples.shape
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
