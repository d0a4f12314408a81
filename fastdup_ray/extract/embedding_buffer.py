"""Embeddings of a sequence of images, computed in batches."""

from typing import Protocol

import numpy as np

from fastdup_ray.common.arrays import ByteArray, FloatArray
from fastdup_ray.extract.model import BATCH


class Embedder(Protocol):
    """What turns pixels into embeddings: a model, or a wrapper around one.

    Attributes:
        dimensions: Numbers in an embedding.
    """

    dimensions: int

    def embed(self, pixels: ByteArray) -> FloatArray:
        """Return the embeddings of images.

        Args:
            pixels: (n, height, width, 3) uint8, RGB.

        Returns:
            (n, dimensions) float32.
        """


class EmbeddingBuffer:
    """Embeddings of the images that were added, in their order.

    Images are embedded as soon as there is a batch of them: the pixels of a long video do not fit into memory.

    Args:
        embedder: Computes the embeddings.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._pixels: list[ByteArray] = []
        self._counts: list[int] = []
        self._blocks = [np.empty((0, embedder.dimensions), np.float32)]

    def __len__(self) -> int:
        return sum(map(len, self._blocks)) + sum(self._counts)

    def add(self, pixels: ByteArray) -> None:
        """Add an image.

        The same array object as in the last call, such as a frame that a video shows for hours, is not embedded again.

        Args:
            pixels: (height, width, 3) uint8, RGB.
        """
        if self._pixels and pixels is self._pixels[-1]:
            self._counts[-1] += 1
            return
        if len(self._pixels) == BATCH:
            self._embed_pending()
        self._pixels.append(pixels)
        self._counts.append(1)

    def take(self, n: int) -> FloatArray:
        """Return the first `n` embeddings, (n, d) float32, and drop all that follow."""
        if self._pixels:
            self._embed_pending()
        embeddings = np.concatenate(self._blocks)[:n]
        self._blocks = [embeddings]
        return embeddings

    def _embed_pending(self) -> None:
        self._blocks.append(np.repeat(self._embedder.embed(np.stack(self._pixels)), self._counts, axis=0))
        self._pixels, self._counts = [], []
