"""From a finished run to a plan: suggest which images to drop."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa

from fastdup_ray.analysis.keeper_assignment import (
    DIRECT,
    GROUPINGS,
    Grouping,
    KeeperAssignments,
    Likeness,
    assign_keepers,
    find_duplicate_groups,
)
from fastdup_ray.analysis.keepers import (
    DEFAULT_RULES,
    Ranking,
    Reason,
    add_losses,
    find_references,
    parse_rules,
)
from fastdup_ray.common.arrays import BoolArray, IntArray, split_array
from fastdup_ray.common.records import Pairs
from fastdup_ray.curation.duplicate_rules import DEFAULT_DROP, DuplicateRule, Explanation, default_threshold, make_rule
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.plan_file import DROP, KEEP, PlanRow
from fastdup_ray.curation.sidecar_check import explain_unique_sidecars
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs import find_standalone
from fastdup_ray.storage.tables import ROWS_PER_BLOCK

SIDECAR = "sidecar"
"""Rule of an image that is kept because of a sidecar that its keeper lacks."""

_SAME_BYTES = Explanation("same bytes as")


@dataclass(frozen=True)
class KeeperChoice:
    """The keepers of the c images of a run that may have a duplicate.

    Attributes:
        rows: (c,) int64 ascending indices of these images in features.dat.
        ranking: The order in which they are preferred.
        fixed: (c,) bool, whether an image is of a reference input.
        assigned: Their keepers, by position in `rows`.
        held: Images that stay all the same, by position in `rows`, each with the sidecar that is the reason.
    """

    rows: IntArray
    ranking: Ranking
    fixed: BoolArray
    assigned: KeeperAssignments
    held: Mapping[int, str]

    @property
    def is_dropped(self) -> BoolArray:
        """(m,) bool, whether each of the images in `assigned` is to be dropped."""
        return self.assigned.is_dropped & ~np.isin(self.assigned.row, list(self.held))

    @property
    def dropped(self) -> IntArray:
        """(d,) int64 indices in features.dat of the images to drop."""
        return self.rows[self.assigned.row[self.is_dropped]]

    def find_keepers(self, images: IntArray) -> IntArray:
        """Return (m,) int64: the image that each of m images is dropped for; -1 where it is not dropped."""
        position = np.searchsorted(self.rows, images)
        candidate = position < np.searchsorted(self.rows, images, "right")
        keepers = np.full(len(images), -1)
        keepers[candidate] = self._keeper[position[candidate]]
        return keepers

    @cached_property
    def _keeper(self) -> IntArray:
        """(c,) int64 index in features.dat of the keeper of each candidate that is dropped; -1 for the others."""
        keeper = np.full(len(self.rows), -1)
        keeper[self.assigned.row[self.is_dropped]] = self.rows[self.assigned.keeper[self.is_dropped]]
        return keeper


@dataclass(frozen=True)
class SuggestedPlan:
    """The plan of a run, of which rows are made when they are asked for: a page shows few of a million images.

    Attributes:
        run: The run.
        rule: Decides which images are duplicates.
        choice: The keepers of its images.
    """

    run: FinishedRun
    rule: DuplicateRule
    choice: KeeperChoice

    @classmethod
    def by_default(cls, run: FinishedRun) -> Self:
        """Return the plan that `plan` makes if nothing is said."""
        rule = make_rule(run, None, DEFAULT_DROP)
        return cls(run, rule, choose_keepers(run, rule))

    def rows(self, images: IntArray | None = None) -> Iterator[PlanRow]:
        """Yield the rows of images by the numbers of their groups; each keeper comes before its duplicates.

        Args:
            images: Indices in features.dat; images that the plan does not have are ignored. None: all of the plan.
        """
        return _make_plan_rows(self.run, self.rule, self.choice, images)


def suggest(
    run: FinishedRun,
    keep: str = DEFAULT_RULES,
    grouping: Grouping = DIRECT,
    threshold: float | None = None,
    drop: str = DEFAULT_DROP,
    *,
    any_sidecars: bool = False,
) -> list[PlanRow]:
    """Return a plan of all images that have a duplicate.

    If the run verified pairs, two images are duplicates if their relation is in `drop`. Else
    they are if their similarity exceeds the threshold, and images whose embedding does not show the whole file (see
    `FinishedRun.is_fully_seen`) only if their bytes are the same. Images of reference inputs are always kept. Images in
    archives and frames of videos, which cannot be moved, are left out unless they are references.

    Args:
        run: A finished run.
        keep: Rules that choose the keeper of a group; see `analysis.keepers`.
        grouping: `direct` or `components`; see `assign_keepers`.
        threshold: Similarity that duplicates have to exceed; see `duplicate_rules.make_rule`.
        drop: Relations whose images may be dropped, with commas in between.
        any_sidecars: Drop images even if they have sidecars that their keepers lack, or have with other content.

    Returns:
        One row for each image: the groups in the order of their numbers, each keeper before its duplicates.

    Raises:
        ConfigError: If a parameter is wrong, or the run did not store pairs of so low a similarity.
    """
    _check_parameters(run, grouping, threshold)
    rule = make_rule(run, threshold, drop)
    choice = choose_keepers(run, rule, keep, grouping, any_sidecars=any_sidecars)
    return list(SuggestedPlan(run, rule, choice).rows())


def choose_keepers(
    run: FinishedRun,
    rule: DuplicateRule,
    keep: str = DEFAULT_RULES,
    grouping: Grouping = DIRECT,
    *,
    any_sidecars: bool = False,
    only_files: bool = True,
) -> KeeperChoice:
    """Choose the keepers of all images that have a duplicate.

    Args:
        run: A finished run.
        rule: Decides which images are duplicates.
        keep: As in `suggest`.
        grouping: As in `suggest`.
        any_sidecars: As in `suggest`.
        only_files: Leave out images that cannot be moved, unless they are references.

    Raises:
        ConfigError: If `keep` is wrong.
    """
    rules, pairs, first = parse_rules(keep), rule.list_pairs(), run.first_of_bytes
    repeats = np.flatnonzero(first != np.arange(len(first)))
    rows = np.unique(np.concatenate([pairs.source, pairs.target, repeats, first[repeats]]))
    ranking = Ranking(rules, add_losses(run.images, run.verified), run.names, rows)
    fixed = find_references(run.images)[rows]
    eligible = fixed | _find_standalone(run, rows) if only_files else np.ones(len(rows), bool)
    links = Pairs(np.searchsorted(rows, pairs.source), np.searchsorted(rows, pairs.target), pairs.value)
    digests = np.unique(first[rows], return_inverse=True)[1]

    def compare(first: IntArray, second: IntArray) -> Likeness:
        return rule.compare(rows[first], rows[second])

    groups = find_duplicate_groups(links, digests, eligible)
    assigned = assign_keepers(*groups, ranking, fixed, compare, grouping)
    held = {} if any_sidecars else _hold_back(run, rows, assigned)
    return KeeperChoice(rows, ranking, fixed, assigned, held)


def _find_standalone(run: FinishedRun, rows: IntArray) -> BoolArray:
    """Return (m,) bool: whether each of some images is a separate file, which can be moved."""
    parts = (run.names.take(pa.array(part)) for part in split_array(rows, ROWS_PER_BLOCK))
    return np.concatenate([np.empty(0, bool), *(find_standalone(names, run.access) for names in parts)])


def _hold_back(run: FinishedRun, rows: IntArray, assigned: KeeperAssignments) -> dict[int, str]:
    """Return `KeeperChoice.held`."""
    planned, keepers = (
        [os.fsdecode(name) for name in run.names.take(pa.array(rows[positions])).to_pylist()]
        for positions in (assigned.row, assigned.keeper)
    )
    dropped = np.flatnonzero(assigned.is_dropped).tolist()
    position = {planned[place]: int(assigned.row[place]) for place in dropped}
    held = explain_unique_sidecars({planned[place]: keepers[place] for place in dropped}, planned, run.access)
    return {position[name]: reason for name, reason in held}


def count_not_compared(run: FinishedRun, threshold: float | None = None) -> int:
    """Return how many images are kept, though similar to another one, because their embedding does not show it all.

    Images with the same bytes as the other one do not count.

    Args:
        run: A finished run.
        threshold: As in `suggest`.
    """
    if run.verified is not None:
        return 0
    threshold = default_threshold(run.config) if threshold is None else threshold
    comparable, first = run.is_fully_seen(), run.first_of_bytes
    similar = run.cosines(run.source, run.target) > threshold
    similar &= first[run.source] != first[run.target]
    ends = np.unique(np.concatenate([run.source[similar], run.target[similar]]))
    return int((~comparable[ends]).sum())


def _check_parameters(run: FinishedRun, grouping: str, threshold: float | None) -> None:
    if grouping not in GROUPINGS:
        raise ConfigError(f"Invalid value for grouping: {grouping!r} (must be {' or '.join(GROUPINGS)}).")
    if threshold is None:
        return
    if not 0 <= threshold <= 1:
        raise ConfigError(f"Invalid value for threshold: {threshold:g} (must be between 0 and 1).")
    stored = run.config.get("threshold", 0)
    if threshold < stored and run.verified is None:
        raise ConfigError(
            f"Invalid value for threshold: {threshold:g} (the run stored only pairs above {stored:g}). "
            f"Run again with threshold={threshold:g}; no image is read twice."
        )


def _make_plan_rows(
    run: FinishedRun, rule: DuplicateRule, choice: KeeperChoice, images: IntArray | None
) -> Iterator[PlanRow]:
    """Yield rows of a plan, as `SuggestedPlan.rows` does."""
    position, keeper_position, _ = choice.assigned
    number = _number_groups(run, choice)
    rows, keepers = choice.rows[position], choice.rows[keeper_position]
    wanted = np.ones(len(rows), bool) if images is None else np.isin(rows, images)
    same_bytes = run.first_of_bytes[rows] == run.first_of_bytes[keepers]
    other = wanted & ~same_bytes & (rows != keepers)
    explanations = dict(zip(np.flatnonzero(other).tolist(), rule.explain(keepers[other], rows[other]), strict=True))
    similarity = np.ones(len(rows))
    similarity[other] = np.minimum(run.cosines(keepers[other], rows[other]), 1.0)
    order = np.argsort(number, kind="stable")
    order = order[wanted[order]].tolist()
    for place, own_facts in zip(order, run.facts(rows[order].tolist()), strict=True):
        row, keeper = int(rows[place]), int(keepers[place])
        held = choice.held.get(int(position[place]))
        is_kept = row == keeper or held is not None
        if held is not None:
            reason = Reason(SIDECAR, held)
        elif is_kept:
            own = position[place : place + 2]
            is_needed = len(own) > 1 and keeper_position[place + 1] == position[place]
            reason = _explain_kept(choice, own if is_needed else own[:1])
        else:
            better = choice.ranking.explain_order(int(keeper_position[place]), int(position[place]))
            explanation = explanations.get(place, _SAME_BYTES)
            evidence = f"; {explanation.evidence}" if explanation.evidence else ""
            reason = Reason(better.rule, f"{explanation.likeness} its keeper, which {better.text}{evidence}")
        yield PlanRow(
            filename=run.name(row),
            action=KEEP if is_kept else DROP,
            group=int(number[place]),
            keeper="" if is_kept else run.name(keeper),
            similarity=None if is_kept else float(similarity[place]),
            rule=reason.rule,
            reason=reason.text,
            **own_facts,
        )


def _number_groups(run: FinishedRun, choice: KeeperChoice) -> IntArray:
    """Return (m,) the number of the group of each assigned image: the lowest `component_id` in it, if there is one."""
    position, _, group = choice.assigned
    group = np.unique(group, return_inverse=True)[1]
    if run.component is None:
        return group
    component = run.component[choice.rows[position]]
    lowest = np.full(len(group), np.iinfo(np.int64).max)
    np.minimum.at(lowest, group, component)
    return lowest[group]


def _explain_kept(choice: KeeperChoice, own: IntArray) -> Reason:
    """Return why an image is kept. `own` has the position of the keeper and then of its first duplicate, if any."""
    if len(own) > 1:
        return choice.ranking.explain_kept(own)
    if choice.fixed[own[0]]:
        return Reason("reference", "a reference image")
    return Reason(DIRECT, "no duplicate of an image that is kept")
