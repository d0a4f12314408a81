"""Lay what is transparent on a ground: white, or another color where the drawing would vanish on white."""

from typing import NamedTuple

import numpy as np
from PIL import Image

WHITE, BLACK, GRAY = 255, 0, 128
GROUNDS = (WHITE, BLACK, GRAY)
"""Grey levels to lay an image on, the usual one first."""

NEAR = 16.0
"""Grey levels that a color may differ from the ground, in each channel, and not be seen on it."""

VANISHED = 0.1
"""Share of a drawing that may vanish on white before it is laid on another ground."""

HIDDEN = 0.01
"""Share of a drawing that has to vanish on its ground for the image to count as partly hidden."""

SIDE = 128
"""Pixels a side at which is judged what vanishes."""


class Ground(NamedTuple):
    """level: grey level to lay an image on. vanished: share of the drawing that is not seen on it."""

    level: int
    vanished: float

    @property
    def hides(self) -> bool:
        """Whether a part of the drawing that matters is not seen."""
        return self.vanished > HIDDEN


def has_alpha(image: Image.Image) -> bool:
    """Whether parts of an image may be transparent."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def choose_ground(image: Image.Image) -> Ground:
    """Choose the ground for an image in mode RGBa: white, unless more than `VANISHED` of the drawing is lost there."""
    small = image if max(image.size) <= SIDE else image.resize((SIDE, SIDE), Image.Resampling.BOX)
    grounds = [Ground(level, _measure_vanished(np.asarray(small, np.float32), level)) for level in GROUNDS]
    if grounds[0].vanished <= VANISHED:
        return grounds[0]
    return min(grounds, key=lambda ground: ground.vanished)


def flatten_on(image: Image.Image, level: int) -> Image.Image:
    """Lay an image in mode RGBa on a grey level; in RGB."""
    pixels = np.asarray(image)
    clear = 255 - pixels[..., 3:].astype(np.uint16)
    ground = (clear * level + 127) // 255
    return Image.fromarray(np.minimum(pixels[..., :3] + ground, 255).astype(np.uint8))


def _measure_vanished(pixels: np.ndarray, level: int) -> float:
    """The share of the drawing, (height, width, 4) premultiplied, that has the color of the ground and lies on it.

    What has the color of the ground but is enclosed by another, such as the white inside of an outlined shape, is seen.
    """
    alpha = pixels[..., 3]
    drawn = float(alpha.sum())
    if drawn == 0:
        return 0.0
    color = pixels[..., :3] * (255 / np.maximum(alpha, 1))[..., None]
    near = (np.abs(color - level).max(axis=2) <= NEAR) | (alpha < 1)
    if not (near & (alpha >= 1)).any() or (alpha >= 254).all():
        return 0.0
    from scipy import ndimage  # late: few images need it

    regions, _ = ndimage.label(near)
    on_ground = np.unique(regions[near & (alpha < 254)])
    return float(alpha[np.isin(regions, on_ground) & near].sum()) / drawn
