"""From a finished run to a plan: a suggestion, which nobody has to follow."""

import os
from collections.abc import Iterator

import numpy as np

from fastdup_ray.analysis.components import find_components
from fastdup_ray.analysis.edges import build_edges, encode_digests
from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, Reason, find_references, parse_rules
from fastdup_ray.common.facts import StoredConfig
from fastdup_ray.common.records import Pairs
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.groups import DIRECT, GROUPINGS, Grouping, KeeperAssignment, assign_keepers
from fastdup_ray.curation.plan_file import DROP, KEEP, PlanRow
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs import is_standalone_file

STRICT = 0.995
"""The default threshold: above it, no two pictures of different groups were paired where we looked (README)."""

EXACT = 1.0
"""A threshold that no cosine is above: byte-identical copies only."""

NOT_COMPARED = -1.0
"""The cosine of two images of which one has an embedding that does not speak for the whole of it."""


def default_threshold(config: StoredConfig) -> float:
    """`STRICT` for the embedded model on whole pictures; elsewhere a cosine says too little: `EXACT`."""
    return EXACT if not config or config.get("model_path") or config.get("bounding_box") else STRICT


def suggest(
    run: FinishedRun, keep: str = DEFAULT_RULES, grouping: Grouping = DIRECT, threshold: float | None = None
) -> list[PlanRow]:
    """The plan of all pictures that have a copy: groups in the order of their first image, in each the keepers first.

    keep: rules, see `keepers`. grouping: `direct` or `components`, see `groups`. threshold: cosine above which two
    pictures are copies; byte-identical ones always are; None: `default_threshold`. Raises `ConfigError`.

    Images whose embedding does not show all of them (see `FinishedRun.shows_all`) are duplicates by their bytes alone.
    Images of reference inputs are always kept. Frames of videos and images in archives, which cannot be moved, are left
    out, unless they are references.
    """
    threshold = default_threshold(run.config) if threshold is None else threshold
    _check(run, grouping, threshold)
    fixed, digests = find_references(run.images), encode_digests(run.images["sha256"])
    ranking, comparable = Ranking(parse_rules(keep), run.images, run.names), run.is_fully_seen()

    def likeness(row: int, others: np.ndarray) -> np.ndarray:
        cosines = np.where(comparable[others] & comparable[row], run.cosines(row, others), NOT_COMPARED)
        return np.where(digests[others] == digests[row], np.inf, cosines)

    groups = [
        assign_keepers(members, ranking, fixed, likeness, threshold, grouping)
        for members in _find_groups(run, digests, threshold, fixed, comparable)
    ]
    return list(_make_plan_rows(run, groups, ranking, fixed))


def count_not_compared(run: FinishedRun, threshold: float | None = None) -> int:
    """Return how many images are kept though they are similar to another one: their embedding does not show all.

    Those with the same bytes as the other do not count.
    """
    threshold = default_threshold(run.config) if threshold is None else threshold
    comparable, digests = run.is_fully_seen(), encode_digests(run.images["sha256"])
    similar = run.cosines(run.source, run.target) > threshold
    similar &= digests[run.source] != digests[run.target]
    ends = np.unique(np.concatenate([run.source[similar], run.target[similar]]))
    return int((~comparable[ends]).sum())


def _check(run: FinishedRun, grouping: str, threshold: float) -> None:
    if grouping not in GROUPINGS:
        raise ConfigError(f"grouping={grouping!r} is not possible: it should be {' or '.join(GROUPINGS)}.")
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold={threshold:g} is not possible: it should be between 0 and 1.")
    stored = run.config.get("threshold", 0)
    if threshold < stored:
        raise ConfigError(
            f"threshold={threshold:g} is not possible: the run stored pairs above {stored:g} only; "
            f"run it again with --threshold {threshold:g}, which reads no picture twice."
        )


def _find_groups(
    run: FinishedRun, digests: np.ndarray, threshold: float, fixed: np.ndarray, comparable: np.ndarray
) -> Iterator[np.ndarray]:
    """The rows, (m,) int64, of each component with two images or more, in the order of its first image."""
    n = len(run.names)
    names = map(os.fsdecode, run.names.to_pylist())
    taken = fixed | np.array([is_standalone_file(name, run.access) for name in names], bool)
    value = run.cosines(run.source, run.target)
    linkable = taken & comparable
    linked = (value > threshold) & linkable[run.source] & linkable[run.target]
    pairs = Pairs(run.source[linked], run.target[linked], value[linked])
    codes = np.where(taken, digests, 2 * n + np.arange(n))  # one of its own: the same as no other
    component = find_components(build_edges(pairs, codes), n, pagerank=False, degree=False).block(0, n).component
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return (members for members in parts if len(members) > 1)


def _make_plan_rows(
    run: FinishedRun, groups: list[list[KeeperAssignment]], ranking: Ranking, fixed: np.ndarray
) -> Iterator[PlanRow]:
    facts = iter(run.facts([item.row for group in groups for item in group]))
    for number, group in enumerate(groups):
        for (row, keeper, likeness), known in zip(group, facts, strict=False):
            is_keeper = row == keeper
            if is_keeper:
                own = np.array([item.row for item in group if item.keeper == row], np.int64)
                reason = _explain_kept(ranking, own, bool(fixed[row]))
            else:
                reason = _explain_dropped(ranking, keeper, row, same_bytes=likeness == np.inf)
            yield PlanRow(
                filename=run.name(row),
                action=KEEP if is_keeper else DROP,
                group=number,
                keeper="" if is_keeper else run.name(keeper),
                similarity=None if is_keeper else min(likeness, 1.0),
                rule=reason.rule,
                reason=reason.text,
                **known,
            )


def _explain_kept(ranking: Ranking, own: np.ndarray, is_reference: bool) -> Reason:
    """own: the rows that have this keeper, it first."""
    if len(own) > 1:
        return ranking.explain_kept(own)
    if is_reference:
        return Reason("reference", "a reference picture")
    return Reason(DIRECT, "not close enough to a picture that is kept")


def _explain_dropped(ranking: Ranking, keeper: int, row: int, *, same_bytes: bool) -> Reason:
    rule, better = ranking.explain_order(keeper, row)
    return Reason(rule, f"{'same bytes as' if same_bytes else 'near copy of'} its keeper, which {better}")
