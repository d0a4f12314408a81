"""What is drawn on a transparent ground is seen, whatever its color and the format."""

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastdup_ray.common.records import Limits
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.model import SIDE, Model
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.resize import Fit
from fastdup_ray.extract.thumbnails import make_thumbnail
from fastdup_ray.extract.transparency import BLACK, GRAY, WHITE, choose_ground
from tests.helpers.images import cloudy, encode

TEXTS = ("NORTHWIND", "Acme & Sons", "42")
SIZE = (320, 120)
CLEAR = (255, 255, 255, 0)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


def logo(number: int, fill: tuple[int, ...] = (255, 255, 255, 255), ground: tuple[int, ...] = CLEAR) -> Image.Image:
    image = Image.new("RGBA", SIZE, ground)
    draw = ImageDraw.Draw(image)
    draw.text((20 + 30 * number, 30), TEXTS[number], fill, font_size=36)
    draw.rectangle((20, 90 + 5 * number, 120 + 60 * number, 104 + 5 * number), fill)
    return image


def palette(image: Image.Image, format: str) -> bytes:
    """All entries white, one of them transparent."""
    drawn = image.getchannel("A").point(lambda alpha: int(alpha > 127))
    indexed = Image.frombytes("P", image.size, drawn.tobytes())
    indexed.putpalette([255] * 6)
    return encode(indexed, format, transparency=0)


FORMATS = {
    "PNG": lambda image: encode(image, "PNG"),
    "LA": lambda image: encode(image.convert("LA"), "PNG"),
    "palette": lambda image: palette(image, "PNG"),
    "GIF": lambda image: palette(image, "GIF"),
    "WebP": lambda image: encode(image, "WEBP", quality=80),
    "lossless WebP": lambda image: encode(image, "WEBP", lossless=True),
    "ICO": lambda image: encode(image, "ICO", sizes=[(256, 96)]),
    "TIFF": lambda image: encode(image, "TIFF"),
    "AVIF": lambda image: encode(image, "AVIF"),
    "JPEG 2000": lambda image: encode(image, "JPEG2000"),
    "TGA": lambda image: encode(image, "TGA"),
}


def similarities(model: Model, *files: bytes) -> np.ndarray:
    """(n, n)"""
    with strict_pillow():
        pixels = [decode_bytes(data, (SIDE, SIDE), Limits(10**9), Fit(trim=True)).pixels for data in files]
    rows = model.embed(np.stack(pixels))
    return rows @ rows.T


@pytest.mark.parametrize("format", FORMATS)
def test_white_drawings_differ_from_each_other_and_from_white(format, model):
    files = [FORMATS[format](logo(number)) for number in range(3)]
    white = encode(Image.new("RGB", SIZE, "white"), "PNG")
    off_diagonal = similarities(model, *files, white)[~np.eye(4, dtype=bool)]
    assert off_diagonal.max() < 0.85


@pytest.mark.parametrize(
    "fill", [(250, 250, 240, 255), (242, 242, 242, 255), (255, 255, 255, 120), (0, 0, 0, 255)], ids=str
)
def test_so_do_drawings_of_other_colors(fill, model):
    files = [encode(logo(number, fill), "PNG") for number in range(3)]
    assert similarities(model, *files)[~np.eye(3, dtype=bool)].max() < 0.85


@pytest.mark.parametrize("icon", ["black", "navy"])
def test_so_do_white_drawings_beside_a_part_that_they_share(icon, model):
    files = []
    for number in range(3):
        image = logo(number)
        ImageDraw.Draw(image).ellipse((250, 10, 310, 70), icon)
        files.append(encode(image, "PNG"))
    assert similarities(model, *files)[~np.eye(3, dtype=bool)].max() < 0.85


def test_a_dark_drawing_stays_the_same_as_its_copy_on_white(model):
    image = logo(0, (20, 20, 60, 255))
    flat = Image.new("RGB", SIZE, "white")
    flat.paste(image, mask=image.getchannel("A"))
    assert similarities(model, encode(image, "PNG"), encode(flat, "PNG"))[0, 1] > 0.995


def test_hidden_colors_below_full_transparency_change_nothing(model):
    files = [encode(logo(0, (0, 0, 0, 255), ground), "PNG") for ground in (CLEAR, (0, 0, 0, 0), (255, 0, 0, 0))]
    assert similarities(model, *files).min() > 0.9999


def level(image: Image.Image) -> int:
    return choose_ground(image.convert("RGBa")).level


def test_the_ground_is_white_unless_the_drawing_would_vanish():
    assert level(logo(0, (0, 0, 0, 255))) == WHITE
    assert level(logo(0)) == BLACK
    both = logo(0)
    ImageDraw.Draw(both).rectangle((200, 10, 310, 110), "black")
    assert level(both) == GRAY


def test_white_inside_an_outline_is_seen_on_white():
    image = Image.new("RGBA", (128, 128), CLEAR)
    ImageDraw.Draw(image).ellipse((10, 10, 118, 118), "white", "black", 3)
    assert choose_ground(image.convert("RGBa")) == (WHITE, 0)


def test_what_is_lost_in_part_is_told():
    image = Image.new("RGBA", (256, 256), CLEAR)
    image.paste(cloudy(1, (200, 200)), (28, 0))
    ImageDraw.Draw(image).text((80, 215), "2026", "white", font_size=30)
    with strict_pillow():
        assert decode_bytes(encode(image, "PNG"), (SIDE, SIDE), Limits(10**9)).unseen == {"transparency"}


def test_an_opaque_alpha_channel_changes_no_pixel():
    image = cloudy(1)
    files = encode(image, "PNG"), encode(image.convert("RGBA"), "PNG")
    with strict_pillow():
        first, second = (decode_bytes(data, (SIDE, SIDE), Limits(10**9)).pixels for data in files)
    assert first.tobytes() == second.tobytes()


def test_a_thumbnail_shows_what_the_model_sees(tmp_path):
    logo(0).save(tmp_path / "logo.png")
    with strict_pillow():
        thumbnail = make_thumbnail(str(tmp_path / "logo.png"))
    with Image.open(io.BytesIO(base64.b64decode(thumbnail.data_uri.partition(",")[2]))) as image:
        assert np.asarray(image.convert("L")).std() > 20
