"""Count the duplicates of a run at its end, by the rules of `plan`."""

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from fastdup_ray.analysis.pairs import select_similar
from fastdup_ray.analysis.union_find import count_linked
from fastdup_ray.common.arrays import FloatArray, IntArray
from fastdup_ray.common.records import Neighbors
from fastdup_ray.common.relations import CONFIRMED, Relation
from fastdup_ray.curation.duplicate_rules import DEFAULT_DROP, default_threshold, make_rule
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.suggest import KeeperChoice, choose_keepers
from fastdup_ray.outputs.duplicate_counts import DuplicateCounts
from fastdup_ray.outputs.images import Images
from fastdup_ray.outputs.results import Results
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.storage import Store
from fastdup_ray.storage.tables import take_rows

_LINKING = CONFIRMED | {Relation.UNSURE}
"""Relations of images that a person would look at as duplicates."""


_ROUNDING = 1e-3
"""How much the similarity of a search may differ from the cosine that a plan computes."""


def count_duplicates(
    store: Store, images: Images, features: FloatArray, neighbors: Neighbors, results: Results
) -> DuplicateCounts:
    """Count the duplicates of a run, and those that a plan drops by default.

    Args:
        store: The work_dir, with config.json.
        images: The n images.
        features: Their (n, d) embeddings.
        neighbors: Of all of them, as many as similarity.csv has.
        results: What was found of them.
    """
    run = _make_run(store, images, features, neighbors, results)
    choice, n = choose_keepers(run, make_rule(run, None, DEFAULT_DROP)), len(images)
    dropped = choice.dropped
    size = pc.sum(take_rows(images.entries.select(["size"]), dropped)["size"]).as_py() or 0
    return DuplicateCounts(n, count_linked(_iter_links(choice, results), n), len(dropped), size)


def _make_run(
    store: Store, images: Images, features: FloatArray, neighbors: Neighbors, results: Results
) -> FinishedRun:
    """Return what `read_finished_run` will read, as far as it decides what is dropped."""
    table, config = images.entries, read_config(store)
    if images.reference is not None:
        table = table.append_column("reference", images.reference)
    source = target = np.empty(0, np.int64)
    if results.verified is None:
        least = max(config["threshold"], default_threshold(config) - _ROUNDING)
        pairs = list(select_similar(neighbors, least))
        source = np.concatenate([source, *(some.source for some in pairs)])
        target = np.concatenate([target, *(some.target for some in pairs)])
    first = np.where(images.first_of_bytes < 0, np.arange(len(images)), images.first_of_bytes)
    return FinishedRun(table, images.names, source, target, first, features, config, "", store.access, results.verified)


def _iter_links(choice: KeeperChoice, results: Results) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield pairs of images that are in one group of duplicates."""
    contents, verified = results.contents, results.verified
    repeats = np.flatnonzero(contents != np.arange(len(contents)))
    yield repeats, contents[repeats]
    yield choice.rows[choice.assigned.row], choice.rows[choice.assigned.keeper]
    if verified is not None:
        links = verified.list_links(_LINKING)
        yield links.source, links.target
    for low, high, _ in results.edges.blocks():
        if verified is not None:
            linked = ~verified.have_relation(low, high, [Relation.DIFFERENT])
            low, high = low[linked], high[linked]
        yield low, high
