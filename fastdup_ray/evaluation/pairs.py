"""All pairs of rows by their cosine, in counts: what is needed of n·(n-1)/2 pairs fits into memory for any n."""

from dataclasses import dataclass

import numpy as np

STEPS = 1_000_000
"""Cosines are counted as the tool writes them, with six decimals."""

PAIRS_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class PairCounts:
    """Pairs by cosine: place i of an array is for the cosine i / STEPS - 1, so each is (2 · STEPS + 1,) int64.

    same: of pairs in one group. other: of all others. by_kind: kind of edit -> of its copies with their originals.
    """

    same: np.ndarray
    other: np.ndarray
    by_kind: dict[str, np.ndarray]


def place(cosine: float | np.ndarray) -> np.ndarray:
    """The place of a cosine in the arrays of `PairCounts`."""
    return np.rint(np.asarray(cosine) * STEPS).clip(-STEPS, STEPS).astype(np.intp) + STEPS


def count_pairs(rows: np.ndarray, groups: np.ndarray, kinds: np.ndarray, names: list[str]) -> PairCounts:
    """Counts each unordered pair of two rows once.

    rows: (n, d) float32 of unit length. groups: (n,) int. kinds: (n,) int, an index into `names` for a copy by that
    kind of edit, -1 for an original, -2 for a picture of which nothing is known.
    """
    places = 2 * STEPS + 1
    total, same = np.zeros(places, np.int64), np.zeros(places, np.int64)
    by_kind = {name: np.zeros(places, np.int64) for name in names}
    step = max(1, PAIRS_AT_ONCE // len(rows))
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        found = place(rows[start:stop] @ rows[start:].T)
        once = np.arange(start, len(rows)) > np.arange(start, stop)[:, None]
        total += np.bincount(found[once], minlength=places)
        first, second = np.nonzero(once & (groups[start:stop, None] == groups[None, start:]))
        copies = found[first, second]
        same += np.bincount(copies, minlength=places)
        low, high = np.sort([kinds[start:stop][first], kinds[start:][second]], axis=0)
        for kind, name in enumerate(names):
            by_kind[name] += np.bincount(copies[(low == -1) & (high == kind)], minlength=places)
    return PairCounts(same, total - same, by_kind)
