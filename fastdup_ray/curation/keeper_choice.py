"""The keepers of the images of a run that may have a duplicate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from fastdup_ray.analysis.keeper_assignment import (
    DIRECT,
    Grouping,
    KeeperAssignments,
    Likeness,
    assign_keepers,
    find_duplicate_groups,
)
from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, add_losses, find_references, parse_rules
from fastdup_ray.common.arrays import BoolArray, IntArray, split_array
from fastdup_ray.common.records import Pairs
from fastdup_ray.curation.duplicate_rules import DuplicateRule
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.sidecar_check import find_unique_sidecars
from fastdup_ray.inputs import find_boxes, find_standalone
from fastdup_ray.storage.tables import ROWS_PER_BLOCK


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
        keep: As in `suggest_plan`.
        grouping: As in `suggest_plan`.
        any_sidecars: As in `suggest_plan`.
        only_files: Leave out images that cannot be moved, unless they are references.

    Raises:
        ConfigError: If `keep` is wrong.
    """
    rules, pairs, first = parse_rules(keep), rule.list_pairs(), run.first_of_bytes
    repeats = np.flatnonzero(first != np.arange(len(first)))
    rows = np.unique(np.concatenate([pairs.source, pairs.target, repeats, first[repeats]]))
    ranking = Ranking(rules, add_losses(run.images, run.verified), run.names, rows)
    fixed = find_references(run.images)[rows]
    eligible = fixed | _find_droppable(run, rows, fixed) if only_files else np.ones(len(rows), bool)
    links = Pairs(np.searchsorted(rows, pairs.source), np.searchsorted(rows, pairs.target), pairs.value)
    digests = np.unique(first[rows], return_inverse=True)[1]

    def compare(first: IntArray, second: IntArray) -> Likeness:
        return rule.compare(rows[first], rows[second])

    groups = find_duplicate_groups(links, digests, eligible)
    assigned = assign_keepers(*groups, ranking, fixed, compare, grouping)
    held = {} if any_sidecars else _hold_back(run, rows, assigned)
    return KeeperChoice(rows, ranking, fixed, assigned, held)


def _find_droppable(run: FinishedRun, rows: IntArray, fixed: BoolArray) -> BoolArray:
    """Return which images may be dropped: files of their own; where there are none, boxes of photos.

    A box and a file are never in one group, so that no file is dropped because of a box.
    """
    files = check_names(run, rows, lambda names: find_standalone(names, run.access))
    return files if (files & ~fixed).any() else check_names(run, rows, find_boxes)


def check_names(run: FinishedRun, rows: IntArray, check: Callable[[pa.Array], BoolArray]) -> BoolArray:
    """Return (m,) bool: what a check says of the names of some images, part by part."""
    parts = (run.names.take(pa.array(part)) for part in split_array(rows, ROWS_PER_BLOCK))
    return np.concatenate([np.empty(0, bool), *map(check, parts)])


def _hold_back(run: FinishedRun, rows: IntArray, assigned: KeeperAssignments) -> dict[int, str]:
    """Return `KeeperChoice.held`."""
    held = find_unique_sidecars(run.names, rows[assigned.row], rows[assigned.keeper], run.access)
    return {int(np.searchsorted(rows, row)): reason for row, reason in held.items()}
