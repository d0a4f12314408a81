"""Read similarity.csv, or another list of pairs, as numbers."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from fastdup_ray.common import csv_columns
from fastdup_ray.common.records import Pairs
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.features import find_images
from fastdup_ray.storage.csv_files import iter_csv, parse_numbers


def read_pairs(path: Path, names: pa.Array, scratch: Scratch) -> Pairs:
    """Read all pairs of a file. In memory are 24 bytes for each.

    Args:
        path: The file.
        names: (n,) raw names of the images, each once; they may be mapped from a file.
        scratch: Opens an empty file.

    Returns:
        The pairs in the order of the file, with indices in `names`.

    Raises:
        DamagedError: The file is damaged, or names another image.
    """
    source, target = find_images(path, csv_columns.PAIRS_HEADER, ["from", "to"], names, scratch)
    values = [np.empty(0)]
    for block in iter_csv(path, csv_columns.PAIRS_HEADER):
        values.append(parse_numbers(path, block, "distance", pa.float64()).to_numpy())
    return Pairs(source, target, np.concatenate(values))
