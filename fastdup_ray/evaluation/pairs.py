"""All pairs of rows by their cosine, in counts: what is needed of n·(n-1)/2 pairs fits into memory for any n."""

from dataclasses import dataclass

import numpy as np

STEPS = 1_000_000
"""Cosines are counted as the tool writes them, with six decimals."""

ORIGINAL, UNKNOWN = -1, -2
"""Kinds of edit that are none."""

PAIRS_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class PairCounts:
    """Pairs by cosine: place i of `same` and `other`, (2 · STEPS + 1,) int64, is for the cosine i / STEPS - 1.

    same: of pairs in one group. other: of all others. kinds, places: (m,), the kind of edit and the place of each pair
    of a copy and an original of its group.
    """

    same: np.ndarray
    other: np.ndarray
    kinds: np.ndarray
    places: np.ndarray


def find_bin(cosine: float | np.ndarray) -> np.ndarray:
    """The place of a cosine in the arrays of `PairCounts`."""
    return np.rint(np.asarray(cosine) * STEPS).clip(-STEPS, STEPS).astype(np.intp) + STEPS


def count_pairs(rows: np.ndarray, groups: np.ndarray, kinds: np.ndarray) -> PairCounts:
    """Counts each unordered pair of two rows once.

    rows: (n, d) float32 of unit length. groups: (n,) int. kinds: (n,) int, a number for each kind of edit from 0 on, or
    `ORIGINAL`, or `UNKNOWN`.
    """
    total, same = np.zeros(2 * STEPS + 1, np.int64), np.zeros(2 * STEPS + 1, np.int64)
    edited = []
    step = max(1, PAIRS_AT_ONCE // len(rows))
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        found = find_bin(rows[start:stop] @ rows[start:].T)
        once = np.arange(start, len(rows)) > np.arange(start, stop)[:, None]
        total += np.bincount(found[once], minlength=len(total))
        first, second = np.nonzero(once & (groups[start:stop, None] == groups[start:]))
        copies = found[first, second]
        same += np.bincount(copies, minlength=len(same))
        low, high = np.sort([kinds[start + first], kinds[start + second]], axis=0)
        of_original = (low == ORIGINAL) & (high > ORIGINAL)
        edited.append((high[of_original], copies[of_original]))
    return PairCounts(same, total - same, *(np.concatenate(part) for part in zip(*edited, strict=True)))
