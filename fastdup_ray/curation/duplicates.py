"""The duplicates of a finished run, and their groups, as tables."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, add_losses, parse_rules
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.relations import CONFIRMED, Relation
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.suggest import SuggestedPlan
from fastdup_ray.outputs.exact_copies import BYTES, PIXELS, ExactCopies
from fastdup_ray.storage.tables import escape_names

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


def list_duplicates(run: FinishedRun, plan: SuggestedPlan, copies: ExactCopies, component: IntArray | None) -> pa.Table:
    """Return the images that are not needed if one image of each group of duplicates is kept.

    Images are in one group as `find_groups` says.

    Args:
        run: A finished run.
        plan: What `suggest_plan` returns for it.
        copies: The exact duplicates of the run.
        component: (n,) int64 `component_id` of each image; None if the run wrote no components.

    Returns:
        One row of `DUPLICATES` for each, by group. The images that the plan drops are safe to drop, and have its
        keepers. Of the others in a group, the default rules choose the one that stays.
    """
    n = len(run.names)
    links = _list_links(run, copies, plan)
    group = _connect(links, n)
    keeper = plan.choice.find_keepers(np.arange(n))
    is_safe = keeper >= 0
    in_group = np.bincount(group, minlength=1)[group] > 1
    _choose_keepers(run, keeper, group, links, np.flatnonzero(in_group & (keeper < 0)))
    number = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(number, group, group if component is None else component)
    rows = np.flatnonzero(keeper >= 0)
    rows = rows[np.argsort(number[group[rows]], kind="stable")]
    columns = [
        escape_names(run.names.take(pa.array(rows))),
        escape_names(run.names.take(pa.array(keeper[rows]))),
        _find_kinds(run, copies, rows, keeper[rows]),
        run.cosines(rows, keeper[rows]),
        number[group[rows]],
        is_safe[rows],
        run.images["size"].take(pa.array(rows)),
    ]
    return pa.table(columns, DUPLICATES)


def find_groups(run: FinishedRun, plan: SuggestedPlan, copies: ExactCopies) -> IntArray:
    """Return (n,) the number of the group of each image of a run, which may be in one by itself.

    Images are in one group, over any number of steps, if they are exact duplicates, if the plan drops one because of
    the other, if their verified relation is any but `different`, or if they were not compared and are more similar
    than `ccthreshold`.

    Args:
        run: A finished run.
        plan: What `suggest_plan` returns for it.
        copies: The exact duplicates of the run.
    """
    return _connect(_list_links(run, copies, plan), len(run.names))


def _connect(links: IntArray, n: int) -> IntArray:
    _, group = connected_components(coo_array((np.ones(links.shape[1], bool), links), (n, n)), directed=False)
    return np.asarray(group, np.int64)


def list_groups(duplicates: pa.Table) -> pa.Table:
    """Return the groups of duplicates.

    Args:
        duplicates: What `list_duplicates` returns.

    Returns:
        One row of `GROUPS` for each, the largest first.
    """
    duplicates = duplicates.combine_chunks()
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


def _list_links(run: FinishedRun, copies: ExactCopies, plan: SuggestedPlan) -> IntArray:
    """Return (2, m) pairs of images that are in one group."""
    parts = [np.stack([copies.copy, copies.of]), *map(np.stack, plan.choice.iter_dropped())]
    if run.verified is not None:
        links = run.verified.iter_links(CONFIRMED | {Relation.UNSURE})
        parts += [np.stack([pairs.source, pairs.target]) for pairs in links]
    for source, target in run.iter_pairs():
        near = run.cosines(source, target) > run.config.get("ccthreshold", 1.0)
        if run.verified is not None:
            near &= ~run.verified.have_relation(source, target, [Relation.DIFFERENT])
        parts.append(np.stack([source[near], target[near]]))
    return np.concatenate(parts, axis=1)


def _choose_keepers(run: FinishedRun, keeper: IntArray, group: IntArray, links: IntArray, kept: IntArray) -> None:
    """Set the keepers of the images that no plan drops: the first image of each group stays, and keeps -1.

    The keeper of another one is the first image that it is linked with, if that is preferred to it, else the first of
    its group.
    """
    ranking = Ranking(parse_rules(DEFAULT_RULES), add_losses(run.images, run.verified), run.names)
    kept = kept[np.argsort(group[kept], kind="stable")]
    ordered = np.concatenate([kept[:0], *map(ranking.order, np.split(kept, _find_changes(group[kept])))])
    places = np.arange(len(ordered))
    starts = np.append(0, _find_changes(group[ordered]))
    first = starts[np.searchsorted(starts, places, "right") - 1]
    place = np.full(len(keeper), -1)
    place[ordered] = places
    source, target = place[links[:, (place[links] >= 0).all(axis=0)]]
    linked = np.full(len(ordered), len(ordered))
    np.minimum.at(linked, np.maximum(source, target), np.minimum(source, target))
    best = np.where(linked < places, linked, first)
    keeper[ordered] = np.where(best == places, -1, ordered[best])


def _find_changes(numbers: IntArray) -> IntArray:
    """Return where sorted numbers change."""
    return np.flatnonzero(np.diff(numbers)) + 1


def _find_kinds(run: FinishedRun, copies: ExactCopies, rows: IntArray, keepers: IntArray) -> pa.Array:
    """Return how each image repeats its keeper: same bytes, same pixels, a relation, or similar."""
    contents, first = copies.contents(len(run.names), run.scratch), run.first_of_bytes
    have_same_bytes = first[rows] == first[keepers]
    relation = pa.nulls(len(rows), pa.large_string())
    if run.verified is not None:
        relation = run.verified.look_up(rows, keepers)["relation"].combine_chunks()
    kind = pc.fill_null(relation, SIMILAR)
    kind = pc.if_else(pa.array(contents[rows] == contents[keepers]), PIXELS, kind)
    return pc.if_else(pa.array(have_same_bytes), BYTES, kind).cast(pa.large_string())
