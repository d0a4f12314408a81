"""The methods of turi that faiss does not have as they are: a ball tree, and hashing with exact ranking."""

from pathlib import Path

import numpy as np

from fastdup_ray.neighbors.faiss_index import FaissIndex
from fastdup_ray.neighbors.metrics import COSINE

HASH_BITS = 1_024
"""Of each row; 128 candidates by them have 0.999 of the neighbours among 6,000 real pictures."""

HASH_CANDIDATES = 128
"""Rows of the most similar hashes that are compared themselves, for each neighbour up to a few."""

_TREE_METRIC = {
    COSINE: "euclidean",  # on rows of length 1 in the same order
    "euclidean": "euclidean",
    "squared_euclidean": "euclidean",
    "manhattan": "manhattan",
}


class _OverRows:
    """Searches the rows in its own way, and is stored as an exact faiss index."""

    name: str
    exact: bool
    unused = ()

    def __init__(self, d: int, threads: int, metric: str, why: str = "as asked"):
        self.n, self.d, self.metric, self.why, self._threads = 0, d, metric, why, threads

    def add(self, xb: np.ndarray) -> None:
        self._rows, self.n = xb, len(xb)

    def save(self, path: Path) -> None:
        flat = FaissIndex("Flat", self.d, {}, self._threads, self.metric)
        flat.add(self._rows)
        flat.save(path)

    def to_gpu(self, k: int) -> None:
        self.why += "; searched on the CPU: turi has nothing on the GPU"


class BallTree(_OverRows):
    """scikit-learn's ball tree: exact, but for the cosine to rows of zeros."""

    name = "ball_tree"
    exact = True

    def add(self, xb: np.ndarray) -> None:
        from sklearn.neighbors import NearestNeighbors  # takes a second: not for every run

        super().add(xb)
        self.exact = self.metric != COSINE or bool(xb.any(axis=1).all())
        tree = NearestNeighbors(algorithm="ball_tree", metric=_TREE_METRIC[self.metric], n_jobs=self._threads)
        self._tree = tree.fit(xb)

    def candidates(self, k: int) -> int:
        return k

    def search(self, xq: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return self._tree.kneighbors(xq, min(k, self.n))


class Lsh(_OverRows):
    """Locality sensitive hashing: on which side of seeded random planes a row lies."""

    name = "lsh"
    exact = False

    def add(self, xb: np.ndarray) -> None:
        import faiss

        super().add(xb)
        self._hashes = faiss.IndexLSH(self.d, HASH_BITS, True, False)
        faiss.omp_set_num_threads(1)  # the rotation of the rows is the same in any run
        self._hashes.train(xb)
        self._hashes.add(np.ascontiguousarray(xb, np.float32))

    def candidates(self, k: int) -> int:
        return max(8 * k, HASH_CANDIDATES)

    def search(self, xq: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        faiss.omp_set_num_threads(self._threads)
        return self._hashes.search(np.ascontiguousarray(xq, np.float32), k)
