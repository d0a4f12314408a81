"""The methods of the turi provider that are not plain faiss indexes: a ball tree, and hashing with exact ranking."""

import numpy as np

from fastdup_ray.common.arrays import AnyArray, FloatArray, IntArray
from fastdup_ray.neighbors.flat_stored import FlatStored
from fastdup_ray.neighbors.metrics import COSINE, MANHATTAN

HASH_BITS = 1_024
"""Bits of a hash. With these, 128 candidates hold 0.999 of the neighbors among 6,000 photos."""

HASH_CANDIDATES = 128
"""Least number of candidates for each query: the images with the most similar hashes."""

_TREE_METRIC = {
    COSINE: "euclidean",  # ranks embeddings of unit length in the same order
    "euclidean": "euclidean",
    "squared_euclidean": "euclidean",
    MANHATTAN: "manhattan",
}


class BallTree(FlatStored):
    """A ball tree of scikit-learn. Exact, unless the metric is the cosine and an embedding is all zeros."""

    name = "ball_tree"
    exact = True

    def add(self, xb: FloatArray) -> None:
        from sklearn.neighbors import NearestNeighbors  # takes a second to import, and few runs need it

        super().add(xb)
        self.exact = self.metric != COSINE or bool(xb.any(axis=1).all())
        tree = NearestNeighbors(algorithm="ball_tree", metric=_TREE_METRIC[self.metric], n_jobs=self._threads)
        self._tree = tree.fit(xb)

    def candidates(self, k: int) -> int:
        return k

    def search(self, xq: FloatArray, k: int) -> tuple[AnyArray, IntArray]:
        values, indices = self._tree.kneighbors(xq, min(k, self.n))
        return values, indices


class Lsh(FlatStored):
    """Locality-sensitive hashing: a bit says on which side of a random plane, with a fixed seed, an embedding is."""

    name = "lsh"
    exact = False

    def add(self, xb: FloatArray) -> None:
        import faiss

        super().add(xb)
        self._hashes = faiss.IndexLSH(self.d, HASH_BITS, True, False)  # noqa: FBT003 (faiss takes no keywords)
        faiss.omp_set_num_threads(1)  # so that each run rotates the embeddings to the same bits
        self._hashes.train(xb)
        self._hashes.add(np.ascontiguousarray(xb, np.float32))

    def candidates(self, k: int) -> int:
        return max(8 * k, HASH_CANDIDATES)

    def search(self, xq: FloatArray, k: int) -> tuple[AnyArray, IntArray]:
        import faiss

        faiss.omp_set_num_threads(self._threads)
        values, indices = self._hashes.search(np.ascontiguousarray(xq, np.float32), k)
        return values, indices
