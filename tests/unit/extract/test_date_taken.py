"""Dates of photos, as their EXIF tags have them."""

import io

import pytest
from PIL import ExifTags, Image

from fastdup_ray.common.records import Limits
from fastdup_ray.extract.date_taken import read_date_taken
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.pillow_settings import strict_pillow
from tests.helpers.images import cloudy, encode

ORIGINAL, DIGITIZED, CHANGED = "2019:05:04 12:30:00", "2020:06:05 13:31:01", "2021:07:06 14:32:02"


def tags(original: object = None, digitized: object = None, changed: object = None) -> Image.Exif:
    exif, details = Image.Exif(), {}
    for tag, value in ((ExifTags.Base.DateTimeOriginal, original), (ExifTags.Base.DateTimeDigitized, digitized)):
        if value is not None:
            details[tag] = value
    if details:
        exif.get_ifd(ExifTags.IFD.Exif).update(details)
    if changed is not None:
        exif[ExifTags.Base.DateTime] = changed
    return exif


def read(exif: Image.Exif, format: str = "JPEG") -> str | None:
    with Image.open(io.BytesIO(encode(cloudy(1), format, exif=exif))) as image:
        image.load()
        return read_date_taken(image)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize(
    ("dates", "taken"),
    [
        ((ORIGINAL, DIGITIZED, CHANGED), "2019-05-04 12:30:00"),
        ((None, DIGITIZED, CHANGED), "2020-06-05 13:31:01"),
        ((None, None, CHANGED), "2021-07-06 14:32:02"),
        (("0000:00:00 00:00:00", DIGITIZED, CHANGED), "2020-06-05 13:31:01"),
        ((None, None, None), None),
    ],
)
def test_the_original_date_comes_first(format, dates, taken):
    assert read(tags(*dates), format) == taken


def test_a_tiff_says_when_it_was_changed():
    data = encode(cloudy(1), "TIFF", tiffinfo={ExifTags.Base.DateTime: CHANGED}, compression="tiff_lzw")
    with strict_pillow(10**6):
        assert decode_bytes(data, (8, 8), Limits(10**6)).taken == "2021-07-06 14:32:02"


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("2019-05-04T12:30:00+02:00", "2019-05-04 12:30:00"),
        ("2019/05/04 12.30.00", "2019-05-04 12:30:00"),
        ("    :  :     :  :  ", None),
        ("2019:02:30 12:30:00", None),
        ("2019:05:04", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_date_is_valid_or_left_out(text, taken):
    assert read(tags(text)) == taken


def test_broken_tags_say_nothing():
    data = bytearray(encode(cloudy(1), "JPEG", exif=tags(ORIGINAL)))
    place = data.index(b"2019:05:04")
    data[place - 40 : place] = b"\xff" * 40
    with strict_pillow(10**6):
        assert decode_bytes(bytes(data), (8, 8), Limits(10**6)).taken is None
