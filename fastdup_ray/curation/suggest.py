"""From a finished run to a plan: suggest which images to drop."""

import os
from collections.abc import Iterator

import numpy as np

from fastdup_ray.analysis.edges import encode_digests
from fastdup_ray.analysis.keeper_assignment import (
    DIRECT,
    GROUPINGS,
    Grouping,
    KeeperAssignment,
    assign_keepers,
    find_duplicate_groups,
)
from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, Reason, find_references, parse_rules
from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.curation.duplicate_rules import DEFAULT_DROP, DuplicateRule, default_threshold, make_rule
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.plan_file import DROP, KEEP, PlanRow
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs import is_standalone_file


def suggest(
    run: FinishedRun,
    keep: str = DEFAULT_RULES,
    grouping: Grouping = DIRECT,
    threshold: float | None = None,
    drop: str = DEFAULT_DROP,
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

    Returns:
        One row for each image: the groups in the order of their first image, in each group its keepers first.

    Raises:
        ConfigError: If a parameter is wrong, or the run did not store pairs of so low a similarity.
    """
    _check_parameters(run, grouping, threshold)
    rule = make_rule(run, threshold, drop)
    fixed, ranking = find_references(run.images), Ranking(parse_rules(keep), run.images, run.names)
    groups = [
        assign_keepers(members, ranking, fixed, rule.compare, grouping) for members in _find_groups(run, rule, fixed)
    ]
    return list(_make_plan_rows(run, rule, groups, ranking, fixed))


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
    comparable, digests = run.is_fully_seen(), encode_digests(run.images["sha256"])
    similar = run.cosines(run.source, run.target) > threshold
    similar &= digests[run.source] != digests[run.target]
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
            f"Run again with --threshold {threshold:g}; no image is read twice."
        )


def _find_groups(run: FinishedRun, rule: DuplicateRule, fixed: BoolArray) -> Iterator[IntArray]:
    eligible = fixed | np.array(
        [is_standalone_file(os.fsdecode(name), run.access) for name in run.names.to_pylist()], bool
    )
    return find_duplicate_groups(rule.list_pairs(), encode_digests(run.images["sha256"]), eligible)


def _make_plan_rows(
    run: FinishedRun, rule: DuplicateRule, groups: list[list[KeeperAssignment]], ranking: Ranking, fixed: BoolArray
) -> Iterator[PlanRow]:
    facts = iter(run.facts([item.row for group in groups for item in group]))
    for number, group in enumerate(groups):
        for (row, keeper, similarity), own_facts in zip(group, facts, strict=False):
            is_keeper = row == keeper
            if is_keeper:
                own = np.array([item.row for item in group if item.keeper == row], np.int64)
                reason = _explain_kept(ranking, own, is_reference=bool(fixed[row]))
            else:
                reason = _explain_dropped(ranking, rule, keeper, row, same_bytes=similarity == np.inf)
            yield PlanRow(
                filename=run.name(row),
                action=KEEP if is_keeper else DROP,
                group=number,
                keeper="" if is_keeper else run.name(keeper),
                similarity=None if is_keeper else min(similarity, 1.0),
                rule=reason.rule,
                reason=reason.text,
                **own_facts,
            )


def _explain_kept(ranking: Ranking, own: IntArray, *, is_reference: bool) -> Reason:
    """Return why an image is kept. `own` has the index of the keeper and then of its duplicates."""
    if len(own) > 1:
        return ranking.explain_kept(own)
    if is_reference:
        return Reason("reference", "a reference image")
    return Reason(DIRECT, "no duplicate of an image that is kept")


def _explain_dropped(ranking: Ranking, rule: DuplicateRule, keeper: int, row: int, *, same_bytes: bool) -> Reason:
    decisive, better = ranking.explain_order(keeper, row)
    return Reason(
        decisive, f"{'same bytes as' if same_bytes else rule.explain(keeper, row)} its keeper, which {better}"
    )
