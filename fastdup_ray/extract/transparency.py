"""Flatten transparent images onto white, or onto another gray level where the drawing would vanish on white."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from fastdup_ray.common.arrays import FloatArray

WHITE, BLACK, GRAY = 255, 0, 128
GROUNDS = (WHITE, BLACK, GRAY)
"""Gray levels to flatten an image onto, the default one first."""

NEAR = 16.0
"""Largest difference in gray levels, in each channel, at which a color cannot be told from the ground."""

VANISHED = 0.1
"""Share of a drawing that may vanish on white before another ground is chosen."""

HIDDEN = 0.01
"""Share of a drawing above which what vanishes on the ground makes the image partly hidden."""

SIDE = 128
"""Width and height at which the share that vanishes is measured."""


class Ground(NamedTuple):
    """A gray level to flatten an image onto.

    Attributes:
        level: 0 (black) to 255 (white).
        vanished: Share of the drawing that cannot be seen on it.
    """

    level: int
    vanished: float

    @property
    def hides(self) -> bool:
        """Whether a significant part of the drawing cannot be seen."""
        return self.vanished > HIDDEN


def has_alpha(image: Image.Image) -> bool:
    """Return whether an image may have transparent parts."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def choose_ground(image: Image.Image) -> Ground:
    """Choose the ground for an image in mode RGBa: white, unless more than `VANISHED` of the drawing is lost there."""
    small = image if max(image.size) <= SIDE else image.resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float32)
    white = Ground(WHITE, _measure_vanished(pixels, WHITE))
    if white.vanished <= VANISHED:
        return white
    others = (Ground(level, _measure_vanished(pixels, level)) for level in GROUNDS[1:])
    return min((white, *others), key=lambda ground: ground.vanished)


def flatten_alpha(image: Image.Image, level: int | None = None) -> Image.Image:
    """Return an image in mode RGBa flattened onto a gray level, in mode RGB; an image in RGB is returned as it is.

    Args:
        image: An image in mode RGB or RGBa.
        level: The gray level; None for that of `choose_ground`.
    """
    if image.mode != "RGBa":
        return image
    return _flatten_on(image, choose_ground(image).level if level is None else level)


def _flatten_on(image: Image.Image, level: int) -> Image.Image:
    pixels = np.asarray(image)
    clear = 255 - pixels[..., 3:].astype(np.uint16)
    ground = (clear * level + 127) // 255
    return Image.fromarray(np.minimum(pixels[..., :3] + ground, 255).astype(np.uint8))


def _measure_vanished(pixels: FloatArray, level: int) -> float:
    """Return the share of the drawing, (height, width, 4) premultiplied, that cannot be told from the ground around it.

    A part that has the color of the ground but is enclosed by another color, such as the white inside of an outlined
    shape, counts as visible.
    """
    alpha = pixels[..., 3]
    drawn = float(alpha.sum())
    if drawn == 0:
        return 0.0
    color = pixels[..., :3] * (255 / np.maximum(alpha, 1))[..., None]
    near = (np.abs(color - level).max(axis=2) <= NEAR) | (alpha < 1)
    if not (near & (alpha >= 1)).any() or (alpha >= 254).all():
        return 0.0
    import cv2  # late: few images need it

    _, regions = cv2.connectedComponents(near.view(np.uint8), connectivity=4)
    on_ground = np.unique(regions[near & (alpha < 254)])
    return float(alpha[np.isin(regions, on_ground) & near].sum()) / drawn
