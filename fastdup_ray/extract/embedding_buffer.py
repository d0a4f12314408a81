"""Rows of features, collected: from pixels to rows by batches."""

from typing import Protocol

import numpy as np

from fastdup_ray.extract.model import BATCH


class Embedder(Protocol):
    """What makes rows: a model, or who feeds one."""

    dimensions: int

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8 -> (n, dimensions) float32."""


class EmbeddingBuffer:
    """Rows of features, made as soon as there are pixels for a batch: those of a long video never fit into memory."""

    def __init__(self, maker: Embedder):
        self._maker = maker
        self._pixels: list[np.ndarray] = []
        self._counts: list[int] = []
        self._blocks = [np.empty((0, maker.dimensions), np.float32)]

    def __len__(self) -> int:
        return sum(map(len, self._blocks)) + sum(self._counts)

    def add(self, pixels: np.ndarray) -> None:
        """Add a row. The same array as before, such as a frame that a video shows for hours, costs no more work."""
        if self._pixels and pixels is self._pixels[-1]:
            self._counts[-1] += 1
            return
        if len(self._pixels) == BATCH:
            self._embed_pending()
        self._pixels.append(pixels)
        self._counts.append(1)

    def take(self, n: int) -> np.ndarray:
        """(n, d) float32; what was added after them is forgotten."""
        if self._pixels:
            self._embed_pending()
        rows = np.concatenate(self._blocks)[:n]
        self._blocks = [rows]
        return rows

    def _embed_pending(self) -> None:
        self._blocks.append(np.repeat(self._maker.embed(np.stack(self._pixels)), self._counts, axis=0))
        self._pixels, self._counts = [], []
