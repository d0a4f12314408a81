"""What the training sees of a photograph: its pictures, each as it is and by edits, as the model gets them."""

import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fastdup_ray.common.records import Limits
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.model import SIDE
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.training.cells import LONGEST_SIDE, cells
from fastdup_ray.training.edits import EDITS, ORIGINAL_QUALITY, encode
from fastdup_ray.training.photos import working_copy

SEED = 1
CELLS = 4  # of a photograph that has several; each is a picture of its own, beside the whole
FIRST_VIEWS, VIEWS = 8, 16  # of a picture: itself, then copies; the first cycles of the training see the first ones
WORKING_SIDES = (200, 400)  # the longer side of a picture before the edits: drawn in between
SECOND_EDIT = 0.2  # share of the copies that are copies of a copy

UNCHANGED = ("copy", "png", "progressive")  # teach nothing
HARD = (
    "crop_medium",
    "crop_strong",
    "grey",
    "letterbox",
    "mirror",
    "noise",
    "print_and_scan",
    "reencode_low",
    "screenshot",
    "sticker",
    "text_bar",
    "turn_strong",
)
"""Drawn twice as often as the others."""

HARDEST = ("crop_strong", "screenshot", "sticker", "turn_strong")
"""Of those: among the later views drawn five times as often as others."""

KINDS = [kind for kind in EDITS if kind not in UNCHANGED]


def _chances(hardest: float) -> np.ndarray:
    chances = np.array([hardest if kind in HARDEST else 2.0 if kind in HARD else 1.0 for kind in KINDS])
    return chances / chances.sum()


_FIRST, _LATER = _chances(2), _chances(5)


def views_of(path: Path) -> np.ndarray:
    """Those of the whole photograph and of some of its cells: (pictures, VIEWS, 128, 128, 3) uint8, RGB.

    Drawn by the photograph's pixels, whatever else is drawn.
    """
    photograph = working_copy(path, LONGEST_SIDE)
    seed = [SEED, zlib.crc32(photograph.tobytes())]
    rng, later = np.random.default_rng(seed), np.random.default_rng([*seed, FIRST_VIEWS])
    parts = list(cells(photograph))
    some = [parts[i] for i in rng.permutation(len(parts))[:CELLS]] if len(parts) > 1 else []
    pictures = []
    for picture in (photograph, *some):
        side = int(rng.integers(*WORKING_SIDES, endpoint=True))
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        files = [encode(picture, ORIGINAL_QUALITY)]
        files += _copies(picture, FIRST_VIEWS - 1, _FIRST, rng)
        files += _copies(picture, VIEWS - FIRST_VIEWS, _LATER, later)
        with strict_pillow():
            views = [decode_bytes(data, (SIDE, SIDE), Limits(sys.maxsize), trim=True).pixels for data in files]
        pictures.append(np.stack(views))
    return np.stack(pictures)


def _copies(picture: Image.Image, number: int, chances: np.ndarray, rng: np.random.Generator) -> Iterator[bytes]:
    for kind in rng.choice(len(KINDS), number, replace=False, p=chances):
        yield _copy(picture, KINDS[kind], chances, rng)


def _copy(picture: Image.Image, kind: str, chances: np.ndarray, rng: np.random.Generator) -> bytes:
    if rng.random() < SECOND_EDIT:
        first = EDITS[KINDS[rng.choice(len(KINDS), p=chances)]](picture, rng)
        with Image.open(io.BytesIO(first)) as opened:
            picture = opened.convert("RGB")
    return EDITS[kind](picture, rng)
