"""From a finished run to a plan: suggest which images to drop."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import pyarrow.compute as pc

from fastdup_ray.analysis.keeper_assignment import DIRECT, GROUPINGS, Grouping
from fastdup_ray.analysis.keepers import DEFAULT_RULES
from fastdup_ray.analysis.linked_groups import iter_rows
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.curation.duplicate_rules import DEFAULT_DROP, EXACT, DuplicateRule, default_threshold, make_rule
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.keeper_choice import KeeperChoice, check_names, choose_keepers
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.curation.plan_rows import make_plan_rows
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs import find_boxes
from fastdup_ray.storage.tables import take_rows


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
        return make_plan_rows(self.run, self.rule, self.choice, images)

    @cached_property
    def dropped(self) -> int:
        """Number of images to drop."""
        return sum(len(rows) for rows, _ in self.choice.iter_dropped())

    @cached_property
    def dropped_bytes(self) -> int:
        """Bytes of the files to drop; of a box its photo stays."""
        sizes, total = self.run.images.select(["size"]), 0
        for rows, _ in self.choice.iter_dropped():
            files = rows[~check_names(self.run, rows, find_boxes)]
            total += pc.sum(take_rows(sizes, files)["size"]).as_py() or 0
        return total


def suggest_plan(
    run: FinishedRun,
    keep: str = DEFAULT_RULES,
    grouping: Grouping = DIRECT,
    threshold: float | None = None,
    drop: str = DEFAULT_DROP,
    *,
    any_sidecars: bool = False,
) -> SuggestedPlan:
    """Return a plan of all images that have a duplicate.

    If the run verified pairs, two images are duplicates if their relation is in `drop`. Else
    they are if their similarity exceeds the threshold, and images whose embedding does not show the whole file (see
    `FinishedRun.is_fully_seen`) only if their bytes are the same. Images of reference inputs are always kept. Images in
    archives and frames of videos, which cannot be moved, are left out unless they are references. Boxes of photos are
    only planned where no files are: an exported annotation file leaves them out.

    Args:
        run: A finished run.
        keep: Rules that choose the keeper of a group; see `analysis.keepers`.
        grouping: `direct` or `components`; see `assign_keepers`.
        threshold: Similarity that duplicates have to exceed; see `duplicate_rules.make_rule`.
        drop: Relations whose images may be dropped, with commas in between.
        any_sidecars: Drop images even if they have sidecars that their keepers lack, or have with other content.

    Returns:
        The plan, with one row for each image: the groups in the order of their numbers, each keeper before its
        duplicates.

    Raises:
        ConfigError: If a parameter is wrong, or the run did not store pairs of so low a similarity.
    """
    _check_parameters(run, grouping, threshold)
    rule = make_rule(run, threshold, drop)
    choice = choose_keepers(run, rule, keep, grouping, any_sidecars=any_sidecars)
    return SuggestedPlan(run, rule, choice)


def count_not_compared(run: FinishedRun, threshold: float | None = None) -> int:
    """Return how many images are kept, though similar to another one, because their embedding does not show it all.

    Images with the same bytes as the other one do not count.

    Args:
        run: A finished run.
        threshold: As in `suggest_plan`.
    """
    threshold = default_threshold(run.config) if threshold is None else threshold
    if run.verified is not None or threshold >= EXACT:
        return 0
    comparable, is_kept = run.find_fully_seen(), make_array(len(run.names), bool, run.scratch)
    for source, target in run.iter_pairs():
        similar = run.cosines(source, target) > threshold
        similar &= run.first_of_bytes[source] != run.first_of_bytes[target]
        for ends in (source[similar], target[similar]):
            is_kept[ends] = ~comparable[ends]
    return sum(map(len, iter_rows(is_kept)))


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
