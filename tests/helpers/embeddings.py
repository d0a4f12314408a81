"""Embeddings that no image gave."""

import numpy as np


def unit_rows(n: int, d: int = 576, seed: int = 0) -> np.ndarray:
    """(n, d) float32 of length 1, in random directions."""
    return normalized(np.random.default_rng(seed).standard_normal((n, d)))


def normalized(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
