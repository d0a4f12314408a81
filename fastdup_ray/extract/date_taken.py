"""The date on which a photo was taken, from its EXIF tags."""

import re
from collections.abc import Iterator
from datetime import datetime

from PIL import ExifTags, Image

_DATE = re.compile(r"(\d{4})\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)")
"""A date in EXIF: `2019:05:04 12:30:00`, with other separators in some files. It has no time zone."""


def read_date_taken(image: Image.Image) -> str | None:
    """Return when an image was taken, such as `2019-05-04 12:30:00`, by the clock of the camera.

    It is the first valid one of `DateTimeOriginal`, `DateTimeDigitized` and `DateTime`.

    Args:
        image: A loaded image.

    Returns:
        The date and time; None if the image does not say.
    """
    return next(filter(None, map(_parse, _iter_values(image))), None)


def _iter_values(image: Image.Image) -> Iterator[object]:
    exif = image.getexif()
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # Pillow raises anything at all on broken tags
        details = {}
    yield details.get(ExifTags.Base.DateTimeOriginal)
    yield details.get(ExifTags.Base.DateTimeDigitized)
    yield exif.get(ExifTags.Base.DateTime)


def _parse(value: object) -> str | None:
    match = _DATE.match(value.decode("ascii", "replace") if isinstance(value, bytes) else str(value))
    if match is None:
        return None
    try:
        return datetime.fromisoformat("{}-{}-{} {}:{}:{}".format(*match.groups())).isoformat(" ")
    except ValueError:  # such as the month 0 of a clock that was never set
        return None
