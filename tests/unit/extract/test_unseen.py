"""What a file holds that its embedding does not show is named, format by format."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageDraw, TiffImagePlugin

from fastdup_ray.common.records import Box, Limits
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.pixels import hash_pixels
from fastdup_ray.extract.resize import Fit
from tests.helpers.deep_files import save_tiff
from tests.helpers.images import cloudy, encode

SIDE = 128


def unseen(data: bytes, *, trim: bool = True, box: Box | None = None) -> set[str]:
    with strict_pillow():
        return set(decode_bytes(data, (SIDE, SIDE), Limits(10**9, box=box), Fit(trim=trim)).unseen)


def digest(data: bytes) -> str | None:
    with strict_pillow():
        return hash_pixels(data)


def several(format: str, count: int, **options) -> bytes:
    """A file of `count` different frames."""
    file = io.BytesIO()
    first, *more = (cloudy(seed) for seed in range(count))
    first.save(file, format, save_all=True, append_images=more, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["TIFF", "GIF", "PNG", "WEBP", "AVIF", "MPO"])
def test_more_frames_than_one_are_not_seen_and_no_pixel_copies(format):
    assert unseen(several(format, 3)) == {"frames"}
    assert digest(several(format, 3)) is None
    assert unseen(several(format, 1)) == set()
    assert digest(several(format, 1)) is not None


def test_smaller_drawings_of_an_icon_are_not_seen():
    images = [cloudy(seed, (size, size)) for seed, size in ((1, 64), (2, 32))]
    file = io.BytesIO()
    images[0].save(file, "ICO", sizes=[(64, 64), (32, 32)], append_images=images[1:])
    assert unseen(file.getvalue()) == {"frames"}
    assert digest(file.getvalue()) is None
    assert unseen(encode(images[0], "ICO", sizes=[(64, 64)])) == set()


def test_a_second_image_in_a_sub_directory_of_a_tiff_is_not_seen():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[330], tags.tagtype[330] = 8, 4
    assert unseen(encode(cloudy(1), "TIFF", tiffinfo=tags)) == {"frames"}


@pytest.mark.parametrize("format", ["GIF", "TIFF"])
def test_a_file_that_breaks_after_its_first_frame_is_not_called_one_image(format):
    data = several(format, 3)
    first = len(several(format, 1))
    try:
        assert unseen(data[: (first + len(data)) // 2]) == {"frames"}
    except Exception as error:  # bad as a whole is as well
        assert error.code in ("TRUNCATED", "CORRUPT", "UNSUPPORTED")


@pytest.mark.parametrize("mark", [b'GCamera:MotionPhoto="1"', b'GCamera:MicroVideo="1"'])
def test_a_photograph_with_a_clip_is_more_than_its_pixels(mark):
    data = encode(cloudy(1), "JPEG", xmp=b"<x:xmpmeta " + mark + b"/>") + b"\0\0\0\x18ftypmp42"
    assert unseen(data) == {"video"}
    assert digest(data) is None


def test_the_clip_of_a_samsung_photograph_is_seen_by_its_trailer():
    data = encode(cloudy(1), "JPEG")
    assert unseen(data + b"MotionPhoto_Data....SEFT") == {"video"}
    assert unseen(data + b"another trailer") == set()


@pytest.mark.parametrize("extra", [1, 2, 3])
def test_channels_of_a_tiff_beside_its_colors_are_not_seen(extra):
    colors = np.asarray(cloudy(1))
    more = np.stack([np.asarray(cloudy(seed).convert("L")) for seed in range(extra)], axis=2)
    data = save_tiff(np.concatenate([colors, more], axis=2), extra_samples=[0] * extra)
    assert unseen(data) == {"channels"}
    assert digest(data) is None
    assert unseen(save_tiff(colors)) == set()


def test_the_fourth_channel_of_a_bitmap_is_named_where_something_is_in_it():
    width, height = 8, 4
    header = b"BM" + struct.pack("<IHHI", 54 + 4 * width * height, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 32, 0, 0, 0, 0, 0, 0)
    rows = np.random.default_rng(1).integers(0, 256, (height, width, 4), np.uint8)
    assert unseen(header + rows.tobytes(), trim=False) == {"channels"}
    rows[..., 3] = 0
    assert unseen(header + rows.tobytes(), trim=False) == set()


def test_details_of_a_very_long_image_are_not_seen_nor_those_of_a_long_box():
    data = encode(cloudy(1, (900, 100)), "PNG")
    assert unseen(data, trim=False) == {"aspect_ratio"}
    assert unseen(data, trim=False, box=Box(0, 0, 700, 100)) == set()
    assert unseen(encode(cloudy(1, (100, 900)), "PNG"), trim=False) == {"aspect_ratio"}
    assert unseen(encode(cloudy(1, (700, 100)), "PNG"), trim=False) == set()


def framed(caption: str) -> bytes:
    """An image with a white margin below in which something is written, lightly."""
    image = Image.new("RGB", (400, 400), "white")
    image.paste(cloudy(3, (400, 320)))
    ImageDraw.Draw(image).text((180, 360), caption, "black", font_size=22)
    return encode(image, "PNG")


def test_marks_in_a_margin_that_is_left_out_are_not_seen():
    assert unseen(framed("7")) == {"margin"}
    assert unseen(framed("")) == set()
    assert unseen(framed("7"), trim=False) == set()


def test_each_photograph_of_the_tests_is_seen_whole(photos):
    for path in sorted((photos / "originals").glob("*.jpg")):
        assert unseen(path.read_bytes()) == set(), path.name


def test_whole_images_of_any_color_are_seen_whole():
    for image in (cloudy(1), cloudy(1).convert("L"), cloudy(1).convert("P"), cloudy(1).convert("CMYK")):
        assert unseen(encode(image, "TIFF")) == set(), image.mode
