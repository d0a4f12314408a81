"""The pairs that a gallery shows, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.common.layout import FileSet
from fastdup_ray.extract.thumbnails import PageImage, ThumbnailLoader
from fastdup_ray.report.pair_lists import ShownPairs
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import iter_csv


@dataclass(frozen=True)
class PairView:
    """Two images of a gallery, side by side.

    Attributes:
        first: The image in the column `from`.
        second: The image in the column `to`.
        value: The column `distance`: a similarity for cosine, else a distance.
        both: Whether the second image is also in the column `from`.
        exact: Whether they are exact duplicates.
    """

    first: PageImage
    second: PageImage
    value: float
    both: bool
    exact: bool


def view_pairs(
    loader: ThumbnailLoader, shown: ShownPairs, contents: IntArray, is_source: BoolArray
) -> Iterator[PairView]:
    """Yield pairs with their thumbnails.

    Args:
        loader: Of the m images that the pairs refer to.
        shown: In the order in which they are shown.
        contents: (m,) what `read_contents` returned. Files that have the same bytes by now count as exact duplicates.
        is_source: (m,) whether an image is in the column `from`.
    """
    pairs = shown.pairs
    source, target = pairs.source.tolist(), pairs.target.tolist()
    loader.request(index for pair in zip(source, target, strict=True) for index in pair)
    for first, second, value in zip(source, target, pairs.value.tolist(), strict=True):
        one, other = loader[first], loader[second]
        exact = bool(contents[first] == contents[second]) or one.is_copy_of(other)
        yield PairView(one, other, value, bool(is_source[second]), exact)


def read_contents(store: Store, files: FileSet, names: pa.Array) -> IntArray:
    """Read from exact_copies.csv which of a few images are exact duplicates.

    Args:
        store: The work_dir.
        files: Which of its sets of files.
        names: (n,) raw names.

    Returns:
        (n,) int64, equal for exact duplicates. Without such a file, each image has a number of its own.
    """
    name, representatives = files.name(layout.EXACT_COPIES_CSV), names
    for _ in range(2 if store.exists(name) else 0):  # the original of the same bytes may have the pixels of another
        originals = pa.nulls(len(names), names.type)
        for block in iter_csv(store.fetch(name), csv_columns.EXACT_COPIES_HEADER):
            copy, of = (block[column].cast(names.type) for column in ("filename", "copy_of"))
            originals = pc.coalesce(of.take(pc.index_in(representatives, copy)), originals)
        representatives = pc.coalesce(originals, representatives)
    codes: IntArray = representatives.dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes
