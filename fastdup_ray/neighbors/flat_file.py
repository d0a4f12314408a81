"""Write a faiss index `Flat` of any number of embeddings in little memory."""

from collections.abc import Iterable
from pathlib import Path

import faiss
import numpy as np

from fastdup_ray.common.arrays import FloatArray
from fastdup_ray.neighbors.faiss_factory import FAISS_METRIC


def write_flat(path: Path, n: int, d: int, metric: str, blocks: Iterable[FloatArray]) -> None:
    """Write the file that faiss writes of an `IndexFlat`.

    The format is that of faiss/impl/index_write.cpp: a header (d, n, two unused numbers, ...), the count of the 4-byte
    numbers that follow, and these numbers.

    Args:
        path: File to write.
        n: Number of embeddings.
        d: Length of an embedding.
        metric: Metric of the index.
        blocks: The embeddings in order, (b, d) float32 each.
    """
    empty = faiss.serialize_index(faiss.index_factory(d, "Flat", FAISS_METRIC[metric])).tobytes()
    header = bytearray(empty)
    header[8:16] = np.int64(n).tobytes()
    header[-8:] = np.uint64(n * d).tobytes()
    with open(path, "wb") as file:
        file.write(header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, "<f4").data)
