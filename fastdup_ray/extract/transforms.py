"""Embeddings of mirrored and rotated images."""

from collections.abc import Callable, Sequence

import numpy as np

from fastdup_ray.common.arrays import ByteArray, FloatArray
from fastdup_ray.extract.embedding_buffer import Embedder
from fastdup_ray.parameter_types import Invariance

TRANSFORMS: dict[str, Callable[[ByteArray], ByteArray]] = {
    "flip_left_right": lambda pixels: pixels[:, :, ::-1],
    "flip_top_bottom": lambda pixels: pixels[:, ::-1],
    "rotate_90": lambda pixels: np.rot90(pixels, 1, (1, 2)),
    "rotate_180": lambda pixels: np.rot90(pixels, 2, (1, 2)),
    "rotate_270": lambda pixels: np.rot90(pixels, 3, (1, 2)),
    "transpose": lambda pixels: pixels.swapaxes(1, 2),
    "transverse": lambda pixels: pixels[:, ::-1, ::-1].swapaxes(1, 2),
}
"""Functions of (n, height, width, 3) images. Names and directions are those of `PIL.Image.Transpose`: rotations run
counterclockwise."""

_FLIPS = ("flip_left_right", "flip_top_bottom")
_ROTATIONS = ("rotate_90", "rotate_180", "rotate_270")


def select_transforms(invariant: Sequence[Invariance]) -> tuple[str, ...]:
    """Return the names in `TRANSFORMS` for a value of `invariant`; flips and rotations together make all seven."""
    if {*invariant} == {"flip", "rotate"}:
        return tuple(TRANSFORMS)
    return (*(_FLIPS if "flip" in invariant else ()), *(_ROTATIONS if "rotate" in invariant else ()))


class TransformedEmbedder:
    """An `Embedder` that concatenates the embeddings of several transforms of an image, without the image itself.

    Args:
        model: Computes the embedding of each transform.
        transforms: Names in `TRANSFORMS`.

    Attributes:
        dimensions: Those of the model times the number of transforms.
    """

    def __init__(self, model: Embedder, transforms: Sequence[str]) -> None:
        self.dimensions = len(transforms) * model.dimensions
        self._model, self._transforms = model, [TRANSFORMS[name] for name in transforms]

    def embed(self, pixels: ByteArray) -> FloatArray:
        """Return (n, dimensions) float32 for (n, side, side, 3) uint8 images."""
        return np.concatenate([self._model.embed(transform(pixels)) for transform in self._transforms], axis=1)
