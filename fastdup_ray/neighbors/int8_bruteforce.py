"""All rows against all in whole numbers of 8 bits: a fifth of the time of the exact search, and all but its result.

Products of small whole numbers cost a processor with VNNI or AMX a fraction of those of floats. What comes out is only
used to pick candidates, which `search` then ranks by the rows themselves.
"""

from importlib.resources import files

import numpy as np

from fastdup_ray.neighbors.flat_stored import FlatStored

GRAPH = "eight_bit.onnx"
"""a (m, d) uint8, b (d, n) int8, k (1,) int64 -> the k largest of (a - ZERO) · b in each row, and their columns."""

ZERO = 64
"""What stands for 0 in a query."""

QUERY_LEVELS = 63
"""On either side of 0: with 7 bits, sums of two products fit into 16 bits, so that processors without VNNI, which add
them up there, come to the same result as all others."""

LEVELS = 127

ROWS, COLUMNS = 1_024, 4_096
"""Of the products at a time: 16 MB. Larger blocks leave the caches of a processor."""

SPARE = 7
"""Candidates beyond those asked for. With 4, all of the neighbours among 20,000 real pictures were found."""


class Int8Index(FlatStored):
    """Rows of length 1 by the cosine, or what ranks them as the cosine does."""

    name = "Flat, 8 bits"
    exact = False

    def add(self, xb: np.ndarray) -> None:
        import onnxruntime  # takes a fifth of a second: only for who needs it

        super().add(xb)
        self._largest = max(
            (float(np.abs(xb[start : start + COLUMNS]).max()) for start in self._plan_parts()), default=1.0
        )
        self._columns = [self._quantize(xb[start : start + COLUMNS], LEVELS).T.copy() for start in self._plan_parts()]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        graph = files("fastdup_ray.neighbors").joinpath(GRAPH).read_bytes()
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def candidates(self, k: int) -> int:
        return k + SPARE

    def search(self, xq: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """D are the products of the whole numbers; rows in no order, -1 where there are fewer than k."""
        parts = [self._search(xq[start : start + ROWS], k) for start in range(0, len(xq), ROWS)]
        return tuple(map(np.concatenate, zip(*parts, strict=True)))  # type: ignore[return-value]

    def _search(self, xq: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        a = (self._quantize(xq, QUERY_LEVELS) + ZERO).astype(np.uint8)
        values, rows = [], []
        for start, b in zip(self._plan_parts(), self._columns, strict=True):
            found = self._session.run(None, {"a": a, "b": b, "k": np.array([min(k, b.shape[1])], np.int64)})
            values.append(found[0])
            rows.append(found[1] + start)
        value, row = np.concatenate(values, axis=1), np.concatenate(rows, axis=1)
        if k < value.shape[1]:
            best = np.argpartition(-value, k - 1, axis=1)[:, :k]
            value, row = np.take_along_axis(value, best, 1), np.take_along_axis(row, best, 1)
        return value, row

    def _plan_parts(self) -> range:
        return range(0, self.n, COLUMNS)

    def _quantize(self, rows: np.ndarray, levels: int) -> np.ndarray:
        """int8; what is larger than anything in the index is taken to be as large."""
        scale = levels / (self._largest or 1.0)
        return np.clip(np.rint(rows * np.float32(scale)), -levels, levels).astype(np.int8)
