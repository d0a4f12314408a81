"""Selection and order of pairs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.sorting import sort_blocks
from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.records import NEIGHBORS_PER_BLOCK, Neighbors, Pairs
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.neighbors.metrics import DECIMALS, is_distance


def select_similar(neighbors: Neighbors, threshold: float) -> Iterator[Pairs]:
    """Select the pairs of similar images.

    Args:
        neighbors: The neighbors of the images.
        threshold: Lowest similarity, exclusive.

    Yields:
        Pairs of images and their neighbors, in the order of the images, a block at a time. The values are similarities,
        whatever the metric is.
    """
    for part in neighbors.blocks():
        cosine = neighbors.similarity[part]
        source, position = np.nonzero(cosine > threshold)
        yield Pairs(source + part.start, neighbors.indices[part][source, position], cosine[source, position])


def count_distinct(neighbors: Neighbors, pairs: Pairs, threshold: float) -> int:
    """Count pairs, (a, b) and (b, a) once.

    Args:
        neighbors: The neighbors of the images.
        pairs: Pairs of a block, as `select_similar` yields them.
        threshold: The threshold that they were selected with.

    Returns:
        The number of pairs, without those of a higher to a lower index whose reverse is above the threshold too.
    """
    back = pairs.source > pairs.target
    mutual = find_cosines(neighbors, pairs.target[back], pairs.source[back]) > threshold
    return len(pairs) - int(mutual.sum())


def find_cosines(neighbors: Neighbors, source: IntArray, target: IntArray) -> DoubleArray:
    """Look up the similarities of images in the lists of neighbors of others.

    Args:
        neighbors: The neighbors of the images.
        source: (m,) int64 indices of the images whose lists are searched.
        target: (m,) int64 indices of the images to find in them.

    Returns:
        (m,) float64; minus infinity where the target is not a neighbor of the source.
    """
    cosines = np.empty(len(source))
    step = max(1, NEIGHBORS_PER_BLOCK // max(1, neighbors.k))
    for start in range(0, len(source), step):
        rows = source[start : start + step]
        is_target = neighbors.indices[rows] == target[start : start + step, None]
        cosines[start : start + step] = np.where(is_target, neighbors.similarity[rows], -np.inf).max(
            axis=1, initial=-np.inf
        )
    return cosines


@dataclass(frozen=True)
class NameOrder:
    """The order of images by the bytes of their names. The arrays may be mapped.

    Both attributes are None if the images are in this order already, as those of a folder are.

    Attributes:
        rank: (n,) int64 position of each image in the order.
        row: (n,) int64 index of the image at each position.
    """

    rank: IntArray | None = None
    row: IntArray | None = None

    @classmethod
    def from_names(cls, names: pa.Array, scratch: Scratch) -> "NameOrder":
        """Return the order of (n,) names, as raw bytes; `scratch` opens a temporary file."""
        starts = range(0, len(names), NEIGHBORS_PER_BLOCK)
        if _are_sorted(names.slice(start, NEIGHBORS_PER_BLOCK + 1) for start in starts):
            return cls()
        rank, row = (make_array(len(names), np.int64, scratch) for _ in range(2))
        row[:] = pc.sort_indices(names).to_numpy()
        for start in range(0, len(names), NEIGHBORS_PER_BLOCK):
            part = row[start : start + NEIGHBORS_PER_BLOCK]
            rank[part] = np.arange(start, start + len(part))
        return cls(rank, row)

    def ranks_of(self, rows: IntArray) -> IntArray:
        """Return the positions of images, of the same shape."""
        return rows if self.rank is None else self.rank[rows]

    def rows_at(self, ranks: IntArray) -> IntArray:
        """Return the images at positions, of the same shape."""
        return ranks if self.row is None else self.row[ranks]


def _are_sorted(blocks: Iterable[pa.Array]) -> bool:
    """Return whether the names of each block ascend."""
    return all(pc.all(pc.less_equal(names[:-1], names[1:])).as_py() is not False for names in blocks)


def _invert(order: IntArray) -> IntArray:
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def rank_names(names: pa.Array | pa.ChunkedArray) -> IntArray:
    """Return (n,) int64, the position of each name when they are sorted by their bytes."""
    return _invert(pc.sort_indices(names).to_numpy())


def rank_some_names(names: pa.Array, rows: IntArray) -> IntArray:
    """Return numbers in the order of the bytes of some names.

    Args:
        names: (n,) raw names.
        rows: (m,) int64 indices of some of them, ascending.

    Returns:
        (m,) int64.
    """
    starts = range(0, len(rows), NEIGHBORS_PER_BLOCK)
    if _are_sorted(names.take(pa.array(rows[start : start + NEIGHBORS_PER_BLOCK + 1])) for start in starts):
        return rows
    return rank_names(names.take(pa.array(rows)))


def sort_pairs(pairs: Pairs, ranks: IntArray, target_ranks: IntArray | None = None, *, closest_first: bool) -> Pairs:
    """Sort pairs by value, then by the bytes of the names of the source and the target.

    Args:
        pairs: The pairs.
        ranks: (n,) int64 positions of the names, as `rank_names` returns them.
        target_ranks: The same for the targets, if those are other images than the sources.
        closest_first: Whether the closest pairs come first.

    Returns:
        The pairs in that order.
    """
    target_ranks = ranks if target_ranks is None else target_ranks
    value = pairs.value if closest_first == pairs.less_is_closer else -pairs.value
    order = np.lexsort((target_ranks[pairs.target], ranks[pairs.source], value))
    return pairs.select(order)


def iter_sorted_pairs(
    neighbors: Neighbors, threshold: float, sources: NameOrder, targets: NameOrder, scratch: Scratch
) -> Iterator[Pairs]:
    """Sort all pairs of similar images in limited memory, the closest first, then by the bytes of the names.

    Args:
        neighbors: The neighbors of the images.
        threshold: Lowest similarity, exclusive.
        sources: The images.
        targets: The images that the neighbors are from.
        scratch: Opens a temporary file.

    Returns:
        The pairs, a block at a time, with the values of the metric.
    """
    return iter_sorted(neighbors, lambda cosine: cosine > threshold, sources, targets, scratch, closest_first=True)


def iter_sorted(
    neighbors: Neighbors,
    select: Callable[[DoubleArray], BoolArray],
    sources: NameOrder,
    targets: NameOrder,
    scratch: Scratch,
    *,
    closest_first: bool,
) -> Iterator[Pairs]:
    """Sort pairs as one number each, made of value in millionths, rank of the source, and position of the neighbor.

    `select` returns a mask of the pairs to sort from the similarities of a block.
    """
    n, k, less_is_closer = len(neighbors), neighbors.k, is_distance(neighbors.metric)
    sign = 1 if closest_first == less_is_closer else -1

    def parts() -> Iterator[tuple[IntArray, IntArray, IntArray]]:
        """Yield the sources, positions and signed millionths of the pairs of a block."""
        for part in neighbors.blocks():
            rows = _sort_neighbors(neighbors, part, targets, sign)
            row, position = np.nonzero(select(rows.cosine))
            yield row + part.start, position, rows.millionths[row, position].astype(np.int64)

    ends = [(int(code.min()), int(code.max())) for _, _, code in parts() if len(code)]
    if not ends:
        return
    least, most = min(low for low, _ in ends), max(high for _, high in ends)
    if (most - least + 1) * n * k > np.iinfo(np.int64).max:
        raise OverflowError(f"{n:,} images with {k} neighbors each cannot be sorted: the keys need more than 63 bits.")
    keys = (((code - least) * n + sources.ranks_of(source)) * k + position for source, position, code in parts())
    step = max(1, NEIGHBORS_PER_BLOCK // k)
    for block in sort_blocks(keys, scratch):
        rest, position = np.divmod(block, k)
        source = sources.rows_at(rest % n)
        target, value = np.empty(len(block), np.int64), np.empty(len(block))
        for start in range(0, len(block), step):
            part = slice(start, start + step)
            rows = _sort_neighbors(neighbors, source[part], targets, sign)
            at = np.arange(len(rows.target)), position[part]
            target[part], value[part] = rows.target[at], rows.value[at]
        yield Pairs(source, target, value, less_is_closer)


class _SortedNeighbors(NamedTuple):
    """The neighbors of b images, (b, k) each, sorted by signed value, then by the bytes of the names.

    Attributes:
        target: Indices of the neighbors.
        value: Values of the metric.
        cosine: Similarities.
        millionths: Signed values times one million, as whole numbers.
    """

    target: IntArray
    value: DoubleArray
    cosine: DoubleArray
    millionths: DoubleArray


def _sort_neighbors(neighbors: Neighbors, which: slice | IntArray, targets: NameOrder, sign: int) -> _SortedNeighbors:
    target = np.asarray(neighbors.indices[which])
    value = np.asarray(neighbors.distance[which])
    cosine = np.asarray(neighbors.similarity[which])
    rows = _SortedNeighbors(target, value, cosine, np.rint(sign * value * 10**DECIMALS))
    ranks, code = targets.ranks_of(target), rows.millionths
    tied = (code[:, :-1] == code[:, 1:]) & (ranks[:, :-1] > ranks[:, 1:])
    if (tied | (code[:, :-1] > code[:, 1:])).any():
        order = np.lexsort((ranks, code), axis=-1)
        rows = _SortedNeighbors(
            np.take_along_axis(target, order, axis=1),
            np.take_along_axis(value, order, axis=1),
            np.take_along_axis(cosine, order, axis=1),
            np.take_along_axis(code, order, axis=1),
        )
    return rows
