"""Every format that is promised: written by real encoders, read, and near its JPEG."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from fastdup_ray.common.records import Limits
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract import heif
from fastdup_ray.extract.decode import decode_bytes, strict_pillow
from fastdup_ray.extract.model import SIDE, Model
from tests.helpers.images import encode
from tests.helpers.runs import PHOTOS, csv_rows, run_inline

PICTURE = PHOTOS / "originals" / "coffee.jpg"
FORMATS = {
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "webp": ("WEBP", {"quality": 80}),
    "tif": ("TIFF", {"compression": "tiff_lzw"}),
    "bmp": ("BMP", {}),
    "avif": ("AVIF", {"quality": 70}),
    "heic": ("HEIF", {"quality": 70}),
    "jp2": ("JPEG2000", {}),
    "mpo": ("MPO", {"save_all": True}),
    "ico": ("ICO", {"sizes": [(256, 256)]}),
    "ppm": ("PPM", {}),
    "tga": ("TGA", {}),
    "pcx": ("PCX", {}),
}


def picture() -> Image.Image:
    with Image.open(PICTURE) as image:
        return image.convert("RGB").resize((320, 240))


def encoded(suffix: str) -> bytes:
    if suffix == "psd":
        return psd(picture())
    if suffix == "heic":
        import pillow_heif

        file = io.BytesIO()
        pillow_heif.from_pillow(picture()).save(file, quality=70)
        return file.getvalue()
    image_format, options = FORMATS[suffix]
    image = picture().resize((256, 256)) if suffix == "ico" else picture()
    return encode(image, image_format, **options)


def psd(image: Image.Image) -> bytes:
    """Pillow writes none: header, three empty sections, uncompressed planes. (Adobe Photoshop File Formats, 2019)"""
    header = b"8BPS\0\1" + bytes(6) + b"\0\3" + image.height.to_bytes(4, "big") + image.width.to_bytes(4, "big")
    return header + b"\0\x08\0\3" + bytes(12) + b"\0\0" + b"".join(band.tobytes() for band in image.split())


@pytest.fixture(scope="module")
def jpeg_row() -> np.ndarray:
    return row_of(encode(picture(), "JPEG", quality=90))


def row_of(data: bytes) -> np.ndarray:
    with strict_pillow():
        return Model().embed(decode_bytes(data, (SIDE, SIDE), Limits(1 << 24)).pixels[None])[0]


@pytest.mark.parametrize("suffix", [*FORMATS, "psd"])
def test_a_picture_in_another_format_is_near_its_jpeg(suffix, jpeg_row):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    assert row_of(encoded(suffix)) @ jpeg_row > 0.95


def test_a_folder_of_every_format_is_good_and_its_names_lie(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    suffixes = [suffix for suffix in (*FORMATS, "psd") if suffix != "avif" or features.check("avif")]
    for suffix in suffixes:
        (folder / f"x.{suffix.upper()}").write_bytes(encoded(suffix))
    (folder / "gif inside.jpg").write_bytes(encoded("gif"))
    (tmp_path / "no suffix").write_bytes(encoded("heic"))
    (tmp_path / "list").write_text(f"{tmp_path}/no suffix\n")
    result = run_inline([str(folder), str(tmp_path / "list")], tmp_path / "out", report=False)
    assert csv_rows(tmp_path / "out" / "features.bad.csv")[1:] == []
    assert result.counts["images"] == len(suffixes) + 2
    facts = dict(zip(result.images["filename"].to_pylist(), result.images["format"].to_pylist(), strict=True))
    assert facts[f"{folder}/gif inside.jpg"] == "GIF"
    assert facts[f"{tmp_path}/no suffix"] == "HEIF"


def test_heic_without_pillow_heif_says_what_to_install(monkeypatch):
    data = encoded("heic")
    opened = dict(Image.OPEN)
    heif.register_heif.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name in [name for name in Image.OPEN if name.startswith("HEIF")]:
        monkeypatch.delitem(Image.OPEN, name)
        monkeypatch.setattr(Image, "ID", [known for known in Image.ID if known != name])
    try:
        with pytest.raises(BadImageError) as caught, strict_pillow():
            decode_bytes(data, (SIDE, SIDE), Limits(1 << 24))
    finally:
        heif.register_heif.cache_clear()
    assert caught.value.code == "UNSUPPORTED"
    assert "pip install 'fastdup-ray[heic]'" in caught.value.message
    assert opened


def test_the_orientation_of_a_heic_is_applied(tmp_path: Path):
    import pillow_heif

    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    pillow_heif.from_pillow(picture()).save(file, quality=90, exif=exif.tobytes())
    with strict_pillow():
        upright = decode_bytes(file.getvalue(), (SIDE, SIDE), Limits(1 << 24))
    assert (upright.width, upright.height) == (240, 320)


def test_an_avif_with_a_brand_of_heif_is_read_by_whoever_can():
    data = encoded("avif")
    with strict_pillow():
        by_name = decode_bytes(data, (SIDE, SIDE), Limits(1 << 24))
        by_brand = decode_bytes(data[:8] + b"mif1" + data[12:], (SIDE, SIDE), Limits(1 << 24))
    assert by_brand.pixels.tobytes() == by_name.pixels.tobytes()
    assert by_brand.decoder is None


def without_size_of_opacity(data: bytes) -> bytes:
    """An AVIF as older encoders wrote it, without the property `ispe` of its alpha plane: Pillow refuses these."""
    table = data.index(b"ipma")
    alpha = data.index(b"\0\2\4\1", table) + 3  # the second item has four properties, the first of them its size
    return data[:alpha] + b"\5" + data[alpha + 1 :]


def test_an_avif_that_pillow_refuses_is_read_where_pillow_heif_can():
    image = picture()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = encode(image, "AVIF")
    can = heif.register_heif() is not None and can_decode_av1()
    with strict_pillow():
        whole = decode_bytes(data, (SIDE, SIDE), Limits(1 << 24))
        try:
            found = decode_bytes(without_size_of_opacity(data), (SIDE, SIDE), Limits(1 << 24))
        except BadImageError as error:
            assert (error.code, can) == ("UNSUPPORTED", False)
        else:
            assert can
            assert found.decoder == heif.register_heif()
            assert np.abs(found.pixels.astype(int) - whole.pixels).mean() < 4
        with pytest.raises(BadImageError) as cut:
            decode_bytes(without_size_of_opacity(data)[: len(data) * 2 // 3], (SIDE, SIDE), Limits(1 << 24))
    assert cut.value.code == "TRUNCATED"


def can_decode_av1() -> bool:
    """pillow-heif has had no decoder for it since version 1."""
    import pillow_heif

    try:
        pillow_heif.open_heif(encoded("avif"))[0].to_pillow().load()
    except Exception:
        return False
    return True
