"""Whether a work_dir already has what a run would make of its inputs."""

from collections.abc import Mapping

from fastdup_ray.config import RunConfig
from fastdup_ray.errors import FastdupError
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.features import find_not_reusable, read_complete_entries
from fastdup_ray.inputs import check_inputs
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.runs.indexed_set import check_indexed, read_indexed_facts
from fastdup_ray.runs.preflight import list_manifest, make_model_facts
from fastdup_ray.storage import open_store

INDEX_PARAMETERS = ("nn_provider", "nnmodel", "faiss_mode", "faiss_param", "distance")
"""Parameters that the index depends on."""


def is_indexed(config: RunConfig) -> bool:
    """Return whether the work_dir already has the index of these inputs, by this model, that mode 0 would make."""
    check_inputs(config)
    store = open_store(config.work_dir, config.s3_access)
    try:
        facts, earlier = read_indexed_facts(store), read_complete_entries(store)
        stored: Mapping[str, object] = read_config(store)
    except (FastdupError, OSError):
        return False
    if earlier is None or not config.reuse or facts["fingerprint"] != make_model_facts(config)["fingerprint"]:
        return False
    if not list_manifest(config).has_keys(earlier.entries):
        return False
    same_index = all(stored.get(name) == getattr(config, name) for name in INDEX_PARAMETERS)
    if not same_index or len(find_not_reusable(earlier.entries, config.limits, list_optional_decoders())):
        return False
    try:
        check_indexed(store)  # reads all embeddings, so it comes last
    except (FastdupError, OSError):
        return False
    return True
