"""From bytes to pixels: what is good, what it looks like, and with which code the rest is bad."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, ImageFile, ImageFilter

from fastdup_ray.common.records import Box, Limits
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract import decode as decode_module
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.resize import resize
from fastdup_ray.extract.statistics import compute_statistics
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import PHOTOS

SIDE = 64
ANY_SIZE = Limits(10**9)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def pixels_of(data: bytes, side: int = SIDE) -> np.ndarray:
    with strict_pillow():
        return decode_bytes(data, (side, side), ANY_SIZE).pixels.astype(int)


def code_of(data: bytes, limits: Limits = ANY_SIZE) -> str:
    return refusal(data, limits).code


def refusal(data: bytes, limits: Limits = ANY_SIZE) -> BadImageError:
    with pytest.raises(BadImageError) as caught, strict_pillow():
        decode_bytes(data, (SIDE, SIDE), limits)
    assert caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


def quarters(size: tuple[int, int] = (200, 120)) -> Image.Image:
    """Red and green above, blue and white below: no two ways of turning it look alike."""
    width, height = size
    image = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 2 - 1, height // 2 - 1), RED)
    draw.rectangle((width // 2, 0, width, height // 2 - 1), GREEN)
    draw.rectangle((0, height // 2, width // 2 - 1, height), BLUE)
    return image


def corners(pixels: np.ndarray) -> list[np.ndarray]:
    near, far = SIDE // 8, SIDE - SIDE // 8
    return [pixels[row, column] for row, column in ((near, near), (near, far), (far, near), (far, far))]


def assert_colours(pixels: np.ndarray, *expected: tuple[int, int, int], within: int = 12) -> None:
    assert np.abs(np.array(corners(pixels)) - np.array(expected)).max() <= within


# --- good pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF"]
)
def test_every_format_gives_the_picture(format):
    image = quarters((128, 128))
    try:
        data = encode(image, format)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow cannot write {format}")
    with strict_pillow():
        decoded = decode_bytes(data, (SIDE, SIDE), ANY_SIZE)
    assert decoded.pixels.shape == (SIDE, SIDE, 3)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.width, decoded.height, decoded.format) == (128, 128, format)
    assert_colours(decoded.pixels.astype(int), RED, GREEN, BLUE, WHITE)


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""Orientation tag -> how pixels have to be stored for it."""


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_turned_back(orientation, format):
    upright = quarters((200, 120))
    stored = upright.transpose(TURNS[orientation]) if orientation in TURNS else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    with strict_pillow():
        decoded = decode_bytes(encode(stored, format, exif=exif, **quality), (SIDE, SIDE), ANY_SIZE)
    assert (decoded.width, decoded.height) == (200, 120)
    assert np.abs(decoded.pixels.astype(int) - pixels_of(encode(upright, format, **quality))).mean() < 2
    assert_colours(decoded.pixels.astype(int), RED, GREEN, BLUE, WHITE)


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_an_orientation_that_means_nothing_changes_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_colours(pixels_of(encode(quarters(), "JPEG", exif=exif)), RED, GREEN, BLUE, WHITE, within=40)


