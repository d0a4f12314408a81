"""Groups of similar images: the keeper of each, its lowest similarity, and the bytes that can be reclaimed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastdup_ray.analysis.keepers import Ranking
from fastdup_ray.common.arrays import BoolArray, DoubleArray, EmbeddingArray, FloatArray, IntArray, shrink
from fastdup_ray.features import check_finite

MAX_COMPARED = 2_000
"""Members of a group that are compared with each other: those least similar to the keeper."""

MAX_BETWEEN = 8
"""First members of a group whose similarities to each other are kept."""

MEMBERS_PER_BLOCK = 16_384
"""Members that are compared with the keeper at a time: 75 MB of embeddings."""


@dataclass(frozen=True)
class Group:
    """m similar images, the keeper first, then from the most to the least similar to it.

    Attributes:
        id: The component_id, or the index of the first image of a set of exact duplicates.
        members: (m,) int64 indices of the images.
        similarity: (m,) float32 similarity of each to the keeper.
        lowest: The similarity of the two least similar members, of at most `MAX_COMPARED`.
        least_similar: The indices of these two.
        between: (b, b) float32 similarities of the first b members to each other, b <= `MAX_BETWEEN`.
        reason: Why the first comes before the second one that is not dropped; "" if there is none.
        reclaim: Bytes of those that are suggested to be dropped.
    """

    id: int
    members: IntArray
    similarity: FloatArray
    lowest: float
    least_similar: tuple[int, int]
    between: FloatArray
    reason: str
    reclaim: int


class GroupTable:
    """The c groups of two or more images that m images form. Only groups that are selected are ranked.

    Args:
        indices: (m,) int64 ascending indices of the images.
        number: (m,) int64, equal for images of one group.
        rank: Returns the order in which images with some ascending indices are kept.
        is_dropped: (m,) bool, whether each is suggested to be dropped; these come after the others of their group.
        sizes: (m,) int64 bytes of their files.
        features: (n, d) float32 embeddings of all n images.

    Attributes:
        id: (c,) int64, ascending: the number of each group.
        count: (c,) int64, its images.
        reclaim: (c,) int64, the bytes of its images that are suggested to be dropped.
    """

    def __init__(
        self,
        indices: IntArray,
        number: IntArray,
        rank: Callable[[IntArray], Ranking],
        is_dropped: BoolArray,
        sizes: IntArray,
        features: EmbeddingArray,
    ) -> None:
        self._indices, self._rank, self._is_dropped, self._features = indices, rank, is_dropped, features
        order = np.argsort(number, kind="stable")
        ids, first, count = np.unique(number[order], return_index=True, return_counts=True)
        several = count > 1
        self._order, self._first = shrink(order), first[several]
        self.id, self.count = ids[several], count[several]
        freed = np.where(is_dropped, sizes, 0)[order]
        self.reclaim = np.add.reduceat(freed, first)[several] if len(order) else self.id

    def __len__(self) -> int:
        return len(self.id)

    def select(self, positions: Sequence[int]) -> Iterator[Group]:
        """Yield the groups at some positions of `id`."""
        if not len(positions):
            return
        starts, counts = self._first[positions], self.count[positions]
        group = np.repeat(np.arange(len(positions)), counts)
        ends = np.cumsum(counts)
        members = self._order[np.arange(len(group)) + np.repeat(starts - ends + counts, counts)]
        by_index = np.argsort(members, kind="stable")
        members, group = members[by_index], group[by_index]
        ranking, is_dropped = self._rank(self._indices[members]), self._is_dropped[members]
        order = ranking.order_groups(np.arange(len(members)), group)
        order = order[np.lexsort((is_dropped[order], group[order]))]
        for position, ranked in zip(positions, np.split(order, ends[:-1]), strict=True):
            kept = ranked[~is_dropped[ranked]]
            reason = ranking.explain_kept(kept).text if len(kept) > 1 else ""
            indices = self._indices[members[ranked]]
            yield self._make_group(int(self.id[position]), indices, reason, int(self.reclaim[position]))

    def _make_group(self, id_: int, members: IntArray, reason: str, reclaim: int) -> Group:
        """Make a group of some images, the keeper first."""
        similarity = self._compare_with_keeper(members)
        order = np.concatenate([[0], 1 + np.argsort(-similarity[1:], kind="stable")])
        members, similarity = members[order], similarity[order]
        compared = np.concatenate([[0], np.arange(max(1, len(members) - MAX_COMPARED), len(members))])
        embeddings = self._read_normalized(members[compared])
        cosines = embeddings @ embeddings.T
        a, b = np.unravel_index(np.argmin(cosines), cosines.shape)
        least_similar = (int(members[compared[a]]), int(members[compared[b]]))
        first = self._read_normalized(members[:MAX_BETWEEN])
        between = np.round(first @ first.T, 6)
        return Group(id_, members, similarity, round(float(cosines[a, b]), 6), least_similar, between, reason, reclaim)

    def _compare_with_keeper(self, members: IntArray) -> FloatArray:
        """The cosine of each member with the first, to 6 decimals."""
        keeper = self._read_normalized(members[:1])[0]
        starts = range(0, len(members), MEMBERS_PER_BLOCK)
        blocks = [self._read_normalized(members[start : start + MEMBERS_PER_BLOCK]) @ keeper for start in starts]
        similarity: FloatArray = np.round(np.concatenate(blocks), 6)
        similarity[0] = 1.0
        return similarity

    def _read_normalized(self, members: IntArray) -> FloatArray:
        embeddings = check_finite(self._features[members])
        normalized: FloatArray = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-30)
        return normalized


def choose_groups(groups: GroupTable, lowest: DoubleArray, limit: int) -> list[int]:
    """Choose the groups that a page has room for.

    Where there are more than `limit`, the largest groups, those with the most bytes to reclaim and those with the
    lowest similarity get an equal share.

    Args:
        groups: c groups.
        lowest: (c,) the lowest similarity of the edges of each.
        limit: Groups that the page can have.

    Returns:
        Positions in `groups`, the largest group first.
    """
    largest = np.lexsort((groups.id, -groups.count))
    if len(groups) <= limit:
        return [int(position) for position in largest]
    orders = (largest, np.argsort(-groups.reclaim, kind="stable"), np.argsort(lowest, kind="stable"))
    first = zip(*(order[:limit].tolist() for order in orders), strict=True)
    chosen = list(dict.fromkeys(position for positions in first for position in positions))[:limit]
    return [int(position) for position in largest[np.isin(largest, chosen)]]
