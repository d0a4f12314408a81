"""Images that tests draw themselves."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    """The file that Pillow makes of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def cloudy(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture of soft colours that resembles no other seed's."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return noise.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


def save_cloudy(folder: Path, count: int, size: tuple[int, int] = (64, 48)) -> list[Path]:
    """`count` different JPEGs."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:04d}.jpg" for seed in range(count)]
    for seed, path in enumerate(paths):
        cloudy(seed, size).save(path, quality=90)
    return paths
