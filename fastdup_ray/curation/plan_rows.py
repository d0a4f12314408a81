"""The rows of a plan: what it says of each image, and why."""

from collections.abc import Iterator

import numpy as np

from fastdup_ray.analysis.keeper_assignment import DIRECT
from fastdup_ray.analysis.keepers import Reason
from fastdup_ray.common.arrays import IntArray, split_array
from fastdup_ray.curation.duplicate_rules import DuplicateRule, Explanation
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.keeper_choice import KeeperChoice
from fastdup_ray.curation.plan_row import DROP, KEEP, PlanRow

ROWS_AT_ONCE = 1 << 14
"""Rows whose facts are read at a time."""

SIDECAR = "sidecar"
"""Rule of an image that is kept because of a sidecar that its keeper lacks."""

_SAME_BYTES = Explanation("same bytes as")


def make_plan_rows(
    run: FinishedRun, rule: DuplicateRule, choice: KeeperChoice, images: IntArray | None = None
) -> Iterator[PlanRow]:
    """Yield the rows of a plan by the numbers of their groups; each keeper comes before its duplicates.

    Args:
        run: A finished run.
        rule: Decides which images are duplicates.
        choice: The keepers of its images.
        images: Indices in features.dat; images that the plan does not have are ignored. None: all of the plan.
    """
    number, order = order_places(run, choice)
    if images is not None:
        order = order[np.isin(choice.rows[choice.assigned.row[order]], images)]
    for places in split_array(order, ROWS_AT_ONCE):
        yield from _make_rows_at(run, rule, choice, number, places)


def _make_rows_at(
    run: FinishedRun, rule: DuplicateRule, choice: KeeperChoice, number: IntArray, places: IntArray
) -> Iterator[PlanRow]:
    """Yield the rows at some places of `choice.assigned`."""
    position, keeper_position, _ = choice.assigned
    rows, keepers = choice.rows[position[places]], choice.rows[keeper_position[places]]
    same_bytes = run.first_of_bytes[rows] == run.first_of_bytes[keepers]
    other = np.flatnonzero(~same_bytes & (rows != keepers))
    explanations = dict(zip(other.tolist(), rule.explain(keepers[other], rows[other]), strict=True))
    similarity = np.ones(len(rows))
    similarity[other] = np.minimum(run.cosines(keepers[other], rows[other]), 1.0)
    for index, (place, own_facts) in enumerate(zip(places.tolist(), run.facts(rows), strict=True)):
        row, keeper = int(rows[index]), int(keepers[index])
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
            explanation = explanations.get(index, _SAME_BYTES)
            evidence = f"; {explanation.evidence}" if explanation.evidence else ""
            reason = Reason(better.rule, f"{explanation.likeness} its keeper, which {better.text}{evidence}")
        yield PlanRow(
            filename=run.name(row),
            action=KEEP if is_kept else DROP,
            group=int(number[place]),
            keeper="" if is_kept else run.name(keeper),
            similarity=None if is_kept else float(similarity[index]),
            rule=reason.rule,
            reason=reason.text,
            **own_facts,
        )


def order_places(run: FinishedRun, choice: KeeperChoice) -> tuple[IntArray, IntArray]:
    """Return the number of the group of each of the m assigned images, and the m places in the order of the plan."""
    number = _number_groups(run, choice)
    return number, np.argsort(number, kind="stable")


def _number_groups(run: FinishedRun, choice: KeeperChoice) -> IntArray:
    """Return (m,) the number of the group of each assigned image: the lowest `component_id` in it, if there is one."""
    position, _, group = choice.assigned
    group = np.unique(group, return_inverse=True)[1]
    if run.find_components is None:
        return group
    component = run.find_components(choice.rows[position])
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
