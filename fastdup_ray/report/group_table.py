"""Groups of similar pictures: which of each is kept, how far its ends lie apart, and how many bytes could go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastdup_ray.analysis.keepers import Ranking
from fastdup_ray.features import check_finite

COMPARED = 2_000
"""Members of a group of which every two are compared: those least like the keeper."""

BLOCK = 16_384
"""Rows that are compared with a keeper at a time: 75 MB of numbers."""


@dataclass(frozen=True)
class Group:
    """m pictures that hang together, the keeper first, then from the most to the least like it.

    id: of the component, or the row of the first of several exact copies. members: (m,) int64 rows. similarity: (m,)
    cosine with the keeper. lowest: the cosine of the two least alike; strangers: their rows. reason: why the first is
    the keeper. reclaim: bytes of all others.
    """

    id: int
    members: np.ndarray
    similarity: np.ndarray
    lowest: float
    least_similar: tuple[int, int]
    reason: str
    reclaim: int


class GroupTable:
    """Pictures, of which those with one number belong together; here are those of two pictures or more, c of them.

    rows: (m,) int64, which pictures these are. number: (m,) int64. ranking: of the m. weights: (m,) int64, the bytes
    that are saved where one goes. features: (n, d) float32, of all n pictures.

    id, count, reclaim: (c,) int64, by rising id: the number, its pictures, the weights of all but the keeper.
    """

    def __init__(
        self, rows: np.ndarray, number: np.ndarray, ranking: Ranking, weights: np.ndarray, features: np.ndarray
    ):
        self._rows, self._ranking, self._features = rows, ranking, features
        order = np.lexsort((ranking.rank, number))
        ids, first, count = np.unique(number[order], return_index=True, return_counts=True)
        weights = weights[order]
        several = count > 1
        self._order, self._first = order, first[several]
        self.id, self.count = ids[several], count[several]
        self.reclaim = (np.add.reduceat(weights, first) - weights[first])[several] if len(order) else self.id

    def __len__(self) -> int:
        return len(self.id)

    @property
    def reclaim_all(self) -> int:
        return int(self.reclaim.sum())

    def select(self, places: Sequence[int]) -> Iterator[Group]:
        """Those at some places of `id`."""
        for place in places:
            first = self._first[place]
            members = self._order[first : first + self.count[place]]
            yield self._make_group(int(self.id[place]), members, int(self.reclaim[place]))

    def _make_group(self, id_: int, places: np.ndarray, reclaim: int) -> Group:
        """places: among the m pictures, the keeper first."""
        reason, members = self._ranking.explain_kept(places).text, self._rows[places]
        similarity = self._compare_with_keeper(members)
        order = np.concatenate([[0], 1 + np.argsort(-similarity[1:], kind="stable")])
        members, similarity = members[order], similarity[order]
        ends = np.concatenate([[0], np.arange(max(1, len(members) - COMPARED), len(members))])
        rows = self._read_unit(members[ends])
        alike = rows @ rows.T
        a, b = np.unravel_index(np.argmin(alike), alike.shape)
        strangers = (int(members[ends[a]]), int(members[ends[b]]))
        return Group(id_, members, similarity, round(float(alike[a, b]), 6), strangers, reason, reclaim)

    def _compare_with_keeper(self, members: np.ndarray) -> np.ndarray:
        """(m,) the cosine of each with the first, 6 decimals."""
        keeper = self._read_unit(members[:1])[0]
        blocks = [members[start : start + BLOCK] for start in range(0, len(members), BLOCK)]
        similarity = np.round(np.concatenate([self._read_unit(block) @ keeper for block in blocks]), 6)
        similarity[0] = 1.0
        return similarity

    def _read_unit(self, members: np.ndarray) -> np.ndarray:
        rows = check_finite(self._features[members])
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def choose_groups(groups: GroupTable, weakest_link: np.ndarray, limit: int) -> list[int]:
    """Places of the groups that a page of `limit` should have, the largest first.

    Where there are more: the largest, those with the most bytes to reclaim, and those with the weakest link, in equal
    parts. weakest_link: (c,) the least similarity by which a picture hangs on its group.
    """
    largest = np.lexsort((groups.id, -groups.count))
    if len(groups) <= limit:
        return largest.tolist()
    orders = (largest, np.argsort(-groups.reclaim, kind="stable"), np.argsort(weakest_link, kind="stable"))
    first = zip(*(order[:limit].tolist() for order in orders), strict=True)
    taken = dict.fromkeys(place for places in first for place in places)
    return largest[np.isin(largest, list(taken)[:limit])].tolist()
