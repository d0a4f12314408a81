"""Products of embeddings in 8-bit integers. They select candidates, which are then ranked by the embeddings themselves.

A processor with VNNI or AMX multiplies small integers several times faster than floats.
"""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from fastdup_ray.common.arrays import AnyArray, DoubleArray, FloatArray, IntArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

GRAPH = "eight_bit.onnx"
"""Graph with the inputs a (m, d) uint8 and b (n, d) int8. It returns the products (a - ZERO) · b of all rows, (m, n)
int32. `int8_graph` builds it."""

ZERO = 64
"""Stands for 0 in the left factor."""

LEVELS = 126
"""Levels on either side of 0. The left factor has half as many, 7 bits, so that the sum of two products fits into 16
bits; processors without VNNI add them in 16 bits, and so get the same result as all others."""

MOST_ROUNDED = 2.5
"""Six standard deviations of the error of a product, divided by the scale: in units of the scale, that of the halves is
0.38 and that of the right factor 0.14."""

BLOCK = 256
"""Embeddings that are quantized at a time: more would not fit into the caches."""

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]


Cosine = TypeVar("Cosine", float, DoubleArray)


class Quantized(Protocol):
    """Embeddings in 8-bit integers: an array, (n, d) int8, or a `QuantizedView`."""

    def __len__(self) -> int:
        """Return n."""

    def __getitem__(self, indices: IntArray) -> Int8Array:
        """Return the embeddings with these indices, (m, d) int8."""


class Quantizer:
    """Turns embeddings into 8-bit integers, on a scale that fits some of them.

    Args:
        embeddings: Arrays, (n, d) float32. The largest of all numbers gets `LEVELS`, and so do larger ones of others.
    """

    def __init__(self, *embeddings: FloatArray) -> None:
        blocks = (array[start : start + BLOCK] for array in embeddings for start in range(0, len(array), BLOCK))
        largest = max((float(np.abs(block).max()) for block in blocks), default=0)
        self._scale = LEVELS / (largest or 1.0)

    def quantize(self, embeddings: FloatArray) -> Int8Array:
        """Quantize embeddings, (m, d) float32, to (m, d) int8."""
        quantized = np.empty(embeddings.shape, np.int8)
        for start in range(0, len(embeddings), BLOCK):
            block = slice(start, start + BLOCK)
            scaled = embeddings[block] * np.float32(self._scale)
            np.rint(scaled, out=scaled)
            quantized[block] = np.clip(scaled, -LEVELS, LEVELS, out=scaled)
        return quantized

    def to_product(self, cosine: Cosine) -> Cosine:
        """Return about what `multiply` returns for two embeddings of unit length with this cosine, or these cosines."""
        return cosine * (self._scale**2 / 2)

    def bound_errors(self, embeddings: FloatArray) -> DoubleArray:
        """Return how far from that it may be at most, whatever they are multiplied with.

        Args:
            embeddings: (m, d) float32 of unit length, the left factors. No number of the factors is larger than those
                that the scale fits.

        Returns:
            (m,) float64.
        """
        halves = _halve(self.quantize(embeddings)).astype(np.float64) - ZERO
        lost = np.linalg.norm(halves - embeddings * (self._scale / 2), axis=1)
        bounds: DoubleArray = lost * self._scale + np.linalg.norm(halves, axis=1) * 0.5 * embeddings.shape[1] ** 0.5
        return bounds

    def to_least_products(self, cosines: FloatArray) -> DoubleArray:
        """Return products that are below those of embeddings of unit length with these cosines, whatever was rounded.

        Args:
            cosines: (m,) float32.

        Returns:
            (m,) float64.
        """
        least: DoubleArray = cosines.astype(np.float64) * self._scale**2 / 2 - MOST_ROUNDED * self._scale
        return least


class QuantizedView:
    """Embeddings that are quantized each time they are read, so that they need not be held in 8 bits, too.

    Args:
        embeddings: (n, d) float32.
        quantizer: What quantizes them.
    """

    def __init__(self, embeddings: FloatArray, quantizer: Quantizer) -> None:
        self._embeddings, self._quantizer = embeddings, quantizer

    def __len__(self) -> int:
        return len(self._embeddings)

    def __getitem__(self, indices: IntArray) -> Int8Array:
        return self._quantizer.quantize(self._embeddings[indices])


def multiply(a: Int8Array, b: Int8Array) -> Int32Array:
    """Multiply quantized embeddings on one thread.

    Args:
        a: (m, d) int8, of which half is taken.
        b: (n, d) int8.

    Returns:
        (m, n) int32.
    """
    products: Int32Array = _open_session().run(None, {"a": _halve(a), "b": b})[0]
    return products


def _halve(quantized: Int8Array) -> AnyArray:
    """Return half of each number, plus `ZERO`, as uint8. Halves are rounded to even numbers: there is no bias."""
    half = quantized >> 1
    half &= 1
    half += quantized
    half >>= 1
    half += ZERO
    return half.view(np.uint8)


@cache
def _open_session() -> "InferenceSession":
    import onnxruntime  # takes a fifth of a second to import, and not every run needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = files("fastdup_ray.neighbors").joinpath(GRAPH).read_bytes()
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
