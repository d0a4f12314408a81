"""Which neighbours are pairs, which images are outliers, and in which order they are told."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.sorting import Scratch, sort_blocks
from fastdup_ray.common.records import NEIGHBORS_PER_BLOCK, Neighbors, Pairs
from fastdup_ray.neighbors.metrics import DECIMALS, is_distance


def select_similar(neighbors: Neighbors, threshold: float) -> Iterator[Pairs]:
    """Each image with each of its neighbours whose cosine is strictly above `threshold`, in the order of the images.

    The values are cosines whatever the metric is; block by block.
    """
    for part in neighbors.blocks():
        cosine = neighbors.similarity[part]
        source, place = np.nonzero(cosine > threshold)
        yield Pairs(source + part.start, neighbors.indices[part][source, place], cosine[source, place])


def count_distinct(neighbors: Neighbors, pairs: Pairs, threshold: float) -> int:
    """How many pairs there are, (a,b) and (b,a) counted once, where all of them have cosines above `threshold`."""
    back = pairs.source > pairs.target
    mutual = find_cosines(neighbors, pairs.target[back], pairs.source[back]) > threshold
    return len(pairs) - int(mutual.sum())


def find_cosines(neighbors: Neighbors, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(m,) float64: the cosine that each target has as a neighbour of its source, minus infinity where it is none."""
    found = np.empty(len(source))
    step = max(1, NEIGHBORS_PER_BLOCK // max(1, neighbors.k))
    for start in range(0, len(source), step):
        rows = source[start : start + step]
        is_it = neighbors.indices[rows] == target[start : start + step, None]
        found[start : start + step] = np.where(is_it, neighbors.similarity[rows], -np.inf).max(axis=1, initial=-np.inf)
    return found


@dataclass(frozen=True)
class NameOrder:
    """The images by the bytes of their names.

    rank: (n,) int64, the place of each; row: (n,) int64, the image at each
    place; both None where the images are in this order already, as a folder's are.
    """

    rank: np.ndarray | None = None
    row: np.ndarray | None = None

    @classmethod
    def from_names(cls, names: pa.Array) -> "NameOrder":
        if _sort_names(names):
            return cls()
        row = pc.sort_indices(names).to_numpy().astype(np.int64)
        return cls(_invert(row), row)

    def ranks_of(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.rank is None else self.rank[rows]

    def rows_at(self, ranks: np.ndarray) -> np.ndarray:
        return ranks if self.row is None else self.row[ranks]


def _sort_names(names: pa.Array) -> bool:
    return all(
        pc.all(pc.less_equal(names[start : stop - 1], names[start + 1 : stop])).as_py() is not False
        for start in range(0, len(names), NEIGHBORS_PER_BLOCK)
        for stop in [min(start + NEIGHBORS_PER_BLOCK + 1, len(names))]
    )


def _invert(order: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def rank_names(names: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(n,) int64: the place of each name when sorted by its bytes."""
    return _invert(pc.sort_indices(names).to_numpy())


def sort_pairs(
    pairs: Pairs, ranks: np.ndarray, target_ranks: np.ndarray | None = None, *, closest_first: bool
) -> Pairs:
    """By closeness, then by the bytes of the names; ranks: as `name_ranks` gives them.

    target_ranks: where the targets are other images than the sources.
    """
    target_ranks = ranks if target_ranks is None else target_ranks
    value = pairs.value if closest_first == pairs.less_is_closer else -pairs.value
    order = np.lexsort((target_ranks[pairs.target], ranks[pairs.source], value))
    return pairs.select(order)


def iter_sorted_pairs(
    neighbors: Neighbors, threshold: float, sources: NameOrder, targets: NameOrder, scratch: Scratch
) -> Iterator[Pairs]:
    """The pairs whose cosine is strictly above `threshold`, the closest first, then by the bytes of the names.

    Block by block; the values are those of the metric.
    """
    return _iter_sorted(neighbors, lambda cosine: cosine > threshold, sources, targets, scratch, closest_first=True)


def iter_sorted_outliers(
    neighbors: Neighbors, lower_threshold: float, sources: NameOrder, targets: NameOrder, scratch: Scratch
) -> Iterator[Pairs]:
    """Each image whose closest neighbour has a cosine below `lower_threshold`, with it, the least close first."""
    first = replace(
        neighbors,
        similarity=neighbors.similarity[:, :1],
        indices=neighbors.indices[:, :1],
        distance=neighbors.distance[:, :1],
    )
    return _iter_sorted(first, lambda cosine: cosine < lower_threshold, sources, targets, scratch, closest_first=False)


def _iter_sorted(
    neighbors: Neighbors,
    wanted: Callable[[np.ndarray], np.ndarray],
    sources: NameOrder,
    targets: NameOrder,
    scratch: Scratch,
    *,
    closest_first: bool,
) -> Iterator[Pairs]:
    """While pairs are sorted, each is one number: its value in millionths, its source's rank, its place in the row.

    wanted: of the cosines of a part those whose pairs are meant.
    """
    n, k, less_is_closer = len(neighbors), neighbors.k, is_distance(neighbors.metric)
    sign = 1 if closest_first == less_is_closer else -1

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Sources, places and signed millionths."""
        for part in neighbors.blocks():
            rows = _sort_neighbors(neighbors, part, targets, sign)
            row, place = np.nonzero(wanted(rows.cosine))
            yield row + part.start, place, rows.millionths[row, place].astype(np.int64)

    ends = [(int(code.min()), int(code.max())) for _, _, code in parts() if len(code)]
    if not ends:
        return
    least, most = min(low for low, _ in ends), max(high for _, high in ends)
    if (most - least + 1) * n * k > np.iinfo(np.int64).max:
        raise OverflowError(f"{n:,} rows with {k} neighbours each are more than can be numbered with 63 bits.")
    keys = (((code - least) * n + sources.ranks_of(source)) * k + place for source, place, code in parts())
    step = max(1, NEIGHBORS_PER_BLOCK // k)
    for block in sort_blocks(keys, scratch):
        rest, place = np.divmod(block, k)
        source = sources.rows_at(rest % n)
        target, value = np.empty(len(block), np.int64), np.empty(len(block))
        for start in range(0, len(block), step):
            part = slice(start, start + step)
            rows = _sort_neighbors(neighbors, source[part], targets, sign)
            at = np.arange(len(rows.target)), place[part]
            target[part], value[part] = rows.target[at], rows.value[at]
        yield Pairs(source, target, value, less_is_closer)


class _SortedNeighbors(NamedTuple):
    """Some rows of the neighbours, (b, k) each, sorted by their signed values, then by the bytes of the names."""

    target: np.ndarray
    value: np.ndarray
    cosine: np.ndarray
    millionths: np.ndarray


def _sort_neighbors(neighbors: Neighbors, which: slice | np.ndarray, targets: NameOrder, sign: int) -> _SortedNeighbors:
    target, value, cosine = (
        np.asarray(array[which]) for array in (neighbors.indices, neighbors.distance, neighbors.similarity)
    )
    rows = _SortedNeighbors(target, value, cosine, np.rint(sign * value * 10**DECIMALS))
    ranks, code = targets.ranks_of(target), rows.millionths
    tied = (code[:, :-1] == code[:, 1:]) & (ranks[:, :-1] > ranks[:, 1:])
    if (tied | (code[:, :-1] > code[:, 1:])).any():
        order = np.lexsort((ranks, code), axis=-1)
        rows = _SortedNeighbors(*(np.take_along_axis(column, order, axis=1) for column in rows))
    return rows
