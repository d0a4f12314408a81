"""A faiss index `Flat` of any number of rows, written in little memory."""

from collections.abc import Iterable
from pathlib import Path

import faiss
import numpy as np

from fastdup_ray.neighbors.faiss_factory import FAISS_METRIC


def write_flat(path: Path, n: int, d: int, metric: str, blocks: Iterable[np.ndarray]) -> None:
    """The file that faiss writes of an `IndexFlat` of n rows, which come in blocks, (b, d) float32 each.

    Source: faiss/impl/index_write.cpp: the header (d, n, two numbers that are not used, ...), how many numbers of 4
    bytes follow, and these.
    """
    none = faiss.serialize_index(faiss.index_factory(d, "Flat", FAISS_METRIC[metric])).tobytes()
    head = bytearray(none)
    head[8:16] = np.int64(n).tobytes()
    head[-8:] = np.uint64(n * d).tobytes()
    with open(path, "wb") as file:
        file.write(head)
        for block in blocks:
            file.write(np.ascontiguousarray(block, "<f4"))
