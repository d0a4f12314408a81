"""JPEG XL: what its header says, its modes, its facts, and damage."""

import struct
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image

from fastdup_ray.common.records import Limits
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract import jxl
from fastdup_ray.extract.decode import DecodedImage, decode_bytes
from fastdup_ray.extract.jxl_header import JxlHeader, read_jxl_header
from fastdup_ray.extract.model import SIDE, Model
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.pixels import hash_pixels
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import PHOTOS, csv_rows, run_inline

pytest.importorskip("pillow_jxl")  # writes them, too

LIMITS = Limits(1 << 24)
SIZE = (321, 240)


def photo() -> Image.Image:
    with Image.open(PHOTOS / "originals" / "coffee.jpg") as image:
        return image.convert("RGB").resize(SIZE)


def as_jxl(image: Image.Image, **options) -> bytes:
    return encode(image, "JXL", **options)


def recompressed(tmp_path, orientation: int) -> bytes:
    """Return a JPEG in the form from which JPEG XL can restore its bytes."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.DateTime] = orientation, "2019:05:04 12:30:00"
    photo().save(tmp_path / "a.jpg", exif=exif, quality=90)
    with Image.open(tmp_path / "a.jpg") as image:
        return encode(image, "JXL", lossless_jpeg=True)


def without_box(data: bytes, kind: bytes) -> bytes:
    place = data.index(kind) - 4
    return data[:place] + data[place + int.from_bytes(data[place : place + 4], "big") :]


def decode(data: bytes, limits: Limits = LIMITS) -> DecodedImage:
    with strict_pillow(limits.max_pixels):
        return decode_bytes(data, (SIDE, SIDE), limits)


def code_of(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(BadImageError) as caught:
        decode(data, limits)
    assert "\n" not in caught.value.message
    return caught.value.code


def cosine(one: DecodedImage, other: DecodedImage) -> float:
    rows = Model().embed(np.stack([one.pixels, other.pixels]))
    return float(rows[0] @ rows[1])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"use_container": True}])
def test_every_mode_is_read(mode, options):
    found = decode(as_jxl(photo().convert(mode), **options))
    assert (found.format, found.width, found.height) == ("JXL", *SIZE)
    assert found.decoder == jxl.describe_jxl()
    assert found.unseen == frozenset()
    assert cosine(found, decode(encode(photo().convert(mode), "PNG"))) > 0.99


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (256, 256), (320, 240), (192, 128), (321, 7), (7, 321), (5000, 3)])
def test_the_header_has_the_size(size):
    assert read_jxl_header(as_jxl(Image.new("RGB", size))).size == size


def test_the_header_has_depth_and_channels():
    deep = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    assert read_jxl_header(as_jxl(deep)).is_deep
    assert read_jxl_header(as_jxl(cloudy(0).convert("RGBA"))).extra_channels == 1
    assert read_jxl_header(as_jxl(cloudy(0))) == JxlHeader((64, 48))


def test_samples_of_16_bits_are_read():
    gray = np.asarray(photo().convert("L")).astype(np.uint16) * 257
    assert cosine(decode(as_jxl(Image.fromarray(gray))), decode(encode(photo().convert("L"), "PNG"))) > 0.99


def test_the_same_pixels_are_found():
    with strict_pillow():
        assert hash_pixels(as_jxl(photo(), lossless=True)) == hash_pixels(encode(photo(), "PNG"))
        assert hash_pixels(as_jxl(photo(), quality=80)) != hash_pixels(encode(photo(), "PNG"))


@pytest.mark.parametrize("has_jpeg", [True, False])
def test_the_orientation_is_applied_once(tmp_path, has_jpeg):
    data = recompressed(tmp_path, 6)
    found = decode(data if has_jpeg else without_box(data, b"jbrd"))
    upright = photo().rotate(270, expand=True)
    assert (found.width, found.height) == upright.size
    assert cosine(found, decode(encode(upright, "PNG"))) > 0.99


def test_the_date_is_read(tmp_path):
    assert decode(recompressed(tmp_path, 1)).taken == "2019-05-04 12:30:00"
    exif = Image.Exif()
    exif[ExifTags.Base.DateTime], exif[ExifTags.Base.Orientation] = "2019:05:04 12:30:00", 6
    found = decode(as_jxl(photo(), exif=exif.tobytes()))
    assert found.taken == "2019-05-04 12:30:00"
    assert (found.width, found.height) == SIZE  # the header says that it is upright


def test_limits_are_checked_before_anything_is_decoded(monkeypatch):
    import pillow_jxl

    data = as_jxl(photo())
    monkeypatch.setattr(pillow_jxl, "Decoder", lambda **_: pytest.fail("it was decoded"))
    assert code_of(data, Limits(321 * 240 - 1)) == "TOO_LARGE"
    assert code_of(data, Limits(1 << 24, min_size=241)) == "TOO_SMALL"


@pytest.mark.parametrize("size", [0, 2, 3, 12, 40, 4000])
def test_truncated_files_are_bad(size):
    assert code_of(as_jxl(photo())[:size]) in {"ZERO_SIZE", "TRUNCATED", "CORRUPT"}
    assert code_of(as_jxl(photo(), use_container=True)[: size or 20]) in {"NOT_AN_IMAGE", "TRUNCATED"}


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_a_code_or_an_image(seed):
    rng, data = np.random.default_rng(seed), bytearray(as_jxl(photo(), use_container=bool(seed % 2)))
    for place in rng.integers(2, 60 if seed % 4 < 2 else len(data), 4):
        data[place] = rng.integers(256)
    try:
        assert decode(bytes(data)).pixels.shape == (SIDE, SIDE, 3)
    except BadImageError as error:
        assert error.code in {"TRUNCATED", "CORRUPT", "UNSUPPORTED", "TOO_LARGE", "TOO_SMALL", "NOT_AN_IMAGE"}


def test_an_animation_is_unsupported():
    """The header of one, from its fields: 8 × 8 pixels, and the flags that lead to that of an animation."""
    fields = [(1, 1), (0, 5), (1, 3), (0, 1), (1, 1), (0, 3), (0, 1), (0, 1), (1, 1), (0, 2), (0, 2), (0, 2), (0, 1)]
    value = place = 0
    for bits, count in fields:
        value, place = value | bits << place, place + count
    data = b"\xff\x0a" + value.to_bytes(64, "little")
    assert read_jxl_header(data) == JxlHeader((8, 8), is_animated=True)
    assert code_of(data) == "UNSUPPORTED"


def test_a_box_that_says_it_has_no_length_does_not_loop():
    box = b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I4sQ", 1, b"free", 0) + struct.pack(">I4s", 8, b"free") * 10
    assert code_of(box) == "TRUNCATED"


def test_without_the_plugin_it_says_what_to_install(monkeypatch):
    data = as_jxl(photo())
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(BadImageError) as caught:
        decode(data)
    assert caught.value.code == "UNSUPPORTED"
    assert "pip install 'fastdup-ray[jxl]'" in caught.value.message


def test_a_run_finds_it_beside_its_png(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jxl").write_bytes(as_jxl(photo(), quality=90))
    (folder / "a.png").write_bytes(encode(photo(), "PNG"))
    (folder / "b.png").write_bytes(encode(cloudy(1), "PNG"))
    result = run_inline(folder, tmp_path / "out", report=False)
    assert csv_rows(tmp_path / "out" / "features.bad.csv")[1:] == []
    assert [row["format"] for row in result.images.to_pylist()] == ["JXL", "PNG", "PNG"]
    (pair,) = {frozenset(row[:2]) for row in csv_rows(tmp_path / "out" / "similarity.csv")[1:]}
    assert {name.rsplit("/", 1)[1] for name in pair} == {"a.jxl", "a.png"}
