"""The keepers of the images of a run that have a duplicate."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa

from fastdup_ray.analysis.keeper_assignment import DIRECT, Grouping, Likeness, assign_keepers
from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, add_losses, parse_rules
from fastdup_ray.analysis.linked_groups import iter_groups, iter_rows
from fastdup_ray.common.arrays import BoolArray, IntArray, split_array, split_pairs
from fastdup_ray.common.mapped_arrays import make_array, write_and_map_columns
from fastdup_ray.curation.duplicate_rules import DuplicateRule
from fastdup_ray.curation.finished_run import FinishedRun, Links
from fastdup_ray.curation.sidecar_check import find_unique_sidecars
from fastdup_ray.inputs import find_boxes, find_standalone
from fastdup_ray.storage.tables import ROWS_PER_BLOCK


@dataclass(frozen=True)
class KeeperChoice:
    """The keepers of the m images of a plan. All arrays are mapped from files, unless they are small.

    Images are in the order of the plan: group by group, each keeper before the images that it is kept for.

    Attributes:
        row: (m,) int64 indices in features.dat.
        keeper: (m,) int64 index of the keeper of each, which may be itself.
        number: (m,) int64 number of its group.
        dropped_for: (n,) int64, for each image of the run the one that it is dropped for; -1 if it is not dropped.
        held: Images that stay though another one is their keeper, each with the sidecar that is the reason.
        rank: Returns the order of preference of images at ascending indices.
    """

    row: IntArray
    keeper: IntArray
    number: IntArray
    dropped_for: IntArray
    held: Mapping[int, str]
    rank: Callable[[IntArray], Ranking]

    def find_keepers(self, images: IntArray) -> IntArray:
        """Return (m,) int64: the image that each of m images is dropped for; -1 where it is not dropped."""
        keepers = np.full(len(images), -1)
        of_run = images < len(self.dropped_for)
        keepers[of_run] = self.dropped_for[images[of_run]]
        return keepers

    def iter_dropped(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield the indices of the images to drop, in the order of the plan, and of their keepers, block by block."""
        for rows in split_array(self.row, ROWS_PER_BLOCK):
            keepers = self.dropped_for[rows]
            yield rows[keepers >= 0], keepers[keepers >= 0]


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

    Whole groups are processed, some at a time. So a group of millions of images is in memory at once, with about 200
    bytes for each of them.

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
    rules, images = parse_rules(keep), add_losses(run.images, run.verified)

    def rank(rows: IntArray) -> Ranking:
        return Ranking(rules, images, run.names, rows)

    def iter_blocks() -> Iterator[tuple[IntArray, IntArray, IntArray]]:
        links = _iter_links(run, rule, only_files=only_files)
        for groups in iter_groups(links, len(run.names), run.find_components, run.scratch):
            rows = np.sort(groups.row)

            def compare(first: IntArray, second: IntArray, rows: IntArray = rows) -> Likeness:
                return rule.compare(rows[first], rows[second])

            members = np.searchsorted(rows, groups.row)
            fixed = run.find_references(rows)
            row, keeper = assign_keepers(members, groups.group, rank(rows), fixed, compare, grouping)
            yield rows[row], rows[keeper], groups.number

    row, keeper, number = write_and_map_columns(iter_blocks(), [np.int64] * 3, run.scratch)
    held = {} if any_sidecars else find_unique_sidecars(run.names, row, keeper, run.access, run.scratch)
    return KeeperChoice(row, keeper, number, _find_dropped(run, row, keeper, held), held, rank)


def _find_dropped(run: FinishedRun, row: IntArray, keeper: IntArray, held: Mapping[int, str]) -> IntArray:
    """Return `KeeperChoice.dropped_for`."""
    dropped_for = make_array(len(run.names), np.int64, run.scratch, -1)
    for rows, keepers in split_pairs(row, keeper, ROWS_PER_BLOCK):
        dropped_for[rows] = np.where(rows == keepers, -1, keepers)
    dropped_for[list(held)] = -1
    return dropped_for


def _iter_links(run: FinishedRun, rule: DuplicateRule, *, only_files: bool) -> Iterator[Links]:
    """Yield pairs of duplicates that may be in a plan; with the same bytes, each is linked with the first of them."""
    source, target = write_and_map_columns(rule.iter_links(), [np.int64] * 2, run.scratch)
    links = source, target
    eligible = _find_eligible(run, links, only_files=only_files)
    for source, target in split_pairs(*links, ROWS_PER_BLOCK):
        both = eligible[source] & eligible[target]
        yield source[both], target[both]
    yield from _link_same_bytes(run, eligible)


def _link_same_bytes(run: FinishedRun, eligible: BoolArray) -> Iterator[Links]:
    """Yield each eligible image, and the first eligible one with the same bytes."""
    earliest = make_array(len(eligible), np.int64, run.scratch, len(eligible))
    for rows in iter_rows(eligible):
        first = run.first_of_bytes[rows]
        np.minimum.at(earliest, first, rows)
        yield rows, earliest[first]


def _find_eligible(run: FinishedRun, links: Links, *, only_files: bool) -> BoolArray:
    """Return (n,) whether an image may be in a plan.

    These are all references and the images that may be dropped: files of their own; where there are none, boxes of
    photos. A box and a file are never in one group, so that no file is dropped because of a box.

    Args:
        run: A finished run.
        links: Pairs of duplicates.
        only_files: See `choose_keepers`.
    """
    n = len(run.names)
    if not only_files:
        return make_array(n, bool, run.scratch, fill=1)
    has_duplicate = make_array(n, bool, run.scratch)
    for source, target in chain(split_pairs(*links, ROWS_PER_BLOCK), run.iter_same_bytes()):
        has_duplicate[source] = has_duplicate[target] = True
    eligible, may_drop = _check_names(run, has_duplicate, lambda names: find_standalone(names, run.access))
    return eligible if may_drop else _check_names(run, has_duplicate, find_boxes)[0]


def _check_names(run: FinishedRun, which: BoolArray, check: Callable[[pa.Array], BoolArray]) -> tuple[BoolArray, bool]:
    """Return (n,) whether some images are references or pass a check of their names; and whether others pass it."""
    eligible, may_drop = make_array(len(which), bool, run.scratch), False
    for rows in iter_rows(which):
        fixed, passes = run.find_references(rows), check_names(run, rows, check)
        eligible[rows] = fixed | passes
        may_drop |= bool((passes & ~fixed).any())
    return eligible, may_drop


def check_names(run: FinishedRun, rows: IntArray, check: Callable[[pa.Array], BoolArray]) -> BoolArray:
    """Return (m,) bool: what a check says of the names of some images, part by part."""
    parts = (run.names.take(pa.array(part)) for part in split_array(rows, ROWS_PER_BLOCK))
    return np.concatenate([np.empty(0, bool), *map(check, parts)])
