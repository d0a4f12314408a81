"""What an edited copy has lost beside its original; saving again is no loss."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from fastdup_ray.common.relations import Loss
from fastdup_ray.verify.losses import find_losses
from tests.helpers.images import encode
from tests.helpers.related import draw_page

Edit = Callable[[Image.Image], Image.Image]


def add_noise(image: Image.Image, deviation: float = 10) -> Image.Image:
    noise = np.random.default_rng(5).normal(0, deviation, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def save_jpeg(quality: int) -> Edit:
    return lambda image: Image.open(io.BytesIO(encode(image, "JPEG", quality=quality))).convert("RGB")


LOSSES: dict[str, tuple[Edit, Loss | None]] = {
    "gray": (lambda image: image.convert("L").convert("RGB"), Loss.COLORS),
    "sepia": (lambda image: ImageOps.colorize(image.convert("L"), "#201000", "#fff0d0"), Loss.COLORS),
    "posterized": (lambda image: ImageOps.posterize(image, 2), Loss.TONES),
    "noise": (add_noise, Loss.NOISE),
    "equal": (lambda image: image, None),
    "compressed": (save_jpeg(60), None),
    "brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.1), None),
    "less contrast": (lambda image: ImageEnhance.Contrast(image).enhance(0.6), None),
    "saturated": (lambda image: ImageEnhance.Color(image).enhance(1.5), None),
    "pale": (lambda image: ImageEnhance.Color(image).enhance(0.6), None),
}


@pytest.mark.parametrize(("edit", "loss"), LOSSES.values(), ids=LOSSES)
def test_an_edited_photograph_has_lost_what_the_edit_takes(photo, edit, loss):
    photo.thumbnail((512, 512))
    original, copy = (np.asarray(image) for image in (photo, edit(photo)))
    losses = {loss, Loss.COLORS} if loss is Loss.TONES else {loss}  # steps take colors, too
    kept, lost = find_losses(original, copy)
    assert kept is None
    assert lost in losses
    assert find_losses(copy, original) == (lost, None)


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_a_clean_page_has_lost_nothing_beside_a_compressed_one(quality):
    page = draw_page("Total: 1,234.00 EUR").convert("RGB")
    assert find_losses(np.asarray(page), np.asarray(save_jpeg(quality)(page))) == (None, None)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (15, 15)])
def test_images_of_any_size_are_compared(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert find_losses(pixels, pixels) == (None, None)
