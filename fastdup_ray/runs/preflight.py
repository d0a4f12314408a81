"""Preflight: all checks before work, so that every mistake that can be found early is found before anything is written.

In the order of a run:

1. `preflight`: the parameters, the model, the inputs and the labels, before the work_dir is touched.
2. `check_scoring`: in modes 3 and 4, the indexed set of the work_dir.
3. `check_work_dir`: that the run replaces or removes no file that no run wrote; under the lock.
4. `list_manifest` and `resolve_range`: that the list has entries, and the range is within it.
5. `refuse_other_images`: that the list has images of the earlier run; before the first image is read.
6. `plan_feasible_search`: that so many images can be searched; before the first is read, and again before the search.

Digests of stored features and indexes are checked where these are used: `merge_stage`, `indexed_set`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from threading import Event

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.formatting import format_names
from fastdup_ray.common.layout import INDEXED, SCORED, TRANSFORMED, FileSet
from fastdup_ray.config import INPUT_KINDS, RunConfig
from fastdup_ray.errors import ConfigError, DamagedError, InputError, WorkDirError
from fastdup_ray.extract.model import BATCH, DIMENSIONS, Model, make_fingerprint
from fastdup_ray.extract.transforms import select_transforms
from fastdup_ray.features import share_names
from fastdup_ray.inputs import SkippedFiles, check_inputs, find_part, list_tables
from fastdup_ray.inputs.labels import check_labels
from fastdup_ray.inputs.manifest import MANIFEST, Manifest
from fastdup_ray.inputs.missing import describe_empty, describe_missing
from fastdup_ray.neighbors import check_search
from fastdup_ray.neighbors.search_plan import SearchPlan, plan_search
from fastdup_ray.outputs.summary import FILES_AFTER_FEATURES
from fastdup_ray.runs.indexed_set import check_comparable, read_indexed_facts
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.checked_json import read_json
from fastdup_ray.storage.feature_rows import open_features
from fastdup_ray.storage.parquet_files import iter_parquet
from fastdup_ray.version import __version__

OUTPUTS = (
    *(layout.BAD_CSV, layout.BAD_CSV_TWIN, *FILES_AFTER_FEATURES, layout.CONFIG, layout.SUMMARY),
    *(layout.KEPT_NEIGHBORS, *layout.KEPT_FILES),
)
"""What a run on an indexed set writes or removes, beside the features."""

SHARDS_PER_ACTOR = 8
LARGEST_SHARD = 64 * BATCH


@dataclass(frozen=True)
class Preflight:
    """What is known of a run before it starts.

    Attributes:
        store: The work_dir.
        features_file: Name of the features file in it.
        files: The file set that the run writes.
        model: Facts of the embeddings that the run extracts: `fingerprint` and `d`. Empty if it extracts none.
    """

    store: Store
    features_file: str
    files: FileSet
    model: FeatureFacts


def preflight(config: RunConfig) -> Preflight:
    """Check a run as far as that is possible without a look into its work_dir. Writes nothing.

    Raises:
        ConfigError: Parameters do not go together, or the model cannot be used.
        InputError: An input or the file with the labels cannot be read.
    """
    store, features_file = open_store(config.work_dir, config.s3_access), layout.FEATURES
    if config.run_mode == 2:
        store, features_file = open_features(config.work_dir, config.s3_access)
    files = SCORED if config.run_mode in (3, 4) else INDEXED
    model = make_model_facts(config) if config.run_mode in (0, 1, 3) else FeatureFacts()
    check_search(config, model.get("d") if config.run_mode in (0, 1) else None)
    check_inputs(config)
    check_labels(config.labels)
    return Preflight(store, features_file, files, model)


def check_scoring(store: Store, model: FeatureFacts) -> None:
    """Check that new images can be scored against the indexed set of a work_dir.

    Args:
        store: The work_dir.
        model: Facts of the embeddings that are to be extracted; empty if there are features already.

    Raises:
        InputError: There is no index, or it is of another model.
        WorkDirError: The user has a test_features.dat there.
        DamagedError: summary.json is damaged.
    """
    indexed = read_indexed_facts(store)
    if model and "fingerprint" not in indexed:
        raise InputError(
            f"{store.location!r} has an index of features of your own, whose model is unknown; "
            "score features of the same model (run_mode=4)."
        )
    check_comparable(indexed, model)
    ours = any(store.exists(SCORED.name(name)) for name in (layout.SUMMARY, layout.MERGED))
    if store.exists(SCORED.name(layout.FEATURES)) and not ours:
        raise WorkDirError(
            f"{store.location!r} has a {SCORED.name(layout.FEATURES)} of your own, which a scoring would replace; "
            "move it elsewhere."
        )


def check_work_dir(config: RunConfig, store: Store, files: FileSet) -> None:
    """Check that a run replaces or removes no file of the user. Raises `WorkDirError`."""
    refuse_foreign_shards(store)
    if files is INDEXED:
        refuse_foreign_outputs(store, overwrite=config.overwrite)


def refuse_foreign_shards(store: Store) -> None:
    """Raise `WorkDirError` if a folder that a run removes at its end has files that no run wrote."""
    for files in (*layout.FILE_SETS, layout.TRANSFORMED):
        folder = files.name(layout.SHARDS)
        if foreign := next((name for name in store.names(folder) if not layout.is_in_shards(name)), None):
            raise WorkDirError(
                f"{store.location!r} has a folder {folder!r} of your own (with {foreign!r}), where runs keep files "
                "that they remove: rename it, or name another work_dir."
            )


def refuse_foreign_outputs(store: Store, names: Iterable[str] = OUTPUTS, *, overwrite: bool = False) -> None:
    """Raise `WorkDirError` if one of `names`, which a run would replace, is a file that no run wrote."""
    if overwrite or store.is_empty() or _has_run(store):
        return
    if foreign := next((name for name in names if store.exists(name)), None):
        raise WorkDirError(
            f"{store.location!r} has a {foreign} that no run wrote; "
            "name another work_dir, or replace it with overwrite=True."
        )


def _has_run(store: Store) -> bool:
    """Return whether a run was here, finished or not."""
    for files in (*layout.FILE_SETS, layout.TRANSFORMED):
        if store.is_file(files.name(layout.MANIFEST)) or store.exists(files.name(layout.SHARDS)):
            return True
    return any(_is_record(store, name) for name in (layout.SUMMARY, layout.KEPT_NEIGHBORS))


def _is_record(store: Store, name: str) -> bool:
    """Return whether a run has written this JSON file."""
    try:
        read_json(store, name)
    except (DamagedError, FileNotFoundError):
        return False
    return True


def list_manifest(
    config: RunConfig,
    skipped: SkippedFiles | None = None,
    stop: Event | None = None,
    store: Store | None = None,
    folder: str = "",
) -> Manifest:
    """Return the whole list.

    Args:
        config: Names the inputs.
        skipped: Counts the files that are left out because of their extension.
        stop: Ends the listing early once it is set.
        store: Keeps the list, in `folder`; without it, the list stays in memory.
        folder: See `Manifest.from_tables`.

    Raises:
        InputError: The list is empty, or nothing in it can be read.
    """
    skipped, stop = skipped or SkippedFiles(), stop or Event()
    tables = takewhile(lambda _: not stop.is_set(), list_tables(config, skipped))
    manifest = Manifest.from_tables(tables, store, folder)
    inputs = format_names(config.inputs)
    if len(manifest) == 0 and config.annotations:
        raise InputError(f"No boxes to use in {config.annotations!r}.")
    if len(manifest) == 0:
        raise InputError(describe_empty(config.inputs, inputs, skipped, INPUT_KINDS))
    if manifest.is_all_missing() and config.annotations:
        (first,) = manifest.refs([0])
        raise InputError(
            f"No photo of {config.annotations!r} is in {inputs}, such as {find_part(first.uri).file!r}: the names in "
            "the file are relative to input_dir."
        )
    if manifest.is_all_missing():
        (first,) = manifest.refs([0])
        raise InputError(describe_missing(first, len(manifest), config.inputs, inputs, config.s3_access))
    return manifest


def resolve_range(config: RunConfig, manifest: Manifest) -> tuple[int, int]:
    """Return min_offset and max_offset as a half-open range of the list; raise `ConfigError` if it is not within it."""
    n = len(manifest)
    for name, value, least, most in (
        ("min_offset", config.min_offset, 0, n - 1),
        ("max_offset", config.max_offset, 1, n),
    ):
        if value is not None and not least <= value <= most:
            raise ConfigError(
                f"Invalid value for {name}: {value} (must be between {least} and {most}: the list has {n:,} entries)."
            )
    return config.min_offset or 0, config.max_offset or n


def refuse_other_images(config: RunConfig, store: Store, manifest: Manifest) -> None:
    """Check that a run replaces outputs only of a run that has at least one image in common with it.

    Raises:
        WorkDirError: The work_dir is about other images, or has features of the user.
    """
    if config.overwrite:
        return
    if not store.exists(layout.MANIFEST):
        if store.exists(layout.FEATURES) and not store.exists(layout.MERGED):
            raise WorkDirError(
                f"{store.location!r} has a {layout.FEATURES} of your own; "
                "name another work_dir, or replace it with overwrite=True."
            )
        return
    try:
        earlier = _find_good_name(store)
        if earlier is None or share_names(manifest, partial(_iter_names, store), store.scratch):
            return
    except (DamagedError, OSError):
        return
    raise WorkDirError(
        f"{store.location!r} has the results of other images (such as {earlier!r}); "
        "name another work_dir, or replace them with overwrite=True."
    )


def _iter_names(store: Store) -> Iterator[pa.Table]:
    return iter_parquet(store.fetch(layout.MANIFEST), MANIFEST.select(["uri"]))


def _find_good_name(store: Store) -> str | None:
    """Return the name of a good image of the last run; None if it had none, so that there is nothing to lose."""
    for block in iter_parquet(store.fetch(layout.MANIFEST), MANIFEST.select(["uri", "rows"])):
        if len(good := block.filter(pc.greater(block["rows"], 0))):
            return str(good["uri"][0].as_py())
    return None


def plan_feasible_search(config: RunConfig, store: Store, n: int, d: int, max_memory: int) -> SearchPlan:
    """Plan the search of n embeddings of d numbers, and refuse one that cannot be made.

    Args:
        config: Of the run.
        store: The work_dir.
        n: Embeddings.
        d: Numbers of an embedding.
        max_memory: Bytes that one step can have at most.

    Raises:
        ConfigError: No process has the memory for it; or `invariant` has no index to search.
        WorkDirError: `invariant` would replace features of the user.
    """
    plan = plan_search(config, n, d, max_memory)
    plan.check_fits(max_memory)
    if config.invariant:
        _check_transforms(config, store, plan)
    return plan


def _check_transforms(config: RunConfig, store: Store, plan: SearchPlan) -> None:
    ours = any(store.exists(TRANSFORMED.name(name)) for name in (layout.SUMMARY, layout.MERGED))
    if store.exists(TRANSFORMED.name(layout.FEATURES)) and not ours:
        raise WorkDirError(
            f"{store.location!r} has a {TRANSFORMED.name(layout.FEATURES)} of your own, which invariant would replace; "
            "move it elsewhere."
        )
    if plan.partitioned:
        raise ConfigError(
            f"invariant={','.join(config.invariant)} needs an index, and {plan.n:,} images are searched in partitions: "
            "name an index, such as faiss_mode='HNSW32'."
        )


def make_list_facts(manifest: Manifest) -> FeatureFacts:
    """Return what the files that describe features say of the whole list."""
    return {
        "format_version": layout.FORMAT_VERSION,
        "version": __version__,
        "n": len(manifest),
        "list_sha256": manifest.digest,
    }


def make_model_facts(config: RunConfig) -> FeatureFacts:
    """Return `fingerprint` and `d` of the embeddings that a run extracts; raise `ConfigError` for a bad model."""
    gpu, sha256, d = config.compute == "gpu", None, DIMENSIONS
    gpu_here = gpu and config.executor in ("local", "inline")
    if config.model_path or gpu_here:
        model = Model(config.model_path, gpu=gpu_here)
        sha256, d = model.sha256, model.dimensions
        if "rotate" in config.invariant and model.size[0] != model.size[1]:
            size = " x ".join(map(str, model.size))
            raise ConfigError(f"Invalid value for invariant: rotate (the model takes {size} pixels, not squares).")
    return {"fingerprint": make_fingerprint(sha256, config.limits.box, gpu=gpu), "d": d}


def make_transformed_facts(config: RunConfig, model: FeatureFacts) -> FeatureFacts:
    """Return `make_model_facts` of embeddings that hold those of all transforms in `config.invariant` side by side."""
    transforms, gpu = select_transforms(config.invariant), config.compute == "gpu"
    own = make_fingerprint(model["fingerprint"]["model"], config.limits.box, gpu=gpu, transforms=transforms)
    return {"fingerprint": own, "d": len(transforms) * model["d"]}


def choose_shard_size(n: int, actors: int) -> int:
    """Return the number of entries of a shard, a multiple of the model's batch.

    There are enough shards that all actors end at about the same time, and none is so large that much is lost with it.
    A single actor gets the largest, since it idles at the end of each until the last of its threads is done.
    """
    if actors == 1:
        return LARGEST_SHARD
    batches = -(-n // (actors * SHARDS_PER_ACTOR * BATCH))
    return min(batches * BATCH, LARGEST_SHARD)
