"""The pictures of the fit, each with copies of it, as what the untrained part of the network makes of them."""

import io
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from fastdup_ray.extract.decode import careful_pillow, decode
from fastdup_ray.extract.embedded.cells import LONGEST_SIDE, cells
from fastdup_ray.extract.embedded.edits import EDITS, MILD, ORIGINAL_QUALITY, encode
from fastdup_ray.extract.embedded.network import Front, pretrained_weights
from fastdup_ray.extract.embedded.photos import WORKING_SIDE, working_copy
from fastdup_ray.extract.model import SIDE
from fastdup_ray.records import Limits

SEED = 2
CELL_SIDE, MOST_CELLS = 160, 80
CELLS = 8  # of a photograph that has several; each is a picture of its own, beside the whole
COPIES = 7  # of a picture, each by another edit
TWICE = 0.25  # of the copies are edited again, mildly
UNCHANGED = ("copy", "png", "progressive")  # teach nothing
HARD = (
    "crop_medium",
    "crop_strong",
    "grey",
    "letterbox",
    "mirror",
    "print_and_scan",
    "screenshot",
    "sticker",
    "text_bar",
    "turn_strong",
)
"""Drawn twice as often."""

KINDS = [kind for kind in EDITS if kind not in UNCHANGED]
_ODDS = np.array([2.0 if kind in HARD else 1.0 for kind in KINDS])


class Copies(NamedTuple):
    """g pictures, each with m - 1 copies after it. maps, shallow, thumbnails: (g, m, ...) of `Front`.

    photograph: (g,) which one it is of. whole: (g,) bool, whether it is all of a photograph whose cells are there too.
    """

    maps: np.ndarray
    shallow: np.ndarray
    thumbnails: np.ndarray
    photograph: np.ndarray
    whole: np.ndarray

    def rows(self, groups: np.ndarray, members: np.ndarray) -> tuple[torch.Tensor, ...]:
        """What `Head` takes of members (k, v) of groups (k,), as k * v rows."""
        at = groups[:, None], members
        return tuple(torch.from_numpy(block[at]).float().flatten(0, 1) for block in self[:3])


def make_copies(photographs: Sequence[Path], jobs: int) -> Copies:
    with ProcessPoolExecutor(jobs, initializer=_Worker.start) as pool:
        made = list(pool.map(_of_photograph, photographs, chunksize=2))
    counts = [len(maps) for maps, _, _ in made]
    blocks = (np.concatenate(parts) for parts in zip(*made, strict=True))
    whole = np.concatenate([np.arange(n) == (0 if n > 1 else -1) for n in counts])
    return Copies(*blocks, np.repeat(np.arange(len(counts)), counts), whole)


class _Worker:
    """What each process has."""

    front: Front

    @classmethod
    def start(cls) -> None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        cls.front = Front(pretrained_weights()).eval()


@torch.inference_mode()
def _of_photograph(path: Path) -> tuple[np.ndarray, ...]:
    """The blocks, (pictures, 1 + COPIES, ...), of the whole and of some of its cells."""
    photograph = working_copy(path, LONGEST_SIDE)
    rng = np.random.default_rng([SEED, zlib.crc32(photograph.tobytes())])
    parts = list(cells(photograph, CELL_SIDE, MOST_CELLS))
    some = [parts[i] for i in rng.permutation(len(parts))[:CELLS]] if len(parts) > 1 else []
    groups = [_Worker.front(_pixels(_files(picture, rng))) for picture in (photograph, *some)]
    maps, shallow, thumbnails = (torch.stack(blocks).numpy() for blocks in zip(*groups, strict=True))
    return maps.astype(np.float16), shallow, thumbnails


def _files(picture: Image.Image, rng: np.random.Generator) -> list[bytes]:
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS)
    files = [encode(picture, ORIGINAL_QUALITY)]
    for kind in rng.choice(KINDS, COPIES, replace=False, p=_ODDS / _ODDS.sum()):
        data = EDITS[str(kind)](picture, rng)
        if rng.random() < TWICE:
            data = EDITS[str(rng.choice(MILD))](Image.open(io.BytesIO(data)).convert("RGB"), rng)
        files.append(data)
    return files


def _pixels(files: list[bytes]) -> torch.Tensor:
    with careful_pillow():
        decoded = [decode(data, (SIDE, SIDE), Limits(sys.maxsize), trim=True).pixels for data in files]
    return torch.from_numpy(np.stack(decoded))