def on_transparent_green(mode: str) -> Image.Image:
    """A black square in the upper left corner, of a picture that is transparent elsewhere."""
    image = Image.new("RGBA", (SIDE, SIDE), (0, 200, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, SIDE // 2, SIDE // 2))
    return image.convert(mode)


def palette_with_transparency() -> bytes:
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([0, 0, 0, 0, 200, 0])
    image.paste(0, (0, 0, SIDE // 2, SIDE // 2))
    return encode(image, "PNG", transparency=1)


def palette_with_a_table_of_transparency() -> bytes:
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([0, 0, 0, 0, 200, 0])
    image.paste(0, (0, 0, SIDE // 2, SIDE // 2))
    return encode(image, "PNG", transparency=bytes([255, 0]))


def colour_key(mode: str, colour, key) -> bytes:
    image = Image.new(mode, (SIDE, SIDE), colour)
    image.paste(0 if isinstance(colour, int) else (0, 0, 0), (0, 0, SIDE // 2, SIDE // 2))
    return encode(image, "PNG", transparency=key)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(on_transparent_green("RGBA"), "PNG"), id="RGBA"),
        pytest.param(encode(on_transparent_green("LA"), "PNG"), id="LA"),
        pytest.param(encode(on_transparent_green("RGBA"), "WEBP", lossless=True, exact=True), id="WEBP"),
        pytest.param(encode(on_transparent_green("RGBA"), "TIFF"), id="TIFF"),
        pytest.param(palette_with_transparency(), id="P+tRNS"),
        pytest.param(palette_with_a_table_of_transparency(), id="P+tRNS table"),
        pytest.param(colour_key("RGB", (0, 200, 0), (0, 200, 0)), id="RGB+tRNS"),
        pytest.param(colour_key("L", 90, 90), id="L+tRNS"),
        pytest.param(encode(on_transparent_green("RGBA"), "GIF"), id="GIF"),
    ],
)
def test_what_is_transparent_is_white(data):
    assert_colours(pixels_of(data), (0, 0, 0), WHITE, WHITE, WHITE, within=8)


def test_what_is_half_transparent_is_halfway_to_white():
    data = encode(Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 128)), "PNG")
    assert_colours(pixels_of(data), *[(255, 127, 127)] * 4, within=2)


def grey_steps() -> np.ndarray:
    """8-bit grey, four quarters."""
    steps = np.full((SIDE, SIDE), 250, np.uint8)
    steps[: SIDE // 2, : SIDE // 2], steps[: SIDE // 2, SIDE // 2 :], steps[SIDE // 2 :, : SIDE // 2] = 10, 90, 170
    return steps


def grey_steps_of_16_bits() -> np.ndarray:
    """The same, with lower bytes that have nothing to do with the upper ones."""
    return grey_steps().astype(np.uint16) * 256 + 128


def tiff_16_bit_big_endian(values: np.ndarray) -> bytes:
    """The smallest TIFF that holds them."""
    height, width = values.shape
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16 << 16), (259, 3, 1, 1 << 16), (262, 3, 1, 1 << 16),
        (273, 4, 1, 8), (277, 3, 1, 1 << 16), (278, 4, 1, height), (279, 4, 1, 2 * width * height),
    ]  # fmt: skip
    directory = struct.pack(">H", len(tags)) + b"".join(struct.pack(">HHII", *tag) for tag in tags) + bytes(4)
    pixels = values.astype(">u2").tobytes()
    return b"MM\0*" + struct.pack(">I", 8 + len(pixels)) + pixels + directory


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(Image.fromarray(grey_steps()), "PNG"), id="8 bits"),
        pytest.param(encode(Image.fromarray(grey_steps_of_16_bits()), "PNG"), id="16 bits"),
        pytest.param(encode(Image.fromarray(grey_steps_of_16_bits()), "TIFF"), id="16 bits TIFF"),
        pytest.param(tiff_16_bit_big_endian(grey_steps_of_16_bits()), id="16 bits TIFF, big end first"),
        pytest.param(encode(Image.fromarray(grey_steps()), "JPEG", quality=98), id="JPEG"),
    ],
)
def test_grey_is_grey_whatever_its_depth(data):
    assert_colours(pixels_of(data), *[(grey,) * 3 for grey in (10, 90, 170, 250)], within=4)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_values_without_a_range_lie_between_black_and_white(kind):
    data = encode(Image.fromarray((grey_steps().astype(kind) - 10) * 1000), "TIFF")
    assert_colours(pixels_of(data), *[(grey,) * 3 for grey in (0, 85, 170, 255)], within=4)


def test_values_without_a_range_may_all_be_alike_or_no_numbers():
    for value in (0.0, float("nan"), float("inf"), 3e38):
        assert pixels_of(encode(Image.fromarray(np.full((8, 8), value, np.float32)), "TIFF")).shape == (SIDE, SIDE, 3)


def test_one_bit_is_black_and_white():
    data = encode(Image.fromarray(grey_steps()).point(lambda value: 255 * (value > 128)).convert("1"), "PNG")
    assert_colours(pixels_of(data), (0, 0, 0), (0, 0, 0), WHITE, WHITE, within=2)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_shown_in_its_colours(format):
    quality = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    assert_colours(pixels_of(encode(quarters().convert("CMYK"), format, **quality)), RED, GREEN, BLUE, WHITE, within=12)


