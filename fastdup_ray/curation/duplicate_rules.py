"""Which pairs of a finished run are duplicates: by their relation or, if no pairs were verified, by similarity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from fastdup_ray.analysis.keeper_assignment import Likeness
from fastdup_ray.analysis.verified_pairs import EVIDENCE, VerifiedPairs
from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.common.facts import StoredConfig
from fastdup_ray.common.relations import CONFIRMED, DUPLICATE_OF, Relation
from fastdup_ray.curation.finished_run import FinishedRun, Links
from fastdup_ray.errors import ConfigError

STRICT = 0.995
"""The default threshold of a plan of a run without verified pairs; docs/benchmarks.md has the precision above it."""

EXACT = 1.0
"""A threshold that no cosine exceeds: only files with the same bytes are duplicates."""

DEFAULT_DROP = Relation.SAME.value
"""What a plan drops if nothing is said."""

DROPPABLE = frozenset(CONFIRMED) - {Relation.ALTERED}
"""Relations of images that a plan may drop if it is asked to."""


@dataclass(frozen=True)
class Explanation:
    """Why an image is dropped for its keeper.

    Attributes:
        likeness: What it is to its keeper, such as `near copy of`.
        evidence: What a comparison in full detail has shown; empty if there was none.
    """

    likeness: str
    evidence: str = ""


class DuplicateRule(Protocol):
    """Decides which pairs are duplicates."""

    def iter_links(self) -> Iterator[Links]:
        """Yield the pairs of duplicates that the run has found, besides files with the same bytes."""

    def compare(self, first: IntArray, second: IntArray) -> Likeness:
        """Compare m images with m others."""

    def explain(self, keepers: IntArray, rows: IntArray) -> list[Explanation]:
        """Explain why m images with other bytes are dropped for their keepers."""


class SimilarityRule:
    """Two images are duplicates if their similarity is high, and their embeddings show all of their files."""

    def __init__(self, run: FinishedRun, threshold: float | None) -> None:
        self._run, self._threshold = run, default_threshold(run.config) if threshold is None else threshold

    def iter_links(self) -> Iterator[Links]:
        if self._threshold >= EXACT:
            return
        for source, target in self._run.iter_pairs():
            similar = self._are_similar(source, target)
            yield source[similar], target[similar]

    def compare(self, first: IntArray, second: IntArray) -> Likeness:
        first_of_bytes = self._run.first_of_bytes
        is_duplicate: BoolArray = first_of_bytes[first] == first_of_bytes[second]
        if self._threshold < EXACT:
            unknown = np.flatnonzero(~is_duplicate)
            is_duplicate[unknown] = self._are_similar(first[unknown], second[unknown])
        return Likeness(is_duplicate, np.zeros(len(first), bool))

    def _are_similar(self, first: IntArray, second: IntArray) -> BoolArray:
        similar: BoolArray = self._comparable[first] & self._comparable[second]
        wanted = np.flatnonzero(similar)
        similar[wanted] = self._run.cosines(first[wanted], second[wanted]) > self._threshold
        return similar

    @cached_property
    def _comparable(self) -> BoolArray:
        return self._run.find_fully_seen()

    def explain(self, keepers: IntArray, rows: IntArray) -> list[Explanation]:  # noqa: ARG002 - the same for all
        return [Explanation("near copy of")] * len(rows)


class VerifiedRule:
    """Two images are duplicates if the run verified that they have one of the relations to drop."""

    def __init__(
        self, run: FinishedRun, verified: VerifiedPairs, threshold: float | None, relations: Sequence[Relation]
    ) -> None:
        self._run, self._verified, self._relations, self._threshold = run, verified, relations, threshold

    def iter_links(self) -> Iterator[Links]:
        for pairs in self._verified.iter_links(self._relations):
            similar = self._are_similar(pairs.source, pairs.target)
            yield pairs.source[similar], pairs.target[similar]

    def compare(self, first: IntArray, second: IntArray) -> Likeness:
        have_same_bytes = self._run.first_of_bytes[first] == self._run.first_of_bytes[second]
        are_similar = self._are_similar(first, second)
        are_related = self._verified.have_relation(first, second, self._relations)
        are_other = self._verified.have_relation(first, second, frozenset(Relation) - {*self._relations})
        return Likeness(have_same_bytes | (are_related & are_similar), ~have_same_bytes & (are_other | ~are_similar))

    def _are_similar(self, first: IntArray, second: IntArray) -> BoolArray:
        if self._threshold is None:
            return np.ones(len(first), bool)
        similar: BoolArray = self._run.cosines(first, second) > self._threshold
        return similar

    def explain(self, keepers: IntArray, rows: IntArray) -> list[Explanation]:
        evidence = self._verified.look_up(keepers, rows)
        return [_explain(*values) for values in zip(*(evidence[name].to_pylist() for name in EVIDENCE), strict=True)]


def _explain(
    relation: str | None, cover_keeper: float | None, cover: float | None, difference: float | None
) -> Explanation:
    """Put the `EVIDENCE` of a keeper and an image into words."""
    if relation is None or difference is None or cover is None or cover_keeper is None:
        return Explanation("connected by duplicates with")
    likeness = DUPLICATE_OF[Relation(relation)]
    if relation == Relation.SAME:
        if not difference:
            return Explanation(likeness, "nothing differs but size, compression and overall tone")
        return Explanation(likeness, f"{difference:.2%} of the area differs, within compression".replace("%", " %"))
    return Explanation(
        likeness, f"the keeper shows {cover:.0%} of it, and it {cover_keeper:.0%} of the keeper".replace("%", " %")
    )


def make_rule(run: FinishedRun, threshold: float | None, drop: str) -> DuplicateRule:
    """Return the rule for a run.

    Args:
        run: A finished run.
        threshold: Similarity that duplicates have to exceed; None: any, if the run verified pairs, else
            `default_threshold`.
        drop: Relations whose images may be dropped, with commas in between.

    Raises:
        ConfigError: If one of the relations is unknown, or the run has no verified pairs.
    """
    relations = _parse_relations(drop)
    if run.verified is not None:
        return VerifiedRule(run, run.verified, threshold, relations)
    if relations != [Relation.SAME]:
        reason = "the run has no verified pairs; run again with verify=candidates"
        raise ConfigError(f"Invalid value for drop: {drop!r} ({reason}).")
    return SimilarityRule(run, threshold)


def default_threshold(config: StoredConfig) -> float:
    """Return the threshold of a plan for a run with these parameters and without verified pairs.

    It is `STRICT` for the embedded model on whole images. With other models, or parts of images, a cosine says too
    little, and it is `EXACT`.
    """
    return EXACT if not config or config.get("model_path") or config.get("bounding_box") else STRICT


def _parse_relations(text: str) -> list[Relation]:
    known = {relation.value: relation for relation in DROPPABLE}
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in known:
            raise ConfigError(f"Invalid value for drop: {word!r} (must be one or more of {', '.join(sorted(known))}).")
    return [known[word] for word in dict.fromkeys(words)]
