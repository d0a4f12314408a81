"""Raw files of a camera that does not exist, as DNG (Adobe's DNG specification 1.7) of photographs that do."""

import io
import struct
from fractions import Fraction

import numpy as np
from PIL import Image

WHITE = 1023
"""Value of a saturated sample: the sensor has 10 bits."""

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SIGNED = 1, 2, 3, 4, 5, 10
_FORMS = {_BYTE: "B", _ASCII: "B", _SHORT: "H", _LONG: "I", _RATIONAL: "I", _SIGNED: "i"}
_TO_CAMERA = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)
"""From XYZ to the colors of the camera, which are those of sRGB."""

_SUB_IFDS, _STRIP_OFFSETS = 330, 273


def dng(
    image: Image.Image, preview: Image.Image | None = None, orientation: int = 1, taken: str = "2019:05:04 12:30:00"
) -> bytes:
    """Return a DNG.

    Args:
        image: What the sensor sees; it has an even width and height.
        preview: The camera's own JPEG; None for a file without a preview.
        orientation: How the camera was held, as in EXIF.
        taken: The date, as in EXIF.
    """
    samples = mosaic(image).astype("<u2").tobytes()
    make = [
        (271, _ASCII, b"None\0"),
        (272, _ASCII, b"Test\0"),
        (274, _SHORT, [orientation]),
        (306, _ASCII, taken.encode() + b"\0"),
        (50706, _BYTE, [1, 4, 0, 0]),
        (50708, _ASCII, b"None Test\0"),
        (50721, _SIGNED, _to_rationals(_TO_CAMERA)),
        (50728, _RATIONAL, _to_rationals([1.0, 1.0, 1.0])),
        (50778, _SHORT, [21]),  # calibrated for D65
    ]
    sensor = [
        (254, _LONG, [0]),
        (256, _LONG, [image.width]),
        (257, _LONG, [image.height]),
        (258, _SHORT, [16]),
        (259, _SHORT, [1]),
        (262, _SHORT, [32803]),
        (277, _SHORT, [1]),
        (278, _LONG, [image.height]),
        (279, _LONG, [len(samples)]),
        (33421, _SHORT, [2, 2]),
        (33422, _BYTE, [0, 1, 1, 2]),
        (50717, _LONG, [WHITE]),
    ]
    if preview is None:
        return _write([[*sensor, *make]], [samples])
    file = io.BytesIO()
    preview.save(file, "JPEG", quality=90)
    shown = [
        (254, _LONG, [1]),
        (256, _LONG, [preview.width]),
        (257, _LONG, [preview.height]),
        (258, _SHORT, [8, 8, 8]),
        (259, _SHORT, [7]),
        (262, _SHORT, [6]),
        (277, _SHORT, [3]),
        (278, _LONG, [preview.height]),
        (279, _LONG, [len(file.getvalue())]),
    ]
    return _write([[*shown, *make], sensor], [file.getvalue(), samples])


def mosaic(image: Image.Image) -> np.ndarray:
    """Return the samples, (height, width), behind a filter of red, green, green and blue, from black to `WHITE`."""
    color = np.asarray(image.convert("RGB"), np.float64) / 255
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    samples = linear[..., 1].copy()
    samples[::2, ::2], samples[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    return np.rint(samples * WHITE)


def _to_rationals(values) -> list[int]:
    return [part for value in values for part in Fraction(value).limit_denominator(10_000).as_integer_ratio()]


def _write(directories: list[list[tuple]], strips: list[bytes]) -> bytes:
    """Return a TIFF whose first directory names the second one; each has a strip. Values of fields come last."""
    starts = np.cumsum([8, *map(len, strips)])
    second = int(starts[-1]) + 2 + 12 * (len(directories[0]) + len(directories)) + 4
    data = bytearray(struct.pack("<2sHI", b"II", 42, starts[-1]) + b"".join(strips))
    values, tables = bytearray(), []
    if len(directories) > 1:
        directories = [[*directories[0], (_SUB_IFDS, _LONG, [second])], directories[1]]
    place = int(starts[-1]) + sum(2 + 12 * (len(fields) + 1) + 4 for fields in directories)
    for fields, start in zip(directories, starts, strict=False):
        table = bytearray(struct.pack("<H", len(fields) + 1))
        for tag, kind, content in sorted([*fields, (_STRIP_OFFSETS, _LONG, [int(start)])]):
            packed = struct.pack(f"<{len(content)}{_FORMS[kind]}", *content)
            count = len(content) // (2 if kind in (_RATIONAL, _SIGNED) else 1)
            if len(packed) > 4:
                packed, at = b"", place + len(values)
                values += struct.pack(f"<{len(content)}{_FORMS[kind]}", *content)
                values += bytes(len(values) % 2)
                packed = struct.pack("<I", at)
            table += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
        tables.append(table + bytes(4))
    return bytes(data + b"".join(tables) + values)
