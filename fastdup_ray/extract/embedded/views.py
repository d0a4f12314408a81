"""What the training sees of a photograph: its pictures, each as it is and by edits, as the model gets them."""

import io
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fastdup_ray.extract.decode import careful_pillow, decode
from fastdup_ray.extract.embedded.cells import LONGEST_SIDE, cells
from fastdup_ray.extract.embedded.edits import EDITS, ORIGINAL_QUALITY, encode
from fastdup_ray.extract.embedded.photos import working_copy
from fastdup_ray.extract.model import SIDE
from fastdup_ray.records import Limits

SEED = 1
CELLS = 4  # of a photograph that has several; each is a picture of its own, beside the whole
VIEWS = 8  # of a picture: itself first, then copies
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

KINDS = [kind for kind in EDITS if kind not in UNCHANGED]
_CHANCES = np.array([2.0 if kind in HARD else 1.0 for kind in KINDS])
_CHANCES /= _CHANCES.sum()


class Views(NamedTuple):
    """Of the pictures of one photograph. pixels: (pictures, VIEWS, 128, 128, 3) uint8, RGB.

    kinds: (pictures, VIEWS) numbers of the (last) edit in KINDS, -1 for none.
    """

    pixels: np.ndarray
    kinds: np.ndarray


def views_of(path: Path) -> Views:
    """Those of the whole photograph and of some of its cells; drawn by its pixels, whatever else is drawn."""
    photograph = working_copy(path, LONGEST_SIDE)
    rng = np.random.default_rng([SEED, zlib.crc32(photograph.tobytes())])
    parts = list(cells(photograph))
    some = [parts[i] for i in rng.permutation(len(parts))[:CELLS]] if len(parts) > 1 else []
    pictures = [_views(picture, rng) for picture in (photograph, *some)]
    return Views(*map(np.stack, zip(*pictures, strict=True)))


def _views(picture: Image.Image, rng: np.random.Generator) -> Views:
    side = int(rng.integers(*WORKING_SIDES, endpoint=True))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    kinds = rng.choice(len(KINDS), VIEWS - 1, replace=False, p=_CHANCES)
    files = [encode(picture, ORIGINAL_QUALITY), *(_copy(picture, int(kind), rng) for kind in kinds)]
    with careful_pillow():
        pixels = np.stack([decode(data, (SIDE, SIDE), Limits(sys.maxsize), trim=True).pixels for data in files])
    return Views(pixels, np.array([-1, *kinds], np.int8))


def _copy(picture: Image.Image, kind: int, rng: np.random.Generator) -> bytes:
    if rng.random() < SECOND_EDIT:
        first = EDITS[KINDS[rng.choice(len(KINDS), p=_CHANCES)]](picture, rng)
        with Image.open(io.BytesIO(first)) as opened:
            picture = opened.convert("RGB")
    return EDITS[KINDS[kind]](picture, rng)
