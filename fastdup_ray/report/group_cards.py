"""The groups of a page, as cards."""

from itertools import combinations
from typing import Any

import numpy as np

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.curation.keeper_choice import KeeperChoice
from fastdup_ray.report.image_table import ImageTable
from fastdup_ray.report.pair_evidence import PairEvidence
from fastdup_ray.report.shown_groups import MAX_BETWEEN, Group, ShownGroups

MEMBERS, MAX_MEMBERS = (500, 200, 60, 30, 12, 8), 60_000
"""Images of a group: the largest of these limits with which all groups together have at most `MAX_MEMBERS`."""

LEAST_SIMILAR_SHOWN = 4
"""Images of a group with too many that are taken from its end: those least similar to the keeper."""

IMAGES_ON_CARD = 6
"""Images of a group that are visible at first."""


class GroupCards:
    """Makes cards of groups, and requests the thumbnails and verdicts that they need.

    Args:
        images: The images of the page.
        evidence: The verdicts of the page; None if the run did not verify pairs.
        choice: What is suggested to be dropped, and for which images.
    """

    def __init__(self, images: ImageTable, evidence: PairEvidence | None, choice: KeeperChoice) -> None:
        self._images, self._evidence, self._choice = images, evidence, choice
        self._members_shown: list[list[int]] = []

    def make_list(self, groups: ShownGroups) -> dict[str, Any]:
        """Return the cards of groups.

        Thumbnails of the keepers, the images closest to them and the two least similar ones are requested first.
        """
        limit = next((limit for limit in MEMBERS if np.minimum(groups.count, limit).sum() <= MAX_MEMBERS), min(MEMBERS))
        items = []
        for group in groups:
            shown = _choose_members(group, limit)
            self._images.request([*group.members[:2].tolist(), *group.least_similar])
            self._members_shown.append(group.members[shown].tolist())
            items.append(self._make_card(group, shown))
        return {"total": groups.total, "items": items}

    def request_other_members(self) -> None:
        """Request thumbnails of all other images of groups, first of those that are visible at first."""
        for part in (slice(0, IMAGES_ON_CARD), slice(IMAGES_ON_CARD, None)):
            for members in self._members_shown:
                self._images.request(members[part])

    def _make_card(self, group: Group, shown: IntArray) -> dict[str, Any]:
        members = group.members[shown].tolist()
        least_similar = [members.index(index) for index in group.least_similar]
        for member in members:
            self._request_verdicts(member, [members[0], group.least_similar[0]])
        self._request_keepers(members)
        return {
            "id": group.id,
            "count": len(group.members),
            "exact": len(group.members) - len(np.unique(self._images.contents[group.members])),
            "members": [self._images.number(index) for index in members],
            "similarity": group.similarity[shown].tolist(),
            "kind": ["", *(self._images.find_kind(index, members[0]) for index in members[1:])],
            "between": _list_upper(group, shown),
            "lowest": group.lowest,
            "least_similar": least_similar,
            "reason": group.reason,
            "reclaim": group.reclaim,
        }

    def _request_keepers(self, members: list[int]) -> None:
        """Request the images for which members are suggested to be dropped, and the verdicts on both."""
        keepers = self._choice.find_keepers(np.array(members, np.int64)).tolist()
        for member, keeper in zip(members, keepers, strict=True):
            if keeper >= 0:
                self._images.request([keeper])
                self._request_verdicts(member, [keeper])
        self._request_verdicts_among(members, keepers)

    def _request_verdicts_among(self, members: list[int], keepers: list[int]) -> None:
        """Request the verdicts on all images that are suggested to be one: another of them may become their keeper."""
        by_keeper: dict[int, list[int]] = {}
        for member, keeper in zip(members, keepers, strict=True):
            if keeper >= 0:
                by_keeper.setdefault(keeper, []).append(member)
        for dropped in by_keeper.values():
            for first, second in combinations(dropped[:MAX_BETWEEN], 2):
                self._request_verdicts(first, [second])

    def _request_verdicts(self, member: int, others: list[int]) -> None:
        if self._evidence is not None:
            for other in others:
                self._evidence.request(other, member)


def _list_upper(group: Group, shown: IntArray) -> list[float]:
    """The similarities of the first images to each other, but not to the first one, which `similarity` has.

    In the order (1, 2), (1, 3), …, (2, 3), …; of as many images as are both shown first and compared.
    """
    count = min(len(group.between), int((shown == np.arange(len(shown))).sum()))
    upper: list[float] = group.between[1:count, 1:count][np.triu_indices(max(0, count - 1), 1)].tolist()
    return upper


def _choose_members(group: Group, limit: int) -> IntArray:
    """Positions of the members to show: the most and the least similar to the keeper, and the two least similar."""
    m = len(group.members)
    if m <= limit:
        return np.arange(m)
    least_similar = np.flatnonzero(np.isin(group.members, group.least_similar))
    last = min(LEAST_SIMILAR_SHOWN, limit // 4)
    return np.unique(np.concatenate([np.arange(limit - last - 2), np.arange(m - last, m), least_similar]))
