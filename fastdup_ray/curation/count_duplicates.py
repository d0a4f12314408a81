"""Count the duplicates of a run at its end, by the rules of `plan`."""

from collections.abc import Iterator

from fastdup_ray.analysis.union_find import count_linked, label_components
from fastdup_ray.common.arrays import IntArray, split_pairs
from fastdup_ray.common.relations import CONFIRMED, Relation
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.curation.keeper_choice import KeeperChoice
from fastdup_ray.curation.suggest import SuggestedPlan
from fastdup_ray.outputs.duplicate_counts import DuplicateCounts
from fastdup_ray.outputs.results import Results
from fastdup_ray.storage.tables import ROWS_PER_BLOCK

_LINKING = CONFIRMED | {Relation.UNSURE}
"""Relations of images that a person would look at as duplicates."""


def count_duplicates(plan: SuggestedPlan, results: Results, scratch: Scratch) -> DuplicateCounts:
    """Count the duplicates of a run, and those that a plan drops by default.

    Args:
        plan: What the run suggests by default.
        results: What the run has found.
        scratch: Opens a temporary file.
    """
    n = len(plan.run.names)
    labels = label_components(_iter_links(plan.choice, results), n, scratch)
    return DuplicateCounts(n, count_linked(labels), plan.dropped, plan.dropped_bytes)


def _iter_links(choice: KeeperChoice, results: Results) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield pairs of images that are in one group of duplicates."""
    verified, copies = results.verified, results.copies
    yield from split_pairs(copies.copy, copies.of, ROWS_PER_BLOCK)
    yield from split_pairs(choice.row, choice.keeper, ROWS_PER_BLOCK)
    if verified is not None:
        for links in verified.iter_links(_LINKING):
            yield links.source, links.target
    for low, high, _ in results.edges.blocks():
        if verified is not None:
            linked = ~verified.have_relation(low, high, [Relation.DIFFERENT])
            low, high = low[linked], high[linked]
        yield low, high
