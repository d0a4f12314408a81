"""The views of a photograph for training: the whole and some of its cells, each unedited and edited, as decoded."""

import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fastdup_ray.common.arrays import ByteArray, DoubleArray
from fastdup_ray.common.records import Limits
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.model import SIDE
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.resize import Fit
from fastdup_ray.training.cells import LONGEST_SIDE, iter_cells
from fastdup_ray.training.edits import EDITS, ORIGINAL_QUALITY, encode
from fastdup_ray.training.photos import load_working_copy

SEED = 1
CELLS = 4  # at most, of a photograph that has several; each is an image besides the whole
FIRST_VIEWS, VIEWS = 8, 16  # of an image: itself, then copies; the first cycles of the training use FIRST_VIEWS
WORKING_SIDES = (200, 400)  # pixels of the longer side of an image before the edits: drawn in between
SECOND_EDIT = 0.2  # share of the copies that are copies of a copy

UNCHANGED = ("copy", "png", "progressive")  # edits that do not change an image; not used
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
"""Edits that are drawn twice as often as others."""

HARDEST = ("crop_strong", "screenshot", "sticker", "turn_strong")
"""Of those, the edits that are drawn five times as often as others in the later views."""

KINDS = [kind for kind in EDITS if kind not in UNCHANGED]


def _make_chances(hardest: float) -> DoubleArray:
    weights = np.array([hardest if kind in HARDEST else 2.0 if kind in HARD else 1.0 for kind in KINDS])
    chances: DoubleArray = weights / weights.sum()
    return chances


_FIRST, _LATER = _make_chances(2), _make_chances(5)


def make_views(path: Path, first: int = FIRST_VIEWS, later: int = VIEWS - FIRST_VIEWS) -> ByteArray:
    """Make the views of a photograph and of some of its cells; random, but determined by the photograph's pixels.

    Args:
        path: The photograph.
        first: Number of views of an image with the chances of the first views, itself among them.
        later: Number of views with the chances of the later ones, which follow.

    Returns:
        (images, first + later, 128, 128, 3) uint8, RGB.
    """
    photograph = load_working_copy(path, LONGEST_SIDE)
    seed = [SEED, zlib.crc32(photograph.tobytes())]
    rng, later_rng = np.random.default_rng(seed), np.random.default_rng([*seed, FIRST_VIEWS])
    parts = list(iter_cells(photograph))
    some = [parts[i] for i in rng.permutation(len(parts))[:CELLS]] if len(parts) > 1 else []
    images = []
    for image in (photograph, *some):
        side = int(rng.integers(*WORKING_SIDES, endpoint=True))
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        files = [encode(image, ORIGINAL_QUALITY)]
        files += _make_copies(image, first - 1, _FIRST, rng)
        files += _make_copies(image, later, _LATER, later_rng)
        with strict_pillow():
            views = [decode_bytes(data, (SIDE, SIDE), Limits(sys.maxsize), Fit(trim=True)).pixels for data in files]
        images.append(np.stack(views))
    return np.stack(images)


def _make_copies(image: Image.Image, number: int, chances: DoubleArray, rng: np.random.Generator) -> Iterator[bytes]:
    for kind in rng.choice(len(KINDS), number, replace=False, p=chances):
        yield _make_copy(image, KINDS[kind], chances, rng)


def _make_copy(image: Image.Image, kind: str, chances: DoubleArray, rng: np.random.Generator) -> bytes:
    if rng.random() < SECOND_EDIT:
        first = EDITS[KINDS[rng.choice(len(KINDS), p=chances)]](image, rng)
        with Image.open(io.BytesIO(first)) as opened:
            image = opened.convert("RGB")
    return EDITS[kind](image, rng)
