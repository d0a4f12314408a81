"""Bars and frames of one colour do not make a copy another picture."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from fastdup_ray.common.records import Box
from fastdup_ray.extract.margins import WIDEST, find_content_box
from fastdup_ray.extract.model import SIDE, Model
from tests.helpers.pixels import pixels_of, squashed

WHOLE = (0, 0, SIDE, SIDE)


def cosine(one: Image.Image, other: Image.Image, *, trim: bool = True) -> float:
    rows = Model().embed(np.stack([pixels_of(one, trim), pixels_of(other, trim)]))
    return float(rows[0] @ rows[1])


def test_a_photograph_has_no_margins(photo):
    assert find_content_box(squashed(photo)) == WHOLE


@pytest.mark.parametrize("colour", ["black", (200, 30, 30), (0, 90, 200)])
@pytest.mark.parametrize("edges", [(0, 60), (60, 0), (25, 25), (0, 0, 0, 70), (40, 0, 0, 0)])
def test_what_lies_inside_is_found_but_for_the_line_that_is_half_margin(photo, colour, edges):
    framed = ImageOps.expand(photo, edges, colour)
    left, top, right, bottom = edges if len(edges) == 4 else edges * 2
    width, height = framed.size
    true = np.array((left / width, top / height, 1 - right / width, 1 - bottom / height)) * SIDE
    assert np.abs(np.array(find_content_box(squashed(framed))) - true).max() < 1.5


def test_margins_survive_a_strong_jpeg(photo):
    framed = ImageOps.expand(photo, (0, 60), "black")
    file = io.BytesIO()
    framed.save(file, "JPEG", quality=20)
    found, true = find_content_box(squashed(Image.open(file))), find_content_box(squashed(framed))
    assert np.abs(np.subtract(found, true)).max() <= 1


def test_a_framed_copy_is_closer_than_without_trimming(photo):
    framed = ImageOps.expand(photo, (0, photo.height // 5), "black")
    assert cosine(photo, framed) > max(0.9, cosine(photo, framed, trim=False))


def test_a_sky_that_fades_is_no_margin():
    fading = np.linspace(255, 90, SIDE).repeat(SIDE * 3).reshape(SIDE, SIDE, 3).astype(np.uint8)
    assert find_content_box(fading) == WHOLE


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_plain_picture_is_left_as_it_is(grey):
    assert find_content_box(np.full((SIDE, SIDE, 3), grey, np.uint8)) == WHOLE


def test_what_is_wider_than_a_margin_belongs_to_the_picture(photo):
    most = int(photo.height * WIDEST / (1 - WIDEST))
    narrow, wide = (ImageOps.expand(photo, (0, bar, 0, 0), "white") for bar in (most * 3 // 4, most * 3 // 2))
    assert find_content_box(squashed(narrow)) != WHOLE
    assert find_content_box(squashed(wide)) == WHOLE


def test_a_noisy_frame_is_none(photo):
    framed = np.array(ImageOps.expand(photo, 40, "grey"))
    noisy = np.random.default_rng(0).integers(0, 255, framed.shape, np.uint8)
    noisy[40:-40, 40:-40] = framed[40:-40, 40:-40]
    assert find_content_box(squashed(Image.fromarray(noisy).resize(photo.size, Image.Resampling.NEAREST))) == WHOLE


def test_margins_of_the_box_are_cut_off_not_those_of_the_picture(photo):
    framed = ImageOps.expand(photo, (0, 60), "black")
    box = Box(rows=20, cols=0, width=photo.width, height=photo.height + 40)
    rows = Model().embed(np.stack([pixels_of(framed, box=box), pixels_of(photo)]))
    assert rows[0] @ rows[1] > 0.95
