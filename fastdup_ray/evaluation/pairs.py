"""Histograms of the similarities of all pairs. Their size does not depend on the number of images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fastdup_ray.common.arrays import DoubleArray, FloatArray, IntArray

STEPS = 1_000_000
"""Bins per unit of similarity: similarities are written with six decimals."""

ORIGINAL, UNKNOWN = -1, -2
"""Numbers for images that were not edited, and for those of which it is not known."""

PAIRS_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class PairCounts:
    """Similarities of all pairs, in counts. Bin i is for the similarity i / `STEPS` - 1.

    Attributes:
        same: (2 · `STEPS` + 1,) int64, pairs of one group.
        other: (2 · `STEPS` + 1,) int64, all other pairs.
        kinds: (m,) int64, the kind of edit of each pair of an edited image and an original of its group.
        bins: (m,) int64, the bin of each of these pairs.
    """

    same: IntArray
    other: IntArray
    kinds: IntArray
    bins: IntArray


def find_bin(similarity: float | FloatArray | DoubleArray) -> npt.NDArray[np.intp]:
    """Return the bin of a similarity, or of each of an array, in the arrays of `PairCounts`."""
    bins: npt.NDArray[np.intp] = np.rint(np.asarray(similarity) * STEPS).clip(-STEPS, STEPS).astype(np.intp) + STEPS
    return bins


def count_pairs(embeddings: FloatArray, groups: IntArray, kinds: IntArray) -> PairCounts:
    """Count the similarity of each pair of images once.

    Args:
        embeddings: (n, d) float32 of unit length.
        groups: (n,) int64, equal for images of one group.
        kinds: (n,) int64, a number from 0 for each kind of edit, `ORIGINAL` or `UNKNOWN`.
    """
    total, same = np.zeros(2 * STEPS + 1, np.int64), np.zeros(2 * STEPS + 1, np.int64)
    edited = []
    n = len(embeddings)
    step = max(1, PAIRS_AT_ONCE // n)
    for start in range(0, n, step):
        stop = min(start + step, n)
        bins = find_bin(embeddings[start:stop] @ embeddings[start:].T)
        upper = np.arange(start, n) > np.arange(start, stop)[:, None]  # each pair once, and no image with itself
        total += np.bincount(bins[upper], minlength=len(total))
        first, second = np.nonzero(upper & (groups[start:stop, None] == groups[start:]))
        of_group = bins[first, second]
        same += np.bincount(of_group, minlength=len(same))
        low, high = np.sort([kinds[start + first], kinds[start + second]], axis=0)
        with_original = (low == ORIGINAL) & (high > ORIGINAL)
        edited.append((high[with_original], of_group[with_original]))
    return PairCounts(same, total - same, *(np.concatenate(part) for part in zip(*edited, strict=True)))
