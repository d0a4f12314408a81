"""From a finished run to a plan: suggest which images to drop."""

import os
from collections.abc import Iterator

import numpy as np

from fastdup_ray.analysis.components import find_components
from fastdup_ray.analysis.edges import build_edges, encode_digests
from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, Reason, find_references, parse_rules
from fastdup_ray.common.arrays import BoolArray, DoubleArray, IntArray
from fastdup_ray.common.facts import StoredConfig
from fastdup_ray.common.records import Pairs
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.groups import DIRECT, GROUPINGS, Grouping, KeeperAssignment, assign_keepers
from fastdup_ray.curation.plan_file import DROP, KEEP, PlanRow
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs import is_standalone_file

STRICT = 0.995
"""The default threshold of a plan; docs/benchmarks.md has the precision that was measured above it."""

EXACT = 1.0
"""A threshold that no cosine exceeds: only files with the same bytes are duplicates."""

NOT_COMPARED = -1.0
"""Stands for the cosine of two images if the embedding of one does not show the whole file."""


def default_threshold(config: StoredConfig) -> float:
    """Return the threshold of a plan for a run with these parameters.

    It is `STRICT` for the embedded model on whole images. With other models, or parts of images, a cosine says too
    little, and it is `EXACT`.
    """
    return EXACT if not config or config.get("model_path") or config.get("bounding_box") else STRICT


def suggest(
    run: FinishedRun, keep: str = DEFAULT_RULES, grouping: Grouping = DIRECT, threshold: float | None = None
) -> list[PlanRow]:
    """Return a plan of all images that have a duplicate.

    Images whose embedding does not show the whole file (see `FinishedRun.is_fully_seen`) are duplicates only if their
    bytes are the same. Images of reference inputs are always kept. Images in archives and frames of videos, which
    cannot be moved, are left out unless they are references.

    Args:
        run: A finished run.
        keep: Rules that choose the keeper of a group; see `analysis.keepers`.
        grouping: `direct` or `components`; see `assign_keepers`.
        threshold: Two images with a cosine above it are duplicates, as are two with the same bytes; None:
            `default_threshold`.

    Returns:
        One row for each image: the groups in the order of their first image, in each group its keepers first.

    Raises:
        ConfigError: If a parameter is wrong, or the run did not store pairs of so low a similarity.
    """
    threshold = default_threshold(run.config) if threshold is None else threshold
    _check_parameters(run, grouping, threshold)
    fixed, digests = find_references(run.images), encode_digests(run.images["sha256"])
    ranking, comparable = Ranking(parse_rules(keep), run.images, run.names), run.is_fully_seen()

    def similarity(row: int, others: IntArray) -> DoubleArray:
        cosines = np.where(comparable[others] & comparable[row], run.cosines(row, others), NOT_COMPARED)
        return np.where(digests[others] == digests[row], np.inf, cosines)

    groups = [
        assign_keepers(members, ranking, fixed, similarity, threshold, grouping)
        for members in _find_groups(run, digests, threshold, fixed, comparable)
    ]
    return list(_make_plan_rows(run, groups, ranking, fixed))


def count_not_compared(run: FinishedRun, threshold: float | None = None) -> int:
    """Return how many images are kept, though similar to another one, because their embedding does not show it all.

    Images with the same bytes as the other one do not count.

    Args:
        run: A finished run.
        threshold: As in `suggest`.
    """
    threshold = default_threshold(run.config) if threshold is None else threshold
    comparable, digests = run.is_fully_seen(), encode_digests(run.images["sha256"])
    similar = run.cosines(run.source, run.target) > threshold
    similar &= digests[run.source] != digests[run.target]
    ends = np.unique(np.concatenate([run.source[similar], run.target[similar]]))
    return int((~comparable[ends]).sum())


def _check_parameters(run: FinishedRun, grouping: str, threshold: float) -> None:
    if grouping not in GROUPINGS:
        raise ConfigError(f"Invalid value for grouping: {grouping!r} (must be {' or '.join(GROUPINGS)}).")
    if not 0 <= threshold <= 1:
        raise ConfigError(f"Invalid value for threshold: {threshold:g} (must be between 0 and 1).")
    stored = run.config.get("threshold", 0)
    if threshold < stored:
        raise ConfigError(
            f"Invalid value for threshold: {threshold:g} (the run stored only pairs above {stored:g}). "
            f"Run again with --threshold {threshold:g}; no image is read twice."
        )


def _find_groups(
    run: FinishedRun, digests: IntArray, threshold: float, fixed: BoolArray, comparable: BoolArray
) -> Iterator[IntArray]:
    """Yield the indices, (m,) int64, of each component of two or more images, in the order of its first image."""
    n = len(run.names)
    eligible = fixed | np.array(
        [is_standalone_file(os.fsdecode(name), run.access) for name in run.names.to_pylist()], bool
    )
    cosines = run.cosines(run.source, run.target)
    linkable = eligible & comparable
    linked = (cosines > threshold) & linkable[run.source] & linkable[run.target]
    pairs = Pairs(run.source[linked], run.target[linked], cosines[linked])
    codes = np.where(eligible, digests, 2 * n + np.arange(n))  # a code of its own links an image to no other
    component = find_components(build_edges(pairs, codes), n, pagerank=False, degree=False).block(0, n).component
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return (members for members in parts if len(members) > 1)


def _make_plan_rows(
    run: FinishedRun, groups: list[list[KeeperAssignment]], ranking: Ranking, fixed: BoolArray
) -> Iterator[PlanRow]:
    facts = iter(run.facts([item.row for group in groups for item in group]))
    for number, group in enumerate(groups):
        for (row, keeper, similarity), own_facts in zip(group, facts, strict=False):
            is_keeper = row == keeper
            if is_keeper:
                own = np.array([item.row for item in group if item.keeper == row], np.int64)
                reason = _explain_kept(ranking, own, is_reference=bool(fixed[row]))
            else:
                reason = _explain_dropped(ranking, keeper, row, same_bytes=similarity == np.inf)
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
        return Reason("reference", "a reference picture")
    return Reason(DIRECT, "not close enough to a picture that is kept")


def _explain_dropped(ranking: Ranking, keeper: int, row: int, *, same_bytes: bool) -> Reason:
    rule, better = ranking.explain_order(keeper, row)
    return Reason(rule, f"{'same bytes as' if same_bytes else 'near copy of'} its keeper, which {better}")
