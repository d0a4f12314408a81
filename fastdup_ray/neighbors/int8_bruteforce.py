"""Brute-force search in 8-bit integers: all against all, with nearly the same result as the exact search.

The products only select the candidates, which `search` then ranks by the embeddings themselves.
"""

import numpy as np

from fastdup_ray.common.arrays import AnyArray, FloatArray, IntArray
from fastdup_ray.neighbors.all_pairs import compare_all, split
from fastdup_ray.neighbors.candidate_lists import CandidateLists
from fastdup_ray.neighbors.flat_stored import FlatStored
from fastdup_ray.neighbors.int8_products import Quantizer, multiply
from fastdup_ray.system.threads import map_threads

SPARE = 7
"""Candidates beyond k. With 4, all neighbors among 20,000 photos were found."""


class Int8Index(FlatStored):
    """An index for the cosine, and for metrics that rank embeddings of unit length as the cosine does."""

    name = "Flat, 8 bits"
    exact = False

    def add(self, xb: FloatArray) -> None:
        super().add(xb)
        self._quantizer = Quantizer(xb)
        self._quantized = self._quantizer.quantize(xb)

    def candidates(self, k: int) -> int:
        return k + SPARE

    def search(self, xq: FloatArray, k: int) -> tuple[AnyArray, IntArray]:
        """Return integer products and indices, (m, k) or fewer columns, the best first."""
        queries, lists = self._quantizer.quantize(xq), CandidateLists(len(xq), min(k, self.n))
        parts = split(np.arange(self.n))

        def search_part(own: IntArray) -> None:
            for part in parts:
                lists.update(own, multiply(queries[own], self._quantized[part]), part)

        map_threads(self._threads, search_part, split(np.arange(len(xq))))
        return lists.get_products(k), lists.get_indices().astype(np.int64)

    def search_within(self, k: int) -> IntArray:
        """Compare each embedding with each other one once: half the work of `search`."""
        lists = CandidateLists(self.n, min(k, self.n - 1))
        compare_all(self._quantized, lists, self._threads)
        return lists.get_indices().astype(np.int64)
