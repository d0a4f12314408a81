"""A run that is about to finish, as `read_finished_run` will read it."""

from fastdup_ray.analysis.pairs import select_similar
from fastdup_ray.analysis.same_bytes import name_unknown
from fastdup_ray.common.arrays import EmbeddingArray
from fastdup_ray.common.records import Neighbors
from fastdup_ray.curation.duplicate_rules import default_threshold
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.outputs.images import Images
from fastdup_ray.outputs.results import Results
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.storage import Store

_ROUNDING = 1e-3
"""How much the similarity of a search may differ from the cosine that a plan computes."""


def view_current_run(
    store: Store, images: Images, features: EmbeddingArray, neighbors: Neighbors, results: Results
) -> FinishedRun:
    """Return what `read_finished_run` will read, as far as it decides what a plan says by default.

    Args:
        store: The work_dir, with config.json.
        images: The n images.
        features: Their (n, d) embeddings.
        neighbors: Of all of them, as many as similarity.csv has.
        results: What was found of them.
    """
    table, config = images.entries, read_config(store)
    if images.reference is not None:
        table = table.append_column("reference", images.reference)
    least = max(config["threshold"], default_threshold(config) - _ROUNDING)
    first, components = name_unknown(images.first_of_bytes, store.scratch), results.components
    find_components = None if components is None else components.number.__getitem__
    return FinishedRun(
        table,
        images.names,
        lambda: ((pairs.source, pairs.target) for pairs in select_similar(neighbors, least)),
        first,
        features,
        config,
        "",
        store.scratch,
        store.access,
        results.verified,
        find_components,
    )
