"""Copies of a picture as people make them: each edit takes an RGB picture and a generator and returns file bytes."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Edit = Callable[[Image.Image, np.random.Generator], bytes]


def encode(picture: Image.Image, quality: int = 88, format: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, quality=quality)
    return buffer.getvalue()


def reencode(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(picture, int(rng.integers(60, 92)))


def reencode_low(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(picture, int(rng.integers(10, 35)))


def webp(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(picture, int(rng.integers(10, 80)), "WEBP")


def resize_down(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_scaled(picture, rng.uniform(0.3, 0.8)))


def resize_up(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_scaled(picture, rng.uniform(1.3, 2.0)))


def stretch(picture: Image.Image, rng: np.random.Generator) -> bytes:
    width, height = picture.size
    return encode(picture.resize((max(8, int(width * rng.uniform(0.7, 1.3))), height)))


def crop_small(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_cropped(picture, rng, 0.04))


def crop_medium(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(_cropped(picture, rng, 0.12))


def brightness(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(ImageEnhance.Brightness(picture).enhance(rng.uniform(0.65, 1.35)))


def contrast(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(ImageEnhance.Contrast(picture).enhance(rng.uniform(0.65, 1.4)))


def gamma(picture: Image.Image, rng: np.random.Generator) -> bytes:
    exponent = rng.choice([0.7, 1.4])
    return encode(picture.point([round(255 * (value / 255) ** exponent) for value in range(256)] * 3))


def saturation(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(ImageEnhance.Color(picture).enhance(rng.uniform(0.4, 1.7)))


def grey(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(picture.convert("L"))


def blur(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 2.0))))


def sharpen(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(picture.filter(ImageFilter.UnsharpMask(2, int(rng.integers(80, 180)), 3)))


def noise(picture: Image.Image, rng: np.random.Generator) -> bytes:
    pixels = np.asarray(picture, np.float32)
    noisy = pixels + rng.normal(0, rng.uniform(4, 15), pixels.shape)
    return encode(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))


def border(picture: Image.Image, rng: np.random.Generator) -> bytes:
    level = int(rng.choice([0, 255]))
    return encode(ImageOps.expand(picture, int(rng.integers(3, 14)), (level, level, level)))


def watermark(picture: Image.Image, rng: np.random.Generator) -> bytes:
    marked = picture.copy()
    width, height = picture.size
    corner = (int(width * rng.uniform(0.02, 0.5)), int(height * rng.uniform(0.05, 0.8)))
    size = max(10, int(height * rng.uniform(0.04, 0.1)))
    ImageDraw.Draw(marked).text(
        corner, "(c) example photo", fill=(255, 255, 255), stroke_width=1, stroke_fill=(90, 90, 90), font_size=size
    )
    return encode(marked)


def text_bar(picture: Image.Image, rng: np.random.Generator) -> bytes:
    width, height = picture.size
    bar = int(height * rng.uniform(0.06, 0.12))
    level = int(rng.choice([0, 255]))
    captioned = picture.copy()
    draw = ImageDraw.Draw(captioned)
    draw.rectangle((0, height - bar, width, height), fill=(level,) * 3)
    draw.text((8, height - bar + 2), "a caption under it", fill=(255 - level,) * 3, font_size=max(8, bar - 6))
    return encode(captioned)


def turn(picture: Image.Image, rng: np.random.Generator) -> bytes:
    return encode(picture.rotate(rng.uniform(-4, 4), Image.Resampling.BILINEAR))


EDITS: dict[str, Edit] = {
    "reencode": reencode,
    "reencode_low": reencode_low,
    "webp": webp,
    "resize_down": resize_down,
    "resize_up": resize_up,
    "stretch": stretch,
    "crop_small": crop_small,
    "crop_medium": crop_medium,
    "brightness": brightness,
    "contrast": contrast,
    "gamma": gamma,
    "saturation": saturation,
    "grey": grey,
    "blur": blur,
    "sharpen": sharpen,
    "noise": noise,
    "border": border,
    "watermark": watermark,
    "text_bar": text_bar,
    "turn": turn,
}
MILD = ("reencode", "webp", "resize_down", "resize_up", "crop_small", "sharpen")


def _scaled(picture: Image.Image, factor: float) -> Image.Image:
    width, height = picture.size
    size = max(8, int(width * factor)), max(8, int(height * factor))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _cropped(picture: Image.Image, rng: np.random.Generator, most: float) -> Image.Image:
    """Without a strip of up to `most` of the width or height at each side."""
    width, height = picture.size
    left, top, right, bottom = rng.uniform(most / 4, most, 4)
    return picture.crop((int(width * left), int(height * top), int(width * (1 - right)), int(height * (1 - bottom))))