def test_a_palette_is_looked_up():
    assert_colours(pixels_of(encode(quarters().quantize(4), "PNG")), RED, GREEN, BLUE, WHITE)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animated_picture_is_its_first_frame(format):
    others = [Image.new("RGB", (200, 120), colour) for colour in ("black", "grey")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(quarters(), format, save_all=True, append_images=others, **options)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3
    assert_colours(pixels_of(data), RED, GREEN, BLUE, WHITE, within=20)


def test_a_colour_profile_does_no_harm():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert_colours(pixels_of(encode(quarters(), "PNG", icc_profile=profile)), RED, GREEN, BLUE, WHITE)


@pytest.mark.parametrize("size", [(2400, 1600), (1600, 2400), (1031, 777), (600, 90)])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_short_cut_for_large_jpegs_shows_the_same(size, progressive):
    with Image.open(PHOTOS / "originals" / "coffee.jpg") as photo:
        large = photo.resize(size, Image.Resampling.BICUBIC)
    data = encode(large, "JPEG", quality=90, progressive=progressive)
    with strict_pillow():
        decoded = decode_bytes(data, (SIDE, SIDE), ANY_SIZE)
    with Image.open(io.BytesIO(data)) as image:
        whole = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    assert (decoded.width, decoded.height) == size
    assert np.abs(decoded.pixels.astype(int) - np.asarray(whole).astype(int)).mean() < 4


@pytest.mark.parametrize("size", [(90, 400), (160, 240), (240, 160), (400, 90), (SIDE, 200), (200, SIDE), (20, 30)])
def test_each_pillow_squashes_across_before_it_squashes_down(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    narrow = Image.fromarray(noise).resize((SIDE, size[1]), Image.Resampling.BILINEAR)
    expected = np.asarray(narrow.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    assert (pixels_of(encode(Image.fromarray(noise), "PNG")) == expected).all()


def test_large_jpegs_take_the_short_cut(monkeypatch):
    data = encode(quarters((1600, 960)), "JPEG")
    sizes = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: (sizes.append(image.size), load(image))[1])
    pixels_of(data)
    assert set(sizes) == {(200, 120)}


def test_the_pixels_of_one_file_are_always_the_same():
    data = (PHOTOS / "originals" / "cat.jpg").read_bytes()
    assert pixels_of(data).tobytes() == pixels_of(data).tobytes()


# --- bad ones ---------------------------------------------------------------------------------------------------------

JPEGS = {
    "photo": (PHOTOS / "originals" / "coffee.jpg").read_bytes(),
    "progressive": encode(Image.open(PHOTOS / "originals" / "coffee.jpg"), "JPEG", progressive=True),
    "large": encode(quarters((1600, 1200)), "JPEG", quality=95),
    "large progressive": encode(cloudy(1, (1600, 1200)), "JPEG", quality=95, progressive=True),
    "grey": encode(cloudy(2, (300, 200)).convert("L"), "JPEG"),
}


@pytest.mark.parametrize("percent", [1, 5, *range(10, 100, 10), 95, 99])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_ends_early_is_truncated_and_never_half_grey(kind, percent):
    data = JPEGS[kind]
    assert code_of(data[: len(data) * percent // 100]) == "TRUNCATED"


@pytest.mark.parametrize("missing", [3, 4, 8, 64])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_last_bytes_is_truncated(kind, missing):
    assert code_of(JPEGS[kind][:-missing]) == "TRUNCATED"


CUT = {
    **{format: {} for format in ("PNG", "GIF", "WEBP", "BMP", "PPM", "TGA", "PCX", "SGI", "JPEG2000", "AVIF", "MPO")},
    "TIFF": {},
    "TIFF of LZW": {"compression": "tiff_lzw"},
    "TIFF of deflate": {"compression": "tiff_adobe_deflate"},
    "WEBP without loss": {"lossless": True},
    "JPEG2000 with loss": {"irreversible": True, "quality_layers": [20]},
}


@pytest.mark.parametrize("percent", [5, 30, 60, 90, 98])
@pytest.mark.parametrize("kind", CUT)
def test_other_pictures_that_end_early_are_truncated(kind, percent):
    try:
        data = encode(cloudy(0, (200, 150)), kind.split()[0], **CUT[kind])
    except (OSError, KeyError):
        pytest.skip(f"this Pillow cannot write {kind}")
    assert code_of(data[: len(data) * percent // 100]) == "TRUNCATED"


@pytest.mark.parametrize("percent", [5, 30, 60, 90, 98])
@pytest.mark.parametrize("format", ["DDS", "QOI", "ICO", "ICNS"])
def test_rare_pictures_that_end_early_are_bad(format, percent):
    try:
        data = encode(cloudy(0, (200, 150)).resize((256, 256)), format, **({"sizes": [(256, 256)]}))
    except (OSError, KeyError):
        pytest.skip(f"this Pillow cannot write {format}")
    if format == "ICNS":  # the last of its pictures is the small one
        percent //= 3
    assert code_of(data[: len(data) * percent // 100]) in ("TRUNCATED", "CORRUPT", "NOT_AN_IMAGE")


def test_a_first_frame_that_is_whole_is_a_whole_picture():
    data = encode(quarters(), "GIF", save_all=True, append_images=[cloudy(1, (200, 120))])
    assert_colours(pixels_of(data[:-500]), RED, GREEN, BLUE, WHITE)


def test_an_empty_file_has_zero_size():
    assert code_of(b"") == "ZERO_SIZE"


@pytest.mark.parametrize(
    "data", [b"x", b"Dear picture,\n" * 50, b"\0" * 4096, b"%PDF-1.7\n", b"<svg/>", b"PK\x03\x04" + b"\0" * 64]
)
def test_what_is_no_picture_is_not_an_image(data):
    assert code_of(data) == "NOT_AN_IMAGE"


@pytest.mark.parametrize(
    "data", [b"\0\0\0\x20ftypcrx " + bytes(64), b"\0\0\0\x20ftypheic" + bytes(64), b"II*\0" + bytes(64)]
)
def test_a_format_that_the_decoder_does_not_know_is_unsupported(data):
    assert code_of(data) == "UNSUPPORTED"


@pytest.mark.parametrize("place", [0.3, 0.5, 0.8])
def test_a_png_with_overwritten_data_is_corrupt(place):
    data = bytearray(encode(cloudy(0, (300, 200)), "PNG"))
    start = int(len(data) * place)
    data[start : start + 64] = bytes(64)
    assert code_of(bytes(data)) == "CORRUPT"


@pytest.mark.parametrize("side", [(1, 1), (1, 100), (100, 1)])
def test_a_picture_under_two_pixels_a_side_is_too_small(side):
    error = refusal(encode(Image.new("RGB", side), "PNG"))
    assert (error.code, error.size) == ("TOO_SMALL", side)


def test_two_pixels_a_side_are_enough():
    assert pixels_of(encode(quarters((2, 2)), "PNG")).shape == (SIDE, SIDE, 3)


def test_a_picture_over_max_pixels_is_too_large_and_one_with_just_as_many_is_not():
    data = encode(quarters((50, 40)), "PNG")
    error = refusal(data, Limits(1999))
    assert (error.code, error.size) == ("TOO_LARGE", (50, 40))
    assert "1999" in error.message
    with strict_pillow():
        assert decode_bytes(data, (SIDE, SIDE), Limits(2000)).width == 50


def test_a_decompression_bomb_is_too_large_before_it_is_decoded(monkeypatch):
    bomb = bytearray(encode(Image.new("1", (8, 8)), "PNG"))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))
    assert code_of(bytes(bomb), Limits(178_956_970)) == "TOO_LARGE"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("nonsense"), "CORRUPT"),
        (SyntaxError("broken PNG file"), "CORRUPT"),
        (KeyError(7), "CORRUPT"),
        (IndexError(), "CORRUPT"),
        (struct.error("unpack requires 4 bytes"), "CORRUPT"),
        (ZeroDivisionError("division by zero"), "CORRUPT"),
        (RecursionError("maximum depth"), "CORRUPT"),
        (AssertionError(), "CORRUPT"),
        (OSError("unrecognized data stream\ncontents"), "CORRUPT"),
        (Image.DecompressionBombError("too much"), "CORRUPT"),
        (NotImplementedError("Unimplemented DXGI format 93"), "UNSUPPORTED"),
        (OSError("Unsupported BMP compression (6)"), "UNSUPPORTED"),
        (SystemExit(1), "CORRUPT"),
        (GeneratorExit(), "CORRUPT"),
        (OSError("image file is truncated (3 bytes not processed)"), "TRUNCATED"),
        (EOFError(), "TRUNCATED"),
        (MemoryError(), "OUT_OF_MEMORY"),
    ],
)
@pytest.mark.parametrize("where", ["open", "load"])
def test_whatever_a_decoder_raises_makes_the_picture_bad(error, code, where, monkeypatch):
    data = encode(quarters(), "PNG")

    def fail(*_args, **_keywords):
        raise error

    monkeypatch.setattr(Image if where == "open" else ImageFile.ImageFile, where, fail)
    assert code_of(data) == code


def test_an_interruption_is_no_bad_picture(monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image, "open", interrupt)
    with pytest.raises(KeyboardInterrupt), strict_pillow():
        decode_bytes(b"x", (SIDE, SIDE), ANY_SIZE)


def test_an_interruption_by_a_plugin_in_a_thread_is_a_bad_picture(monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image, "open", interrupt)
    with ThreadPoolExecutor(1) as lane:
        assert lane.submit(code_of, b"x").result() == "CORRUPT"


def test_what_a_decoder_says_becomes_one_short_printable_line(monkeypatch):
    def fail(*_args):
        raise OSError("bad\n marker \x00\x1b[31m \udc80 " + "again and " * 1000)

    monkeypatch.setattr(Image, "open", fail)
    message = refusal(b"x").message
    assert message.startswith("bad marker [31m again and again")
    assert len(message) <= 300
    assert message.isprintable()
    assert message.encode()


@pytest.mark.parametrize("size", [(1 << 31, 2), (2, 4_000_000_000), (1 << 40, 1 << 40)])
def test_a_header_that_lies_is_corrupt_whatever_may_be(size):
    data = b"P6 %d %d 255\n" % size + bytes(100)
    for limit in (10**9, 10**30):
        error = refusal(data, Limits(limit))
        assert (error.code, error.size) == ("CORRUPT", None)


def test_a_bomb_in_an_icon_is_too_large_before_it_is_decoded():
    icon = encode(Image.new("L", (256, 256)), "ICO", sizes=[(256, 256)])
    header, png = icon[:22], encode(Image.new("1", (5000, 5000)), "PNG")
    with pytest.raises(BadImageError) as caught, strict_pillow(10**6):
        decode_bytes(header[:14] + struct.pack("<II", len(png), 22) + png, (SIDE, SIDE), Limits(10**6))
    assert (caught.value.code, caught.value.size) == ("TOO_LARGE", (5000, 5000))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "TIFF", "JPEG"])
def test_pillows_limit_is_ours_in_every_format(format):
    data = encode(quarters((50, 40)), format)
    for limit, code in ((1999, "TOO_LARGE"), (2000, None)):
        with strict_pillow(limit):
            if code is None:
                assert decode_bytes(data, (SIDE, SIDE), Limits(limit)).width == 50
            else:
                with pytest.raises(BadImageError) as caught:
                    decode_bytes(data, (SIDE, SIDE), Limits(limit))
                assert (caught.value.code, caught.value.size) == (code, (50, 40))


def test_half_pictures_are_bad_whatever_else_in_this_process_allows_them(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = JPEGS["photo"]
    assert code_of(data[: len(data) // 2]) == "TRUNCATED"
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_colour_profile_of_some_megabytes_does_no_harm():
    assert_colours(pixels_of(encode(quarters(), "PNG", icc_profile=bytes(3 << 20))), RED, GREEN, BLUE, WHITE)


def test_what_needs_a_program_of_its_own_is_unsupported():
    assert code_of(b"\x89HDF\r\n\x1a\n" + bytes(64)) == "UNSUPPORTED"
    assert code_of(b"GRIB" + bytes(3) + b"\1" + bytes(64)) == "UNSUPPORTED"


@pytest.mark.parametrize("limit", [None, 1000, 5])
def test_pillows_own_limit_is_lifted_inside_and_as_before_afterwards(limit, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    data = encode(quarters(), "PNG")
    assert pixels_of(data).shape == (SIDE, SIDE, 3)
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(BadImageError), strict_pillow():
        decode_bytes(b"", (SIDE, SIDE), ANY_SIZE)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("error")
def test_broken_files_warn_nobody():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(quarters(), "JPEG", exif=exif)
    place = data.index(b"Exif\0\0") + 10
    broken = data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :]
    with strict_pillow():
        decode_bytes(broken, (SIDE, SIDE), ANY_SIZE)


def test_the_fingerprint_names_every_decoder():
    text = decode_module.make_decoder_fingerprint()
    assert all(name in text for name in ("recipe", "pillow", "libjpeg", "zlib", "webp", "avif", "libtiff", "jpg_2000"))


def test_transparent_grey_of_16_bits_is_white():
    values = np.full((64, 64), 300, np.uint16)
    values[:32] = 40_000
    pixels = pixels_of(encode(Image.fromarray(values), "PNG", transparency=300))
    assert (pixels[40:] == 255).all()
    assert (pixels[:24] == 40_000 >> 8).all()


def test_eps_is_never_run(monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript was asked"))
    assert code_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n") == "UNSUPPORTED"


def test_a_webp_that_is_cut_off_is_truncated():
    data = encode(cloudy(0), "WEBP")
    assert code_of(data[: len(data) // 2]) == "TRUNCATED"


# --- bounding boxes ---------------------------------------------------------------------------------------------------


def boxed(data: bytes, box: Box, size: tuple[int, int] = (SIDE, SIDE)) -> decode_module.DecodedImage:
    with strict_pillow():
        return decode_bytes(data, size, Limits(10**9, box=box))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize(
    ("box", "colour"),
    [
        (Box(0, 0, 300, 180), RED),
        (Box(0, 300, 300, 180), GREEN),
        (Box(180, 0, 300, 180), BLUE),
        (Box(180, 300, 5000, 5000), WHITE),
        (Box(200, 20, 100, 90), BLUE),
    ],
)
def test_a_box_keeps_its_part_of_the_picture(format, box, colour):
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    decoded = boxed(encode(quarters((600, 360)), format, **options), box)
    assert np.abs(decoded.pixels.astype(int) - colour).max() <= 12
    assert (decoded.width, decoded.height) == (600, 360)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_cut_out_of_the_upright_picture(orientation):
    upright = quarters((1600, 960))
    stored = upright.transpose(TURNS[orientation]) if orientation in TURNS else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, "JPEG", quality=95, subsampling=0, exif=exif)
    decoded = boxed(data, Box(480, 0, 800, 480))
    assert np.abs(decoded.pixels.astype(int) - BLUE).max() <= 12
    assert (decoded.width, decoded.height) == (1600, 960)


@pytest.mark.parametrize("size", [(1600, 1200), (1200, 1600), (1037, 779)])
@pytest.mark.parametrize(
    "box", [Box(100, 200, 128, 128), Box(33, 57, 300, 180), Box(0, 0, 1000, 700), Box(7, 9, 20, 30)]
)
def test_the_short_cut_for_large_jpegs_costs_a_box_nothing(size, box):
    with Image.open(PHOTOS / "originals" / "coffee.jpg") as photo:
        data = encode(photo.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=92)
    with Image.open(io.BytesIO(data)) as image:
        part = image.convert("RGB").crop((box.cols, box.rows, box.cols + box.width, box.rows + box.height))
    expected = np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(boxed(data, box).pixels.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("size", [(1600, 1200), (523, 1201), (1037, 250)])
@pytest.mark.parametrize("box", [Box(0, 0, 10**6, 10**6), Box(33, 57, 601, 553)])
def test_blocks_of_a_large_image_are_averaged_in_their_place(size, box):
    with Image.open(PHOTOS / "originals" / "coffee.jpg") as photo:
        large = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    right, bottom = min(size[0], box.cols + box.width), min(size[1], box.rows + box.height)
    part = large.crop((box.cols, box.rows, right, bottom))
    expected = np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(int)
    difference = boxed(encode(large, "PNG"), box).pixels.astype(int) - expected
    assert np.abs(difference).mean() < 0.5
    assert abs(difference.mean()) < 0.3  # averages are rounded up


def test_no_more_of_a_jpeg_is_left_out_than_its_box_can_do_without(monkeypatch):
    data = encode(quarters((1600, 960)), "JPEG")
    sizes = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: (sizes.append(image.size), load(image))[1])
    for box, loaded in ((Box(0, 0, 64, 64), 1600), (Box(0, 0, 300, 300), 400), (Box(0, 0, 1600, 960), 200)):
        sizes.clear()
        boxed(data, box)
        assert {width for width, _ in sizes} == {loaded}


def test_a_box_over_the_whole_picture_changes_nothing():
    for data in (JPEGS["photo"], encode(cloudy(3, (333, 222)), "PNG")):
        assert boxed(data, Box(0, 0, 10**6, 10**6)).pixels.tobytes() == pixels_of(data).astype(np.uint8).tobytes()


@pytest.mark.parametrize("box", [Box(120, 0, 10, 10), Box(0, 200, 10, 10), Box(10**9 - 1, 10**9 - 1, 10, 10)])
def test_a_box_that_misses_the_picture_makes_it_bad(box):
    with pytest.raises(BadImageError) as caught:
        boxed(encode(quarters(), "PNG"), box)
    assert (caught.value.code, caught.value.size) == ("BOUNDING_BOX_OUTSIDE", (200, 120))
    assert str(box) in caught.value.message


def test_a_box_that_leaves_one_row_leaves_too_little():
    with pytest.raises(BadImageError) as caught:
        boxed(encode(quarters(), "PNG"), Box(119, 0, 50, 50))
    assert caught.value.code == "TOO_SMALL"


def test_a_frame_is_cropped_and_shrunk_as_a_picture_is():
    frame, box = quarters((200, 120)), Box(10, 20, 100, 50)
    small, _ = resize(frame, (SIDE, SIDE), box)
    assert np.asarray(small).tobytes() == boxed(encode(frame, "PNG"), box).pixels.tobytes()


def test_a_size_is_width_and_height():
    assert boxed(encode(quarters(), "PNG"), Box(0, 0, 50, 50), (96, 32)).pixels.shape == (32, 96, 3)


# --- statistics -------------------------------------------------------------------------------------------------------


def test_statistics_of_one_colour():
    told = compute_statistics(Image.new("RGB", (SIDE, SIDE), (90, 90, 90)))
    assert (told.brightness, told.contrast, told.blur, told.unique_colors) == (90, 0, 0, 1)


def test_statistics_by_their_definition():
    image = cloudy(4, (SIDE, SIDE))
    pixels, grey = np.asarray(image), np.asarray(image.convert("L")).astype(float)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    told = compute_statistics(image)
    assert told.brightness == pytest.approx(grey.mean(), abs=1e-6)
    assert told.contrast == pytest.approx(grey.std(), abs=1e-6)
    assert told.blur == pytest.approx((around - 4 * grey[1:-1, 1:-1]).var(), abs=1e-6)
    assert told.unique_colors == len(np.unique(pixels.reshape(-1, 3), axis=0))


def test_black_and_white_are_the_ends_of_contrast():
    image = Image.new("RGB", (SIDE, SIDE))
    image.paste((255, 255, 255), (0, 0, SIDE, SIDE // 2))
    told = compute_statistics(image)
    assert (told.brightness, told.contrast, told.unique_colors) == (127.5, 127.5, 2)


def test_the_more_a_photo_is_blurred_the_lower_is_blur():
    with Image.open(PHOTOS / "originals" / "coffee.jpg") as photo:
        copies = [encode(photo.filter(ImageFilter.GaussianBlur(radius)), "PNG") for radius in (0, 2, 4, 8)]
    with strict_pillow():
        blur = [decode_bytes(copy, (128, 128), ANY_SIZE).statistics.blur for copy in copies]
    assert blur == sorted(blur, reverse=True)
    assert blur[0] > 4 * blur[-1]


def test_statistics_are_of_what_is_in_the_box():
    data = encode(quarters((600, 360)), "PNG")
    assert boxed(data, Box(180, 300, 300, 180)).statistics.brightness == 255
    assert boxed(data, Box(180, 0, 300, 180)).statistics.unique_colors == 1


def test_two_pixels_a_side_have_statistics_too():
    assert compute_statistics(quarters((2, 2))).blur == 0
