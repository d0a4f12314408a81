"""Images by their folders, which are worked on one at a time."""

import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from fastdup_ray.common.arrays import IntArray, split_array
from fastdup_ray.storage.tables import ROWS_PER_GROUP


def group_by_folder(names: pa.Array, rows: IntArray) -> Iterator[dict[str, int]]:
    """Yield the images of each folder, sorted, each with its row. In memory are the names of one folder.

    Args:
        names: (n,) raw names, which may be mapped from a file.
        rows: (m,) the rows of the images.
    """
    numbers: dict[str, int] = {}
    folders = (os.path.dirname(name) for part in split_array(rows, ROWS_PER_GROUP) for name in decode(names, part))
    folder = np.fromiter((numbers.setdefault(name, len(numbers)) for name in folders), np.int32, len(rows))
    rank = np.empty(len(numbers), np.int32)
    rank[[numbers[name] for name in sorted(numbers)]] = np.arange(len(numbers))
    folder = rank[folder]
    rows = rows[np.argsort(folder, kind="stable")]
    start = 0
    for count in np.bincount(folder).tolist():
        own = rows[start : start + count]
        found = zip(decode(names, own), own.tolist(), strict=True)
        yield dict(sorted(found, key=lambda item: os.path.split(item[0])))
        start += count


def decode(names: pa.Array, rows: IntArray) -> list[str]:
    """Return the names at some rows."""
    return [os.fsdecode(name) for name in names.take(pa.array(rows)).to_pylist()]
