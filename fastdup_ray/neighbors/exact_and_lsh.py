"""The methods of turi that faiss does not have as they are: a ball tree, and hashing with exact ranking."""

import numpy as np

from fastdup_ray.neighbors.flat_stored import FlatStored
from fastdup_ray.neighbors.metrics import COSINE, MANHATTAN

HASH_BITS = 1_024
"""Of each row; 128 candidates by them have 0.999 of the neighbours among 6,000 real pictures."""

HASH_CANDIDATES = 128
"""Rows of the most similar hashes that are compared themselves, for each neighbour up to a few."""

_TREE_METRIC = {
    COSINE: "euclidean",  # on rows of length 1 in the same order
    "euclidean": "euclidean",
    "squared_euclidean": "euclidean",
    MANHATTAN: "manhattan",
}


class BallTree(FlatStored):
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


class Lsh(FlatStored):
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
