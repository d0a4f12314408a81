"""Pictures mirrored and turned, and the rows of all these views side by side."""

from collections.abc import Callable, Sequence

import numpy as np

from fastdup_ray.extract.embedding_buffer import Embedder
from fastdup_ray.parameters import Invariance

TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flip_left_right": lambda pixels: pixels[:, :, ::-1],
    "flip_top_bottom": lambda pixels: pixels[:, ::-1],
    "rotate_90": lambda pixels: np.rot90(pixels, 1, (1, 2)),
    "rotate_180": lambda pixels: np.rot90(pixels, 2, (1, 2)),
    "rotate_270": lambda pixels: np.rot90(pixels, 3, (1, 2)),
    "transpose": lambda pixels: pixels.swapaxes(1, 2),
    "transverse": lambda pixels: pixels[:, ::-1, ::-1].swapaxes(1, 2),
}
"""Of (n, height, width, 3) pictures, under the names of `PIL.Image.Transpose`: turns run counterclockwise."""

_FLIPS = ("flip_left_right", "flip_top_bottom")
_ROTATIONS = ("rotate_90", "rotate_180", "rotate_270")


def select_transforms(invariant: Sequence[Invariance]) -> tuple[str, ...]:
    """Those of `TURNS` that are asked for; flips and rotations together make all seven."""
    if {*invariant} == {"flip", "rotate"}:
        return tuple(TRANSFORMS)
    return (*(_FLIPS if "flip" in invariant else ()), *(_ROTATIONS if "rotate" in invariant else ()))


class TransformedEmbedder:
    """Makes of each picture one row: those of its turns, one after the other."""

    def __init__(self, model: Embedder, turns: Sequence[str]):
        self.dimensions = len(turns) * model.dimensions
        self._model, self._turns = model, [TRANSFORMS[turn] for turn in turns]

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """(n, side, side, 3) uint8 -> (n, dimensions) float32."""
        return np.concatenate([self._model.embed(turn(pixels)) for turn in self._turns], axis=1)
