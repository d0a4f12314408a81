"""Copies of an image as people make them.

An edit takes an RGB image and a random generator, and returns the bytes of a file.
"""

import io
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Edit = Callable[[Image.Image, np.random.Generator], bytes]

ORIGINAL_QUALITY = 92
"""JPEG quality of an image that is not edited."""

_LINE = "some words of a page " * 12


def encode(image: Image.Image, quality: int = 88, format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, quality=quality, **options)
    return buffer.getvalue()


def copy(image: Image.Image, _: np.random.Generator) -> bytes:
    return encode(image, ORIGINAL_QUALITY)


def png(image: Image.Image, _: np.random.Generator) -> bytes:
    return encode(image, format="PNG")


def progressive(image: Image.Image, _: np.random.Generator) -> bytes:
    return encode(image, 95, progressive=True, subsampling=0)


def reencode(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(image, int(rng.integers(60, 92)))


def reencode_low(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(image, int(rng.integers(10, 35)))


def webp(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(image, int(rng.integers(10, 80)), "WEBP")


def avif(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(image, int(rng.integers(15, 60)), "AVIF", speed=9)


def resize_down(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_scale(image, rng.uniform(0.3, 0.8)))


def resize_up(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_scale(image, rng.uniform(1.3, 2.0)))


def stretch(image: Image.Image, rng: np.random.Generator) -> bytes:
    width, height = image.size
    return encode(image.resize((max(8, int(width * rng.uniform(0.7, 1.3))), height)))


def crop_small(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_crop(image, rng, 0.04))


def crop_medium(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_crop(image, rng, 0.12))


def crop_strong(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Crop anywhere to 50 to 80 % of the area."""
    width, height = image.size
    side, squeeze = rng.uniform(0.5, 0.8) ** 0.5, rng.uniform(0.93, 1.07)
    kept = int(width * min(1, side * squeeze)), int(height * min(1, side / squeeze))
    left, top = int(rng.integers(width - kept[0] + 1)), int(rng.integers(height - kept[1] + 1))
    return encode(image.crop((left, top, left + kept[0], top + kept[1])))


def brightness(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(ImageEnhance.Brightness(image).enhance(rng.uniform(0.65, 1.35)))


def contrast(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(ImageEnhance.Contrast(image).enhance(rng.uniform(0.65, 1.4)))


def gamma(image: Image.Image, rng: np.random.Generator) -> bytes:
    exponent = rng.choice([0.7, 1.4])
    return encode(image.point([round(255 * (value / 255) ** exponent) for value in range(256)] * 3))


def saturation(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(ImageEnhance.Color(image).enhance(rng.uniform(0.4, 1.7)))


def grey(image: Image.Image, _: np.random.Generator) -> bytes:
    return encode(image.convert("L"))


def blur(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 2.0))))


def sharpen(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(image.filter(ImageFilter.UnsharpMask(2, int(rng.integers(80, 180)), 3)))


def noise(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_add_noise(image, rng, rng.uniform(4, 20)))


def border(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(ImageOps.expand(image, int(rng.integers(3, 18)), _choose_black_or_white(rng)))


def letterbox(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Add two bars, each of 6 to 20 % of the image, above and below or at the sides."""
    width, height = image.size
    share = rng.uniform(0.06, 0.2)
    bars = (0, int(height * share)) if rng.random() < 0.6 else (int(width * share), 0)
    return encode(ImageOps.expand(image, bars, _choose_black_or_white(rng)))


def screenshot(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Put the image on a page with a bar at the top and lines of text, of which it takes up 45 to 80 %."""
    width, height = image.size
    scale = rng.uniform(0.45, 0.8) ** -0.5
    size = int(width * scale * rng.uniform(0.95, 1.05)), int(height * scale * rng.uniform(0.95, 1.05))
    dark = rng.random() < 0.3
    page = Image.new("RGB", size, (32, 33, 36) if dark else (250, 250, 250))
    draw = ImageDraw.Draw(page)
    for y in range(4, size[1], 14):
        page.paste((150, 150, 150) if dark else (90, 90, 90), (6, y), _make_text_mask())
    draw.rectangle((0, 0, size[0], int(size[1] * 0.06)), fill=(60, 64, 67) if dark else (222, 225, 230))
    corner = int(rng.integers(max(1, size[0] - width + 1))), int(rng.integers(max(1, size[1] - height + 1)))
    page.paste(image, corner)
    return encode(page)


def sticker(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Cover parts with one to three disks in strong colors, of a diameter of 15 to 30 % of the shorter side."""
    marked = image.copy()
    draw = ImageDraw.Draw(marked)
    for _ in range(rng.integers(1, 4)):
        across = int(min(image.size) * rng.uniform(0.15, 0.3))
        x, y = (int(rng.integers(max(1, side - across))) for side in image.size)
        color = tuple(int(value) for value in rng.choice([20, 130, 240], 3))
        draw.ellipse((x, y, x + across, y + across), fill=color, outline=(255, 255, 255), width=2)
        draw.text((x + across * 0.3, y + across * 0.25), "!?", fill=(0, 0, 0), font_size=max(8, across // 2))
    return encode(marked)


def watermark(image: Image.Image, rng: np.random.Generator) -> bytes:
    marked = image.copy()
    width, height = image.size
    corner = (int(width * rng.uniform(0.02, 0.5)), int(height * rng.uniform(0.05, 0.8)))
    size = max(10, int(height * rng.uniform(0.04, 0.1)))
    ImageDraw.Draw(marked).text(
        corner, "(c) example photo", fill=(255, 255, 255), stroke_width=1, stroke_fill=(90, 90, 90), font_size=size
    )
    return encode(marked)


def text_bar(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Write a caption over 6 to 18 % of the image, at its top or bottom."""
    width, height = image.size
    bar = int(height * rng.uniform(0.06, 0.18))
    top = 0 if rng.random() < 0.3 else height - bar
    ground = _choose_black_or_white(rng)
    captioned = image.copy()
    draw = ImageDraw.Draw(captioned)
    draw.rectangle((0, top, width, top + bar), fill=ground)
    letters = tuple(255 - level for level in ground)
    draw.text((8, top + 2), "a caption beside it", fill=letters, font_size=max(8, bar - 6))
    return encode(captioned)


def turn(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_rotate(image, rng, rng.uniform(0.5, 4)))


def turn_strong(image: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_rotate(image, rng, rng.uniform(5, 15)))


def mirror(image: Image.Image, _: np.random.Generator) -> bytes:
    return encode(ImageOps.mirror(image))


def print_and_scan(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Imitate a scanned print: corners moved by up to 7 %, paler, softer, with some noise."""
    width, height = image.size
    moved = rng.uniform(-0.07, 0.07, (4, 2)) * image.size
    corners = np.array([(0, 0), (0, height), (width, height), (width, 0)]) + moved
    aslant = image.transform(
        image.size, Image.Transform.QUAD, corners.ravel().tolist(), Image.Resampling.BILINEAR, fillcolor=(245,) * 3
    )
    paler = ImageEnhance.Contrast(aslant).enhance(rng.uniform(0.75, 0.95))
    return encode(_add_noise(paler.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1))), rng, rng.uniform(2, 6)))


EDITS: dict[str, Edit] = {
    edit.__name__: edit
    for edit in (
        copy,
        png,
        progressive,
        reencode,
        reencode_low,
        webp,
        avif,
        resize_down,
        resize_up,
        stretch,
        crop_small,
        crop_medium,
        crop_strong,
        brightness,
        contrast,
        gamma,
        saturation,
        grey,
        blur,
        sharpen,
        noise,
        border,
        letterbox,
        screenshot,
        watermark,
        sticker,
        text_bar,
        turn,
        turn_strong,
        mirror,
        print_and_scan,
    )
}
"""All edits by name. The names are in the truth.csv of benchmarks and in the model card."""


@cache
def _make_text_mask() -> Image.Image:
    """Return one line of text as a mask; to draw it again for each line would take longer than all the rest."""
    font = ImageFont.load_default(10)
    *_, right, bottom = font.getbbox(_LINE)
    mask = Image.new("L", (math.ceil(right), math.ceil(bottom)))
    ImageDraw.Draw(mask).text((0, 0), _LINE, fill=255, font=font)
    return mask


def _scale(image: Image.Image, factor: float) -> Image.Image:
    width, height = image.size
    size = max(8, int(width * factor)), max(8, int(height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def _crop(image: Image.Image, rng: np.random.Generator, most: float) -> Image.Image:
    """Remove a strip of up to `most` of the width or height at each side."""
    width, height = image.size
    left, top, right, bottom = rng.uniform(most / 4, most, 4)
    return image.crop((int(width * left), int(height * top), int(width * (1 - right)), int(height * (1 - bottom))))


def _add_noise(image: Image.Image, rng: np.random.Generator, deviation: float) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    return Image.fromarray((pixels + rng.normal(0, deviation, pixels.shape)).clip(0, 255).astype(np.uint8))


def _rotate(image: Image.Image, rng: np.random.Generator, degrees: float) -> Image.Image:
    return image.rotate(degrees * rng.choice([-1, 1]), Image.Resampling.BILINEAR, fillcolor=_choose_black_or_white(rng))


def _choose_black_or_white(rng: np.random.Generator) -> tuple[int, int, int]:
    return (int(rng.choice([0, 255])),) * 3
