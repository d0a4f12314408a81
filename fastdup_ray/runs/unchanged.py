"""Nothing twice: a run that would write what the work_dir already has writes nothing.

That is certain only if all that the outputs depend on is the same: the entries of the list with their sizes and tokens,
the parameters, the contents of the files that these name, the model, and the code. And the outputs have to be whole.
"""

import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts, RunSummary
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import DamagedError, ErrorCode, InputError
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.features import check_parts, find_not_reusable, read_complete_entries
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.outputs.basis import digest_sidecars, fits_basis
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.outputs.images import load_images
from fastdup_ray.outputs.stored_config import has_same_config
from fastdup_ray.outputs.summary import was_scored
from fastdup_ray.runs.verify_stage import choose_verify
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import check_digest
from fastdup_ray.storage.parquet_files import read_parquet
from fastdup_ray.storage.tables import take_rows


def open_comparable(store: Store, config: RunConfig, model: FeatureFacts) -> RunSummary | None:
    """Return the summary of the finished run in a work_dir if a run of mode 0 may write the same again.

    This is quick: it does not look at the inputs, and of the outputs only at the report.

    Args:
        store: The work_dir.
        config: Of the run.
        model: Facts of the embeddings that the run would extract.

    Returns:
        The summary; None if something differs, or is not recorded. `incremental` compares with the last run, and
        `invariant` writes further features: these are always written.
    """
    if not config.reuse or config.incremental or config.invariant or was_scored(store):
        return None
    try:
        summary = RunReader.open(store).summary
        if summary.get("fingerprint") != model["fingerprint"] or "basis" not in summary:
            return None
        same = has_same_config(store, choose_verify(config, summary)) and fits_basis(store, config, summary["basis"])
    except (DamagedError, InputError, OSError):
        return None
    return summary if same else None


def is_unchanged(
    store: Store, config: RunConfig, last: RunSummary, manifest: Manifest, skipped: dict[str, int]
) -> bool:
    """Return whether a run would write again what the finished run in a work_dir has written.

    Args:
        store: The work_dir.
        config: Of the run.
        last: What `open_comparable` returned.
        manifest: The entries of the run.
        skipped: Files that the listing left out, by extension.
    """
    if skipped != last.get("skipped", {}):
        return False
    try:
        features = read_complete_entries(store)
        if features is None or not manifest.has_keys(features.entries):
            return False
        if last["basis"].get("sidecars") != digest_sidecars(features.entries["uri"].chunks):
            return False
        missing = find_not_reusable(features.entries, config.limits, list_optional_decoders())
        codes = take_rows(features.entries.select(["error_code"]), missing)["error_code"]
        if set(codes.to_pylist()) - {ErrorCode.UNSUPPORTED}:  # these would need another decoder, so another basis
            return False
        for name, sha256 in last["sha256"].items():
            check_digest(store, name, sha256)
        check_parts(store, layout.FEATURES, last["sha256"])
        return _has_same_labels(store, config)
    except (DamagedError, OSError):
        return False


def _has_same_labels(store: Store, config: RunConfig) -> bool:
    """Return whether the files that `labels`, `annotations` and `reference` name say of each image what they said."""
    if not config.labels and not config.annotations and not config.reference:
        return True
    images = load_images(store, layout.FEATURES, INDEXED, config)
    named = {"label": images.labels, "reference": images.reference}
    columns = [name for name, column in named.items() if column is not None]
    stored = read_parquet(store.fetch(layout.IMAGES), IMAGES.select(columns))
    return all(stored[name].equals(pa.chunked_array([named[name]]).cast(stored[name].type)) for name in columns)
