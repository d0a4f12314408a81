"""The components of a run, with numbers of all images that are mapped from files."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastdup_ray.common.arrays import AnyArray, DoubleArray, IntArray, get_index_type
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.outputs.formats import COMPONENTS
from fastdup_ray.storage.parquet_files import iter_parquet
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, describe_other_run


class ComponentTable(NamedTuple):
    """The components of n images. The arrays may be mapped from files.

    Attributes:
        number: (n,) int32, or int64 from 2^31 images on: the `component_id` of each image, -1 where it is alone in it.
        lowest: (n,) float64 lowest similarity of the edges of that component.
    """

    number: AnyArray
    lowest: DoubleArray

    def list_members(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield blocks of components and images: those in a component of two or more."""
        for start in range(0, len(self.number), ROWS_PER_BLOCK):
            block = self.number[start : start + ROWS_PER_BLOCK].astype(np.int64)
            rows = np.flatnonzero(block >= 0)
            yield block[rows], start + rows


def map_components(path: Path, n: int, scratch: Scratch) -> ComponentTable:
    """Read components.parquet.

    Args:
        path: The file.
        n: Number of images of the run.
        scratch: Opens a temporary file.

    Raises:
        DamagedError: The file is damaged, or has another number of images.
    """
    table = ComponentTable(make_array(n, get_index_type(n), scratch), make_array(n, np.float64, scratch))
    start = 0
    for block in iter_parquet(path, COMPONENTS.select(["component_id", "count", "min_distance"])):
        part, id_ = slice(start, start + len(block)), block["component_id"].to_numpy()
        start += len(block)
        if max(start, id_.max(initial=-1) + 1) > n:
            raise describe_other_run(path)
        table.number[part] = np.where(block["count"].to_numpy() > 1, id_, -1)
        table.lowest[part] = block["min_distance"].fill_null(1.0).to_numpy()
    if start < n:
        raise describe_other_run(path)
    return table
