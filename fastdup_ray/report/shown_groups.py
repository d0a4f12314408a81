"""The groups that a page shows: the keeper of each, and how similar its images are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fastdup_ray.analysis.keepers import Ranking
from fastdup_ray.common.arrays import AnyArray, EmbeddingArray, FloatArray, IntArray
from fastdup_ray.curation.keeper_choice import KeeperChoice
from fastdup_ray.features import check_finite
from fastdup_ray.report.group_table import GroupTable

MAX_COMPARED = 2_000
"""Members of a group that are compared with each other: those least similar to the keeper."""

MAX_BETWEEN = 8
"""First members of a group whose similarities to each other are kept."""

MEMBERS_PER_BLOCK = 16_384
"""Members that are compared with the keeper at a time: 75 MB of embeddings."""

MEMBERS_PER_BATCH = 1 << 17
"""About the number of members that are ranked at a time."""


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


@dataclass(frozen=True)
class ShownGroups:
    """The g groups of a table that a page shows. They are ranked and compared when they are iterated over.

    Attributes:
        total: The number of all groups.
        table: All groups.
        chosen: (g,) `group_table.SUMMARY` of the shown ones.
        rank: Returns the order in which images with some ascending indices are kept.
        choice: The images that are suggested to be dropped, which come after the others of their group.
        features: (n, d) float32 embeddings of all n images.
    """

    total: int
    table: GroupTable
    chosen: AnyArray
    rank: Callable[[IntArray], Ranking]
    choice: KeeperChoice
    features: EmbeddingArray

    @property
    def count(self) -> IntArray:
        """(g,) int64, the images of each group."""
        count: IntArray = self.chosen["count"]
        return count

    def __iter__(self) -> Iterator[Group]:
        if not len(self.chosen):
            return
        batch = np.cumsum(self.count) // MEMBERS_PER_BATCH
        for groups in np.split(self.chosen, np.flatnonzero(np.diff(batch)) + 1):
            yield from self._make_groups(groups)

    def _make_groups(self, groups: AnyArray) -> Iterator[Group]:
        members = self.table.list_members(groups)
        group = np.repeat(np.arange(len(groups)), groups["count"])
        by_index = np.argsort(members, kind="stable")
        members, group = members[by_index], group[by_index]
        ranking, is_dropped = self.rank(members), self.choice.find_keepers(members) >= 0
        order = ranking.order_groups(np.arange(len(members)), group)
        order = order[np.lexsort((is_dropped[order], group[order]))]
        for summary, ranked in zip(groups, np.split(order, np.cumsum(groups["count"])[:-1]), strict=True):
            kept = ranked[~is_dropped[ranked]]
            reason = ranking.explain_kept(kept).text if len(kept) > 1 else ""
            yield self._make_group(int(summary["id"]), members[ranked], reason, int(summary["reclaim"]))

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
        embeddings = check_finite(self.features[members])
        normalized: FloatArray = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-30)
        return normalized
