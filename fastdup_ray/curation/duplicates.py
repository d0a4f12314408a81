"""The duplicates of a finished run, and their groups, as tables."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, parse_rules
from fastdup_ray.analysis.verified_pairs import find_first_of_bytes
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.plan_file import PlanRow
from fastdup_ray.outputs.exact_copies import BYTES, PIXELS, ExactCopies
from fastdup_ray.storage.tables import encode_names, escape_names, find_positions

SIMILAR = "similar"
"""Kind of a duplicate that was not compared with its keeper in full detail."""

DUPLICATES = pa.schema(
    [
        ("filename", pa.large_string()),
        ("keeper", pa.large_string()),
        ("kind", pa.large_string()),
        ("similarity", pa.float64()),
        ("group", pa.int64()),
        ("safe_to_drop", pa.bool_()),
        ("size", pa.int64()),
    ]
)
"""Columns of the table of duplicates."""

GROUPS = pa.schema(
    [
        ("group", pa.int64()),
        ("images", pa.int64()),
        ("safe_to_drop", pa.int64()),
        ("reclaimable_bytes", pa.int64()),
        ("lowest_similarity", pa.float64()),
    ]
)
"""Columns of the table of groups; similarities are those of a duplicate and its keeper."""


def list_duplicates(
    run: FinishedRun, plan: Sequence[PlanRow], copies: ExactCopies, component: IntArray | None
) -> pa.Table:
    """Return the images that are not needed if one image of each group is kept.

    Args:
        run: A finished run.
        plan: What `suggest` returns for it.
        copies: The exact duplicates of the run.
        component: (n,) int64 `component_id` of each image; None if the run wrote no components.

    Returns:
        One row of `DUPLICATES` for each, by group. The images that the plan drops are safe to drop, and have its
        keepers. In a component, the image that the default rules prefer is the keeper of all that the plan keeps.
    """
    n = len(run.names)
    keeper, group = np.full(n, -1), np.full(n, -1)
    safe, safe_keeper, plan_group = _locate_dropped(run, plan)
    keeper[safe] = safe_keeper
    if component is not None:
        ranking = Ranking(parse_rules(DEFAULT_RULES), run.images, run.names)
        for members in _split(np.flatnonzero((np.bincount(component)[component] > 1) & (keeper < 0)), component):
            first, *others = ranking.order(members)
            keeper[others] = first
        group = component.copy()
        group[safe] = _find_lowest(np.minimum(component[safe], component[safe_keeper]), plan_group)
    for copy, of in zip(copies.copy.tolist(), copies.of.tolist(), strict=True):
        if keeper[copy] < 0 and keeper[of] != copy:
            keeper[copy] = of
    rows = np.flatnonzero(keeper >= 0)
    rows = rows[np.argsort(group[rows], kind="stable")]
    return pa.table(
        [
            escape_names(run.names.take(pa.array(rows))),
            escape_names(run.names.take(pa.array(keeper[rows]))),
            _find_kinds(run, copies, rows, keeper[rows]),
            run.cosines(rows, keeper[rows]),
            pa.array(group[rows], mask=group[rows] < 0),
            np.isin(rows, safe),
            run.images["size"].take(pa.array(rows)),
        ],
        DUPLICATES,
    )


def list_groups(duplicates: pa.Table) -> pa.Table:
    """Return the groups of duplicates.

    Args:
        duplicates: What `list_duplicates` returns.

    Returns:
        One row of `GROUPS` for each, the largest first.
    """
    duplicates = duplicates.filter(duplicates["group"].is_valid()).combine_chunks()
    group, number = np.unique(duplicates["group"].to_numpy(), return_inverse=True)
    is_safe, size = duplicates["safe_to_drop"].to_numpy(), pc.fill_null(duplicates["size"], 0).to_numpy()
    is_kept = pc.invert(pc.is_in(duplicates["keeper"], duplicates["filename"])).to_numpy()
    keeper = pc.rank(duplicates["keeper"], tiebreaker="dense").to_numpy().astype(np.int64)
    kept, _ = np.unique(np.stack([number, keeper])[:, is_kept], axis=1)
    lowest = np.ones(len(group))
    np.minimum.at(lowest, number, duplicates["similarity"].to_numpy())
    columns = [
        group,
        np.bincount(number, minlength=len(group)) + np.bincount(kept, minlength=len(group)),
        np.bincount(number[is_safe], minlength=len(group)),
        np.bincount(number, is_safe * size, minlength=len(group)).astype(np.int64),
        lowest,
    ]
    return pa.table(columns, GROUPS).sort_by([("images", "descending"), ("group", "ascending")])


def _locate_dropped(run: FinishedRun, plan: Sequence[PlanRow]) -> tuple[IntArray, IntArray, IntArray]:
    """Return the indices of the images that a plan drops, those of their keepers, and their groups in the plan."""
    dropped = [row for row in plan if row.is_dropped]
    ends = ([row.filename for row in dropped], [row.keeper for row in dropped])
    rows, keepers = (find_positions(encode_names(names), run.names) for names in ends)
    return rows, keepers, np.array([row.group for row in dropped], np.int64)


def _split(rows: IntArray, component: IntArray) -> list[IntArray]:
    """Return the images at `rows` by component."""
    rows = rows[np.argsort(component[rows], kind="stable")]
    parts = np.split(rows, np.flatnonzero(np.diff(component[rows])) + 1)
    return parts if len(rows) else []


def _find_lowest(values: IntArray, group: IntArray) -> IntArray:
    """Return for each value the lowest of its group."""
    _, number = np.unique(group, return_inverse=True)
    lowest = np.full(len(values), np.iinfo(np.int64).max)
    np.minimum.at(lowest, number, values)
    return lowest[number]


def _find_kinds(run: FinishedRun, copies: ExactCopies, rows: IntArray, keepers: IntArray) -> pa.Array:
    """Return how each image repeats its keeper: same bytes, same pixels, a relation, or similar."""
    contents, first = copies.contents(len(run.names)), find_first_of_bytes(run.images["sha256"])
    have_same_bytes = (first[rows] == first[keepers]) & (first[rows] >= 0)
    relation = pa.nulls(len(rows), pa.large_string())
    if run.verified is not None:
        relation = run.verified.look_up(rows, keepers)["relation"].combine_chunks()
    kind = pc.fill_null(relation, SIMILAR)
    kind = pc.if_else(pa.array(contents[rows] == contents[keepers]), PIXELS, kind)
    return pc.if_else(pa.array(have_same_bytes), BYTES, kind).cast(pa.large_string())
