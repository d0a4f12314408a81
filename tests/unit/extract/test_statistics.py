"""Statistics of an image, beside plain definitions of them."""

import numpy as np
import pytest
from PIL import Image

from fastdup_ray.extract.statistics import compute_statistics
from tests.helpers.images import cloudy


def draw_noise(levels: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(levels).integers(0, levels, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


IMAGES = {
    "black": Image.new("RGB", (8, 5)),
    "white": Image.new("RGB", (8, 5), "white"),
    "one pixel": Image.new("RGB", (1, 1), (1, 2, 3)),
    "two pixels": draw_noise(200, (1, 2)),
    "eight colors": draw_noise(2, (40, 50)),
    "more colors than slots": draw_noise(256, (300, 400)),
    "a photo": cloudy(1, (128, 128)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_statistics_are_those_of_their_definitions(name):
    image = IMAGES[name]
    gray = np.asarray(image.convert("L")).astype(np.int64)
    middle = gray[1:-1, 1:-1]
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * middle
    statistics = compute_statistics(image)
    assert statistics.unique_colors == len(np.unique(np.asarray(image).reshape(-1, 3), axis=0))
    assert statistics.brightness == pytest.approx(gray.mean(), abs=1e-6)
    assert statistics.contrast == pytest.approx(gray.std(), abs=1e-6)
    assert statistics.blur == pytest.approx(laplacian.var() if laplacian.size else 0, abs=1e-6)


def test_the_fourth_byte_of_a_color_does_not_count():
    pixels = Image.frombytes("RGB", (2, 1), bytes([0, 0, 0, 1, 0, 0, 0, 0]), "raw", "RGBX")
    assert compute_statistics(pixels).unique_colors == 1
