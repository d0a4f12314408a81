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
from fastdup_ray.storage.tables import ROWS_PER_BLOCK

ROWS_AT_ONCE = 1 << 14
"""Rows whose facts are read at a time."""

SIDECAR = "sidecar"
"""Rule of an image that is kept because of a sidecar that its keeper lacks."""

_SAME_BYTES = Explanation("same bytes as")
_REFERENCE = Reason("reference", "a reference image")
_NO_DUPLICATE = Reason(DIRECT, "no duplicate of an image that is kept")


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
    for places in _iter_places(choice, images):
        yield from _make_rows_at(run, rule, choice, places)


def _iter_places(choice: KeeperChoice, images: IntArray | None) -> Iterator[IntArray]:
    """Yield the places in the plan of some images, ascending, at most `ROWS_AT_ONCE` at a time."""
    if images is None:
        for start in range(0, len(choice.row), ROWS_AT_ONCE):
            yield np.arange(start, min(start + ROWS_AT_ONCE, len(choice.row)))
        return
    parts, start = [np.empty(0, np.int64)], 0
    for rows in split_array(choice.row, ROWS_PER_BLOCK):
        parts.append(start + np.flatnonzero(np.isin(rows, images)))
        start += len(rows)
    yield from split_array(np.concatenate(parts), ROWS_AT_ONCE)


def _make_rows_at(run: FinishedRun, rule: DuplicateRule, choice: KeeperChoice, places: IntArray) -> Iterator[PlanRow]:
    """Yield the rows at some places of a plan."""
    rows, keepers, numbers = choice.row[places], choice.keeper[places], choice.number[places]
    # A keeper is explained by the image behind it, if it is kept for that one.
    behind = np.minimum(places + 1, len(choice.row) - 1)
    seconds = np.where(choice.keeper[behind] == rows, choice.row[behind], rows)
    ranked = np.unique([rows, keepers, seconds])
    ranking = choice.rank(ranked)
    own, best, second = np.searchsorted(ranked, [rows, keepers, seconds])
    same_bytes = run.first_of_bytes[rows] == run.first_of_bytes[keepers]
    other = np.flatnonzero(~same_bytes & (rows != keepers))
    explanations = dict(zip(other.tolist(), rule.explain(keepers[other], rows[other]), strict=True))
    similarity = np.ones(len(rows))
    similarity[other] = np.minimum(run.cosines(keepers[other], rows[other]), 1.0)
    for index, (row, keeper, facts) in enumerate(zip(rows.tolist(), keepers.tolist(), run.facts(rows), strict=True)):
        held = choice.held.get(row)
        is_kept = row == keeper or held is not None
        if held is not None:
            reason = Reason(SIDECAR, held)
        elif is_kept and second[index] != own[index]:
            reason = ranking.explain_kept(np.array([own[index], second[index]]))
        elif is_kept:
            reason = _REFERENCE if facts["reference"] else _NO_DUPLICATE
        else:
            better = ranking.explain_order(int(best[index]), int(own[index]))
            explanation = explanations.get(index, _SAME_BYTES)
            evidence = f"; {explanation.evidence}" if explanation.evidence else ""
            reason = Reason(better.rule, f"{explanation.likeness} its keeper, which {better.text}{evidence}")
        yield PlanRow(
            filename=run.name(row),
            action=KEEP if is_kept else DROP,
            group=int(numbers[index]),
            keeper="" if is_kept else run.name(keeper),
            similarity=None if is_kept else float(similarity[index]),
            rule=reason.rule,
            reason=reason.text,
            **facts,
        )
