"""Exact copies: the same bytes, or the same pixels whatever the bytes are; near copies are neither."""

import io
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.pixels import hash_pixels
from fastdup_ray.inputs.manifest import ENTRIES
from fastdup_ray.outputs.exact_copies import ExactCopies
from fastdup_ray.outputs.images import Images
from fastdup_ray.storage.tables import encode_names
from tests.helpers.images import cloudy, encode


def digest(data: bytes) -> str | None:
    with strict_pillow():
        return hash_pixels(data)


def test_pixels_are_the_same_in_whatever_file_and_mode():
    picture = cloudy(1)
    png = digest(encode(picture, "PNG"))
    assert digest(encode(picture, "BMP")) == digest(encode(picture.convert("RGBA"), "PNG")) == png
    grey = picture.convert("L")
    assert digest(encode(grey, "PNG")) == digest(encode(grey.convert("RGB"), "PNG")) != png


def test_a_turn_by_the_camera_is_applied():
    picture, exif = cloudy(2), Image.Exif()
    exif[0x0112] = 6
    turned = encode(picture.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    assert digest(turned) == digest(encode(picture, "PNG"))


def test_one_pixel_less_or_another_opacity_is_no_copy():
    picture = cloudy(3)
    changed = picture.copy()
    red, green, blue = changed.getpixel((5, 5))
    changed.putpixel((5, 5), (red, green, blue ^ 1))
    clear = picture.convert("RGBA")
    clear.putalpha(254)
    shapes = Image.new("RGB", (4, 9), "red"), Image.new("RGB", (9, 4), "red")
    assert len({digest(encode(image, "PNG")) for image in (picture, changed, clear, *shapes)}) == 5


def test_deep_pictures_are_not_compared_by_eight_bits():
    deep = np.full((8, 8), 0x1234, np.uint16)
    one, other = (encode(Image.fromarray(values), "PNG") for values in (deep, deep + 1))
    assert digest(one) != digest(other)


def test_an_animation_is_no_copy_of_its_first_picture():
    first, second = cloudy(4), cloudy(5)
    buffer = io.BytesIO()
    first.save(buffer, "PNG", save_all=True, append_images=[second])
    assert digest(buffer.getvalue()) is None


def test_a_large_picture_is_digested_in_parts_that_lose_nothing():
    tall = cloudy(6, (20, 700))
    changed = tall.copy()
    changed.putpixel((19, 699), (1, 2, 3))
    assert digest(encode(tall, "PNG")) == digest(encode(tall, "BMP")) != digest(encode(changed, "PNG"))


def test_what_is_copied_twice_over_has_the_content_of_the_first():
    copies = ExactCopies(np.array([2, 5, 6]), np.array([0, 2, 2]), np.array([False, True, True]))
    assert copies.contents(7, TemporaryFile).tolist() == [0, 1, 0, 3, 4, 0, 0]
    assert copies.counts == {"exact_copies": 3, "same_bytes": 2, "same_pixels": 1}


@given(data=st.data(), chunk=st.sampled_from([1, 3, 100]))
def test_the_first_with_the_same_bytes_is_found_though_other_digests_begin_alike(data, chunk):
    alike = ["0123456789abcdef" + digit * 48 for digit in "01"]
    digests = st.sampled_from([None, "a" * 64, "a" * 63 + "b", "A" * 64, "c" * 64, "", "abc", *alike])
    drawn = [data.draw(st.lists(digests, min_size=1, max_size=9)) for _ in range(2)]
    one, other = (images_with(sha256, chunk) for sha256 in drawn)
    for mine, known in ((one, one), (one, other), (other, one)):
        sha256 = known.entries["sha256"].to_pylist()
        expected = [
            -1 if digest is None or digest not in sha256 else sha256.index(digest)
            for digest in mine.entries["sha256"].to_pylist()
        ]
        assert mine.first_in(known).tolist() == expected
        assert mine is not known or mine.first_of_bytes.tolist() == expected


def images_with(sha256: list[str | None], chunk: int) -> Images:
    nulls = {field.name: pa.nulls(len(sha256), field.type) for field in ENTRIES}
    table = pa.table(nulls | {"sha256": pa.array(sha256, pa.string())}, ENTRIES)
    parts = [table.slice(start, chunk) for start in range(0, len(table), chunk)]
    return Images(encode_names(map(str, range(len(sha256)))), pa.concat_tables(parts))
