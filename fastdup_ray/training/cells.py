"""Cells of a photograph: disjoint crops that share scene, light and texture, and are not duplicates of each other."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

CELL_SIDE = 200
"""Least pixels a side of a cell."""

LONGEST_SIDE = 2400
"""Pixels to which the longer side of a larger photograph is to be reduced first."""

MOST_CELLS = 48
LEAST_DEVIATION, LEAST_DETAIL = 18, 6
"""Standard deviation of gray levels over a cell, and its mean over 16 parts: with less a cell cannot be recognized."""


def iter_cells(photograph: Image.Image, side: int = CELL_SIDE, most: int = MOST_CELLS) -> Iterator[Image.Image]:
    """Yield the cells of a grid over a photograph that have enough detail, each at least `side` pixels a side."""
    columns, rows = (max(1, length // side) for length in photograph.size)
    while columns * rows > most:
        columns, rows = (columns - 1, rows) if columns >= rows else (columns, rows - 1)
    across, down = (
        np.linspace(0, length, n + 1).astype(int).tolist()
        for length, n in zip(photograph.size, (columns, rows), strict=True)
    )
    for row in range(rows):
        for column in range(columns):
            cell = photograph.crop((across[column], down[row], across[column + 1], down[row + 1]))
            if has_detail(cell):
                yield cell


def has_detail(image: Image.Image) -> bool:
    gray = np.asarray(image.convert("L").resize((64, 64)), np.float32)
    detail = gray.reshape(4, 16, 4, 16).std((1, 3)).mean()
    return bool(gray.std() >= LEAST_DEVIATION and detail >= LEAST_DETAIL)
