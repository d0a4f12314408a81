"""What pages show of similarity.csv and of other lists of pairs, which may be too long to be held in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns
from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray
from fastdup_ray.common.records import Pairs
from fastdup_ray.common.seen import SeenKeys, hash_names
from fastdup_ray.storage.csv_files import iter_csv, parse_numbers

_NAMES = pa.large_binary()
NO_NAMES = pa.nulls(0, _NAMES)  # pa.array would import pandas


@dataclass(frozen=True)
class PairList:
    """What a page shows of a list of pairs that may be too long to be held in memory.

    Attributes:
        total: The number of pairs.
        first: The first of them, with the columns of the file.
        values: (v,) float64, the different values of all pairs.
        counts: (v,) int64, how many pairs have each value.
    """

    total: int
    first: pa.Table
    values: DoubleArray
    counts: IntArray


def read_pair_list(path: Path, header: Sequence[str], limit: int, *, each_once: bool) -> PairList:
    """Read a list of pairs in blocks. In memory are 16 bytes for each pair of one value.

    Args:
        path: A CSV file, sorted by value.
        header: Its columns.
        limit: How many pairs to return as `first`.
        each_once: Whether (a, b) and (b, a), which have the same value, count as one pair.

    Raises:
        DamagedError: where the file is not such a list.
    """
    total, room = 0, limit
    first = [pa.table([NO_NAMES] * len(header), header)]
    counted = [(np.empty(0), np.empty(0, np.int64))]
    seen = _SeenPairs()
    for rows in iter_csv(path, header):
        if each_once:
            rows = rows.filter(pa.array(seen.add(rows)))
        total += len(rows)
        if room > 0:
            first.append(pa.Table.from_batches([rows.slice(0, room)]))
            room -= len(rows)
        counted.append(np.unique(_parse_values(path, rows), return_counts=True))
    values, counts = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    values, place = np.unique(values, return_inverse=True)  # a value may occur in two blocks
    counts = np.bincount(place, counts, len(values)).astype(np.int64)
    return PairList(total, pa.concat_tables(first).combine_chunks(), values, counts)


@dataclass(frozen=True)
class ShownPairs:
    """The pairs of a list that a gallery shows.

    Attributes:
        total: Pairs of the list, (a, b) and (b, a) once.
        pairs: The p shown ones, whose indices refer to `names`.
        names: (m,) raw names of their images, each once.
        slope: 1 if values rise from the first pair of the list to the last, -1 if they fall, else 0.
    """

    total: int
    pairs: Pairs
    names: pa.Array
    slope: int


def read_shown_pairs(path: Path, limit: int, *, from_end: bool) -> ShownPairs:
    """Read the first pairs of similarity.csv or outliers.csv, or the last ones in reverse, each once.

    Args:
        path: The file, sorted by value.
        limit: How many to read.
        from_end: Whether to read the last ones.

    Raises:
        FileNotFoundError: where there is no such file.
        DamagedError: where it is not a list of pairs.
    """
    total, shown, seen = 0, pa.table([NO_NAMES] * 3, csv_columns.PAIRS_HEADER), _SeenPairs()
    first_value: float | None = None
    last_value = 0.0
    for block in iter_csv(path, csv_columns.PAIRS_HEADER):
        numbers = _parse_values(path, block)
        if len(numbers):
            first_value, last_value = numbers[0] if first_value is None else first_value, numbers[-1]
        rows = pa.Table.from_batches([block.filter(pa.array(seen.add(block)))])
        total += len(rows)
        if from_end:
            shown = pa.concat_tables([shown, rows.slice(max(0, len(rows) - limit))])
            shown = shown.slice(max(0, len(shown) - limit)).combine_chunks()
        elif len(shown) < limit:
            shown = pa.concat_tables([shown, rows.slice(0, limit - len(shown))]).combine_chunks()
    if from_end:
        shown = shown.take(pa.array(np.arange(len(shown))[::-1]))
    ends = [shown[end].combine_chunks().cast(_NAMES) for end in ("from", "to")]
    codes = pc.dictionary_encode(pa.concat_arrays(ends))
    source, target = np.split(codes.indices.to_numpy().astype(np.int64), 2)
    slope = 0 if first_value is None else int(np.sign(last_value - first_value))
    return ShownPairs(total, Pairs(source, target, _parse_values(path, shown)), codes.dictionary, slope)


def find_sources(path: Path, names: pa.Array) -> BoolArray:
    """Return (m,) whether each of m names is in the column `from` of similarity.csv or outliers.csv."""
    found = np.zeros(len(names), bool)
    for block in iter_csv(path, csv_columns.PAIRS_HEADER):
        found |= pc.is_in(names, block["from"].cast(_NAMES)).to_numpy(zero_copy_only=False)
    return found


class _SeenPairs:
    """Tells which pairs of a list come for the first time, whatever their direction. They are sorted by value."""

    def __init__(self) -> None:
        self._keys, self._last = SeenKeys(), pa.scalar(None, _NAMES)

    def add(self, rows: pa.RecordBatch) -> BoolArray:
        """Return (b,) whether each of the next b pairs is new. (a, b) and (b, a) have the same value."""
        if not len(rows):
            return np.empty(0, bool)
        if rows["distance"][0] != self._last:
            self._keys = SeenKeys()
        self._last = rows["distance"][-1]
        one, other = (hash_names(rows[end]) for end in ("from", "to"))
        return self._keys.add(*(first + second for first, second in zip(one, other, strict=True)))


def _parse_values(path: Path, table: pa.Table | pa.RecordBatch) -> DoubleArray:
    return np.asarray(parse_numbers(path, table, "distance", pa.float64()))
