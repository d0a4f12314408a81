"""Rows are collected in batches, in their order, and what is the same array costs its work once."""

import numpy as np

from fastdup_ray.extract.embedding_buffer import EmbeddingBuffer
from fastdup_ray.extract.model import BATCH


class Maker:
    """Rows that say the value of their pixels."""

    dimensions = 2

    def __init__(self) -> None:
        self.made = 0

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        self.made += len(pixels)
        return np.repeat(pixels.reshape(len(pixels), -1)[:, :1], 2, axis=1).astype(np.float32)


def image(value: int) -> np.ndarray:
    return np.full((4, 4, 3), value, np.uint8)


def test_a_frame_that_is_shown_for_a_day_costs_the_work_of_one():
    maker = Maker()
    rows, images = EmbeddingBuffer(maker), [image(value) for value in range(2 * BATCH + 3)]
    times = [100_000 if place in (0, BATCH - 1, BATCH) else 1 for place in range(len(images))]
    for shown, count in zip(images, times, strict=True):
        for _ in range(count):
            rows.add(shown)
    assert len(rows) == sum(times)
    assert maker.made <= len(images)
    assert np.array_equal(rows.take(len(rows))[:, 0], np.repeat(np.arange(len(images)), times))


def test_what_was_added_after_the_first_rows_is_forgotten():
    rows, shown = EmbeddingBuffer(Maker()), image(7)
    rows.add(image(1))
    for _ in range(3):
        rows.add(shown)
    assert rows.take(2)[:, 0].tolist() == [1, 7]
    assert len(rows) == 2
    rows.add(shown)
    assert rows.take(3)[:, 0].tolist() == [1, 7, 7]
