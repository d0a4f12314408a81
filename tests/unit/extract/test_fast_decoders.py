"""The fast decoders of PNG and WebP: the pixels and the verdicts of Pillow, file by file."""

import io
import random
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from fastdup_ray.extract import fast_decoders
from fastdup_ray.extract.decode import to_color
from fastdup_ray.extract.fast_decoders import decode_fast
from tests.helpers.images import cloudy, encode
from tests.helpers.mutants import mutated
from tests.helpers.verdicts import pillows_verdict_of, verdict_of

SIDE = 64
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def small_webp(monkeypatch):
    monkeypatch.setattr(fast_decoders, "MIN_WEBP_PIXELS", 0)


def is_decoded_fast(data: bytes, *, concurrent: bool = False) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return decode_fast(image, data, concurrent=concurrent) is not None


def translucent() -> Image.Image:
    image = cloudy(2, (70, 50))
    image.putalpha(Image.fromarray(np.arange(3500).reshape(50, 70).astype(np.uint8)))
    return image


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(*chunks: bytes, size: tuple[int, int] = (8, 8), depth: int = 8, color: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, color, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def rows(count: int = 8, filter_type: int = 0) -> bytes:
    """Rows of 8 pixels in RGB."""
    return b"".join(bytes([filter_type, *range(row, row + 24)]) for row in range(count))


def pixels(content: bytes) -> bytes:
    return chunk(b"IDAT", zlib.compress(content))


EXIF_ROTATED = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
RGB = cloudy(1, (70, 50))

FAST = {
    "png": encode(RGB, "PNG"),
    "gray png": encode(RGB.convert("L"), "PNG"),
    "opaque png": encode(RGB.convert("RGBA"), "PNG"),
    "translucent png": encode(translucent(), "PNG"),
    "rotated png": encode(RGB, "PNG", exif=b"Exif\0\0" + EXIF_ROTATED),
    "png rotated behind its pixels": png(pixels(rows()), chunk(b"eXIf", EXIF_ROTATED)),
    "webp": encode(RGB, "WEBP"),
    "webp with metadata": encode(RGB, "WEBP", exif=b"Exif\0\0" + EXIF_ROTATED, xmp=b"<x/>"),
    "lossless webp": encode(RGB, "WEBP", lossless=True),
    "lossless translucent webp": encode(translucent(), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", FAST)
def test_pixels_and_facts_are_those_of_pillow(name):
    data = FAST[name]
    with Image.open(io.BytesIO(data)) as image, Image.open(io.BytesIO(data)) as same:
        color = decode_fast(image, data)
        same.load()
        expected, _ = to_color(same, data)
        assert color is not None
        assert (color.mode, color.size) == (expected.mode, expected.size)
        assert np.array_equal(np.asarray(color), np.asarray(expected))
    assert verdict_of(data) == pillows_verdict_of(data)


LEFT_TO_PILLOW = {
    "palette": encode(RGB.quantize(16), "PNG"),
    "gray with alpha": encode(translucent().convert("LA"), "PNG"),
    "two colors": encode(RGB.convert("1"), "PNG"),
    "transparent color": encode(RGB, "PNG", transparency=(255, 255, 255)),
    "transparent color behind the pixels": png(pixels(rows()), chunk(b"tRNS", bytes([0, 0, 0, 1, 0, 2]))),
    "16 bits": encode(Image.fromarray(np.arange(3500).reshape(50, 70).astype(np.uint16)), "PNG"),
    "animated png": encode(RGB, "PNG", save_all=True, append_images=[cloudy(3, RGB.size)]),
    "animated webp": encode(RGB, "WEBP", save_all=True, append_images=[cloudy(3, RGB.size)]),
    "lossy translucent webp": encode(translucent(), "WEBP"),
    "jpeg": encode(RGB, "JPEG"),
}


@pytest.mark.parametrize("name", LEFT_TO_PILLOW)
def test_what_they_do_not_decode_alike_is_left_to_pillow(name):
    assert not is_decoded_fast(LEFT_TO_PILLOW[name])
    assert verdict_of(LEFT_TO_PILLOW[name]) == pillows_verdict_of(LEFT_TO_PILLOW[name])
    assert isinstance(verdict_of(LEFT_TO_PILLOW[name])[0], bytes)


def test_large_images_small_webp_and_png_on_many_threads_are_left_to_pillow(monkeypatch):
    assert not is_decoded_fast(FAST["png"], concurrent=True)
    assert is_decoded_fast(FAST["webp"], concurrent=True)
    monkeypatch.setattr(fast_decoders, "MIN_WEBP_PIXELS", 70 * 50 + 1)
    assert not is_decoded_fast(FAST["webp"])
    monkeypatch.setattr(fast_decoders, "MAX_PIXELS", 70 * 50 - 1)
    assert not is_decoded_fast(FAST["png"])


def test_a_decoder_that_panics_or_lacks_memory_leaves_the_file_to_pillow(monkeypatch):
    def panic(*_: object) -> None:
        raise BaseException("a panic of Rust has no other class")

    expected = pillows_verdict_of(FAST["png"])
    with monkeypatch.context() as patched:
        patched.setattr("kornia_rs.io.decode_image_png_u8", panic)
        assert not is_decoded_fast(FAST["png"])
        assert verdict_of(FAST["png"]) == expected
    monkeypatch.setattr(fast_decoders, "_has_memory", lambda _: False)
    assert not is_decoded_fast(FAST["png"])
    assert not is_decoded_fast(FAST["webp"])


@pytest.mark.parametrize(("module", "name"), [("kornia_rs", "png"), ("cv2", "webp")])
def test_without_the_library_the_result_is_the_same(module, name, monkeypatch):
    expected = verdict_of(FAST[name])
    for part in (module, f"{module}.io"):
        monkeypatch.setitem(sys.modules, part, None)
    assert not is_decoded_fast(FAST[name])
    assert verdict_of(FAST[name]) == expected


def frame_with_more_behind_it() -> bytes:
    """A WebP whose frame ends too early, with bytes behind the end of the file that would continue it."""
    data = FAST["lossless webp"]
    cut = len(data) // 2 // 2 * 2
    frame = b"VP8L" + struct.pack("<I", cut - 20) + data[20:cut]
    return b"RIFF" + struct.pack("<I", 4 + len(frame)) + b"WEBP" + frame + data[cut:]


PACKED = zlib.compress(rows())
DAMAGED = {
    "no end": FAST["png"][:-12],
    "cut in its pixels": FAST["png"][: len(FAST["png"]) // 2],
    "one byte of its pixels": FAST["png"][:900] + bytes([FAST["png"][900] ^ 4]) + FAST["png"][901:],
    "no digest of the pixels": png(chunk(b"IDAT", PACKED[:-4])),
    "too few rows": png(pixels(rows(5))),
    "too many rows": png(pixels(rows(9))),
    "no pixels": png(),
    "unknown filter": png(pixels(rows(filter_type=7))),
    "pixels in three chunks": png(chunk(b"IDAT", b""), chunk(b"IDAT", PACKED[:20]), chunk(b"IDAT", PACKED[20:])),
    "a chunk between pixels": png(chunk(b"IDAT", PACKED[:20]), chunk(b"tEXt", b"a\0b"), chunk(b"IDAT", PACKED[20:])),
    "broken text behind the pixels": png(pixels(rows()), chunk(b"zTXt", b"a\0\0not compressed")),
    "broken exif behind the pixels": png(pixels(rows()), chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff")),
    "cut text behind the pixels": png(pixels(rows()), chunk(b"tEXt", b"a\0" + bytes(99)))[:-60],
    "two headers": png(chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)), pixels(rows())),
    "a depth that does not exist": png(pixels(rows()), depth=9),
    "bytes behind the end": FAST["png"] + bytes(100),
    "a cut webp": FAST["webp"][: len(FAST["webp"]) // 2],
    "a frame that goes on behind its end": frame_with_more_behind_it(),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_has_the_verdict_of_pillow(name):
    assert verdict_of(DAMAGED[name]) == pillows_verdict_of(DAMAGED[name])


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("cut in its pixels", "TRUNCATED"),
        ("a cut webp", "TRUNCATED"),
        ("one byte of its pixels", "CORRUPT"),
        ("a frame that goes on behind its end", "CORRUPT"),
    ],
)
def test_a_damaged_file_is_bad(name, code):
    assert verdict_of(DAMAGED[name])[0] == code


def test_a_wrong_checksum_of_zlib_below_right_checksums_of_png_is_good():
    """No damage leaves such a file, and Pillow's verdict depends on where its buffer ends."""
    data = png(chunk(b"IDAT", PACKED[:-1] + b"\0"))
    assert pillows_verdict_of(data)[0] == "CORRUPT"
    assert verdict_of(data) == pillows_verdict_of(png(pixels(rows())))
    assert verdict_of(data, concurrent=True) == verdict_of(data)  # whatever the number of threads is


def test_600_mutants_have_the_verdicts_of_pillow():
    draw = random.Random(11)
    files = [(name.split()[-1], data) for name, data in {**FAST, **LEFT_TO_PILLOW}.items() if name != "jpeg"]
    mutants = [mutated(draw, files)[1] for _ in range(600)]
    assert [data for data in mutants if verdict_of(data) != pillows_verdict_of(data)] == []
