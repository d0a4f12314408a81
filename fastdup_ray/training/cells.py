"""Disjoint cells of a photograph: pictures of one scene, one light and one texture that are not copies."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

CELL_SIDE = 200
"""Pixels that a cell has at least."""

LONGEST_SIDE = 2400
"""What larger photographs are to be shrunk to first."""

MOST_CELLS = 48
LEAST_DEVIATION, LEAST_DETAIL = 18, 6
"""Of grey levels over a cell, and on average over its sixteenths: with less there is nothing to tell it by."""


def cells(photograph: Image.Image, side: int = CELL_SIDE, most: int = MOST_CELLS) -> Iterator[Image.Image]:
    """The cells of a grid over the photograph that show something, each at least `side` pixels a side."""
    columns, rows = (max(1, length // side) for length in photograph.size)
    while columns * rows > most:
        columns, rows = (columns - 1, rows) if columns >= rows else (columns, rows - 1)
    across, down = (
        np.linspace(0, length, n + 1).astype(int) for length, n in zip(photograph.size, (columns, rows), strict=True)
    )
    for row in range(rows):
        for column in range(columns):
            cell = photograph.crop((across[column], down[row], across[column + 1], down[row + 1]))
            if shows_something(cell):
                yield cell


def shows_something(picture: Image.Image) -> bool:
    grey = np.asarray(picture.convert("L").resize((64, 64)), np.float32)
    detail = grey.reshape(4, 16, 4, 16).std((1, 3)).mean()
    return grey.std() >= LEAST_DEVIATION and detail >= LEAST_DETAIL
