"""Samples of more than 8 bits are shown by the data that is there: like the 8-bit version of the same data."""

import numpy as np
import pytest
from PIL import Image

from fastdup_ray.common.records import Limits
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.model import SIDE, Model
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.pixels import hash_pixels
from fastdup_ray.extract.resize import Fit
from fastdup_ray.extract.tones import Range, apply_range, find_range
from tests.helpers.deep_files import save_png_16, save_tiff
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import PHOTOS

LIKE = 0.98
MISSING = [-3.4028235e38, -9999.0, -32768.0, 3.4028235e38, 1e20, np.nan, np.inf, -np.inf]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def gray() -> np.ndarray:
    """(height, width) uint8, from 0 to 255."""
    with Image.open(PHOTOS / "originals" / "coffee.jpg") as image:
        values = np.asarray(image.convert("L"), np.float32)
    return np.round((values - values.min()) / np.ptp(values) * 255).astype(np.uint8)


def similarity(model: Model, one: bytes, other: bytes) -> float:
    with strict_pillow():
        pixels = [decode_bytes(data, (SIDE, SIDE), Limits(10**9), Fit(trim=True)).pixels for data in (one, other)]
    first, second = model.embed(np.stack(pixels))
    return float(first @ second)


def png(values: np.ndarray) -> bytes:
    return encode(Image.fromarray(values), "PNG")


@pytest.mark.parametrize("missing", MISSING, ids=str)
def test_missing_samples_of_floats_do_not_set_the_range(missing, model, gray):
    gap = np.zeros(gray.shape, bool)
    gap[40:90, 60:200] = True
    values = np.where(gap, np.float32(missing), gray.astype(np.float32) * 3 + 100)
    shown = np.where(gap, 255 if missing > 1000 else 0, gray).astype(np.uint8)
    assert similarity(model, save_tiff(values), png(shown)) >= LIKE


def test_two_marks_of_missing_samples_are_both_left_out(model, gray):
    values = gray.astype(np.float32)
    values[:30], values[30:40] = -3.4028235e38, -9999
    shown = gray.copy()
    shown[:40] = 0
    assert similarity(model, save_tiff(values), png(shown)) >= LIKE


def test_the_mark_that_the_file_names_is_left_out_however_near_it_lies(model, gray):
    values = gray.astype(np.float32) + 100
    values[:40] = 50
    assert find_range(values, 50) == Range(100, 355)
    shown = gray.copy()
    shown[:40] = 0
    assert similarity(model, save_tiff(values, nodata="50"), png(shown)) >= LIKE


def test_different_data_with_the_same_gaps_differs(model):
    one, other = (np.asarray(cloudy(seed).convert("L"), np.float32) for seed in (1, 2))
    one[:8] = other[:8] = -3.4028235e38
    assert similarity(model, save_tiff(one), save_tiff(other)) < 0.6


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("save", [png, save_tiff], ids=["png", "tiff"])
def test_16_bit_samples_are_shown_by_the_bits_that_are_used(bits, save, model, gray):
    values = gray.astype(np.uint16) << (bits - 8)
    assert similarity(model, save(values), png(gray)) >= LIKE


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("save", [save_png_16, save_tiff], ids=["png", "tiff"])
def test_so_are_16_bit_colors(bits, save, model, photos):
    with Image.open(photos / "originals" / "coffee.jpg") as image:
        colors = np.asarray(image)
    assert similarity(model, save(colors.astype(np.uint16) << (bits - 8)), png(colors)) >= LIKE


def test_gray_with_opacity_of_16_bits_is_shown_by_its_bits(model, gray):
    values = np.dstack([gray.astype(np.uint16) << 4, np.full(gray.shape, 65535, np.uint16)])
    assert similarity(model, save_png_16(values), png(gray)) >= LIKE


@pytest.mark.parametrize("save", [png, save_tiff], ids=["png", "tiff"])
def test_a_drawing_in_the_lower_bytes_alone_is_seen(save, model, gray):
    assert similarity(model, save(gray.astype(np.uint16) + 0x8000), png(gray)) >= LIKE


@pytest.mark.parametrize("save", [save_png_16, save_tiff], ids=["png", "tiff"])
def test_so_is_a_colored_one(save, model, photos):
    with Image.open(photos / "originals" / "coffee.jpg") as image:
        colors = np.asarray(image)
    assert similarity(model, save(colors.astype(np.uint16) + 0x8000), png(colors)) >= LIKE


def test_unsigned_32_bit_samples_do_not_become_negative(model, gray):
    assert similarity(model, save_tiff(gray.astype(np.uint32) << 24), png(gray)) >= LIKE


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32])
def test_signed_samples_rise_from_black_to_white(kind, model, gray):
    values = (gray.astype(np.int32) - 128).astype(kind)
    assert similarity(model, save_tiff(values), png(gray)) >= LIKE


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_white_may_be_zero(kind, model, gray):
    values = (255 - gray).astype(kind) * (257 if kind is np.uint16 else 1)
    assert similarity(model, save_tiff(values, photometric=0), png(gray)) >= LIKE


def test_a_defective_pixel_and_a_saturated_one_leave_the_rest_as_it_is(model, gray):
    values = gray.astype(np.uint16) << 4
    values[3, 3] = 65535
    values[5, 7] = 40000
    assert similarity(model, png(values), png(gray)) >= LIKE
    floats = gray.astype(np.float32)
    floats[3, 3], floats[5, 7] = 1e6, 2e4
    assert similarity(model, save_tiff(floats), png(gray)) >= LIKE


@pytest.mark.parametrize("white", [1, 255])
def test_floats_that_are_tones_keep_them(white, gray):
    values = gray.astype(np.float32) / 255 * white * 0.95 + 0.02 * white
    assert find_range(values) == Range(0, white)


def test_dark_images_of_16_bits_and_even_ones_are_not_stretched():
    assert find_range(np.full((9, 9), 65535, np.uint16)) == Range(0, 65535)
    noise = np.random.default_rng(1).integers(65525, 65536, (99, 99)).astype(np.uint16)
    assert apply_range(noise, find_range(noise)).min() >= 254
    assert apply_range(np.full((9, 9), 7.0), find_range(np.full((9, 9), 7.0))).max() == 0


def test_label_maps_keep_their_labels_apart():
    labels = np.array([[0, 1], [2, 1000]], np.int32)
    shown = find_range(labels)
    assert shown.strays  # the fourth may be a label, too
    assert len(np.unique(apply_range(labels, shown))) == 3
    assert find_range(np.array([[0, 1, 255]], np.int32)) == Range(0, 255)


def test_values_outside_of_the_range_are_told(gray):
    values = gray.astype(np.float32)
    assert not find_range(values).strays
    values[0, :4] = 1e4, 2e4, 3e4, 4e4
    assert find_range(values).strays


def test_lower_bytes_count_in_pixel_copies():
    colors = np.asarray(cloudy(1)).astype(np.uint16) << 8
    other = colors.copy()
    other[0, 0, 0] += 1
    with strict_pillow():
        digests = {hash_pixels(save_png_16(values)) for values in (colors, other)}
        assert len(digests) == 2
        assert None not in digests
        assert hash_pixels(save_png_16(other)) == hash_pixels(save_tiff(other)) is not None
        eight_bits = hash_pixels(png(np.asarray(cloudy(1))))
        for deep in (colors, np.asarray(cloudy(1)).astype(np.uint16) * 257):  # no more than the 8 bits say
            assert hash_pixels(save_png_16(deep)) == hash_pixels(save_tiff(deep)) == eight_bits
