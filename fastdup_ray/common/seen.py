"""Which of very many keys came before, in 16 bytes a key."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastdup_ray.common.arrays import AnyArray, BoolArray, IntArray

if TYPE_CHECKING:
    import pyarrow as pa

_MULTIPLIERS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)


class SeenKeys:
    """A set of keys of 128 bits, such as the inodes of devices.

    The keys are in sorted arrays. An array is merged with the one before unless that is larger, so there are few.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[IntArray, IntArray]] = []

    def add(self, major: Sequence[int] | IntArray, minor: Sequence[int] | IntArray) -> BoolArray:
        """Add keys.

        Args:
            major: (m,) one half of each key, as int64. Few keys should have it in common.
            minor: (m,) the other half.

        Returns:
            (m,) whether a key is new: neither was it added before, nor is it among the keys before it.
        """
        major, minor = np.asarray(major, np.int64), np.asarray(minor, np.int64)
        order = np.lexsort((minor, major))  # stable: of equal keys, the first one comes first
        major, minor = major[order], minor[order]
        is_new = np.ones(len(order), bool)
        is_new[1:] = (major[1:] != major[:-1]) | (minor[1:] != minor[:-1])
        for run in self._runs:
            is_new &= ~_are_in(major, minor, *run)
        self._insert(major[is_new], minor[is_new])
        result = np.empty(len(order), bool)
        result[order] = is_new
        return result

    def _insert(self, major: IntArray, minor: IntArray) -> None:
        while self._runs and len(self._runs[-1][0]) <= len(major):
            other_major, other_minor = self._runs.pop()
            major = np.concatenate([other_major, major])
            del other_major  # this is most of what a list takes: no array stays for longer than it must
            minor = np.concatenate([other_minor, minor])
            del other_minor
            order = np.argsort(major, kind="stable")
            major = major[order]
            minor = minor[order]
        if len(major):
            self._runs.append((major, minor))


class SeenNames:
    """A set of names. It takes a new name for one that it has with a probability of n / 2^128."""

    def __init__(self) -> None:
        self._keys = SeenKeys()

    def add(self, names: Sequence[bytes]) -> BoolArray:
        """Add raw names; return (m,) whether each is new, see `SeenKeys.add`."""
        # Python's hash of bytes is SipHash, of 64 bits; the second one is of others, and so independent.
        texts = names, [name + b"\0" for name in names]
        return self._keys.add(*(np.fromiter(map(hash, half), np.int64, len(half)) for half in texts))


def hash_names(names: "pa.Array") -> tuple[IntArray, IntArray]:
    """Return two independent hashes of each of n raw names, as int64; they may be added for a set of names."""
    offsets = np.frombuffer(names.buffers()[1], np.int64)[names.offset : names.offset + len(names) + 1]
    data = np.frombuffer(names.buffers()[2] or b"", np.uint8)
    starts, lengths = offsets[:-1], np.diff(offsets)
    hashes = [lengths.astype(np.uint64) for _ in _MULTIPLIERS]
    rows = np.arange(len(names))
    for place in range(int(lengths.max(initial=0))):
        rows = rows[lengths[rows] > place]
        values = data[starts[rows] + place].astype(np.uint64)
        for number, multiplier in zip(hashes, _MULTIPLIERS, strict=True):
            number[rows] = number[rows] * multiplier + values
    first, second = (_mix(number).view(np.int64) for number in hashes)
    return first, second


def _mix(numbers: AnyArray) -> AnyArray:
    """Spread each bit over all others, as SplitMix64 does; else sums of hashes of names in a row would be equal."""
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(multiplier)
    mixed: AnyArray = numbers ^ (numbers >> np.uint64(31))
    return mixed


def _are_in(major: IntArray, minor: IntArray, run_major: IntArray, run_minor: IntArray) -> BoolArray:
    """Return (m,) whether each key is in a run, whose major halves are in order."""
    first, stop = (np.searchsorted(run_major, major, side) for side in ("left", "right"))
    found = np.zeros(len(major), bool)
    for step in range(int((stop - first).max(initial=0))):
        place = np.minimum(first + step, len(run_minor) - 1)
        found |= (first + step < stop) & (run_minor[place] == minor)
    return found
