"""What a run has to do with, before it does anything: the list, a part of it, the model, and the size of a shard."""

from collections.abc import Iterable
from itertools import takewhile
from threading import Event

import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.records import ImageRef
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import BadImageError, ConfigError, DamagedError, InputError, WorkDirError
from fastdup_ray.extract.model import BATCH, DIMENSIONS, Model, make_fingerprint
from fastdup_ray.extract.transforms import select_transforms
from fastdup_ray.inputs import SkippedFiles, describe_skipped, list_images, open_entry
from fastdup_ray.inputs.manifest import MANIFEST, Manifest
from fastdup_ray.runs.steps import FILES_AFTER_FEATURES
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import read_json
from fastdup_ray.storage.tables import read_parquet
from fastdup_ray.version import __version__

OUTPUTS = (layout.BAD_CSV, layout.BAD_CSV_TWIN, *FILES_AFTER_FEATURES, layout.CONFIG, layout.SUMMARY)
"""What a run on an indexed set writes or takes away, beside the features."""

SHARDS_PER_ACTOR = 8
LARGEST_SHARD = 64 * BATCH


def list_manifest(config: RunConfig, skipped: SkippedFiles | None = None, stop: Event | None = None) -> Manifest:
    """Return the whole list; raises `InputError` where it is empty, or nothing in it exists.

    Args:
        config: Names the inputs.
        skipped: Counts the files that are left out because of their suffix.
        stop: Once it is set nobody wants the list any more, and it ends early.
    """
    skipped, stop = skipped or SkippedFiles(), stop or Event()
    manifest = Manifest.from_refs(takewhile(lambda _: not stop.is_set(), list_images(config, skipped)))
    inputs = ", ".join(map(repr, config.inputs))
    if len(manifest) == 0:
        told = describe_skipped(skipped.counts())
        raise InputError(
            f"No images in {inputs}" + (f": {told}." if told else "; name a folder or a list that has some.")
        )
    if manifest.is_all_missing():
        (first,) = manifest.refs([0])
        raise InputError(
            f"None of the {len(manifest):,} files in {inputs} can be read, such as {first.uri!r} "
            f"({_explain_missing(first)}); "
            "relative paths in a list start at the current folder."
        )
    return manifest


def _explain_missing(ref: ImageRef) -> str:
    try:
        with open_entry(ref):
            return "it has just appeared"
    except BadImageError as error:
        return error.message


def resolve_range(config: RunConfig, manifest: Manifest) -> tuple[int, int]:
    """min_offset and max_offset, within the list; raises `ConfigError`."""
    n = len(manifest)
    for name, value, least, most in (
        ("min_offset", config.min_offset, 0, n - 1),
        ("max_offset", config.max_offset, 1, n),
    ):
        if value is not None and not least <= value <= most:
            raise ConfigError(f"{name}={value} is outside of the list of {n} entries: {least} to {most} is possible.")
    return config.min_offset or 0, config.max_offset or n


def refuse_foreign_shards(store: Store) -> None:
    """Raise `WorkDirError` where a folder that a run takes away at its end has files that no run wrote."""
    for files in (*layout.FILE_SETS, layout.TRANSFORMED):
        folder = files.name(layout.SHARDS)
        if foreign := next((name for name in store.names(folder) if not layout.is_in_shards(name)), None):
            raise WorkDirError(
                f"{store.location!r} has a folder {folder!r} of your own (with {foreign!r}), where runs keep files "
                "that they remove: rename it, or name another work_dir."
            )


def refuse_foreign_outputs(store: Store, names: Iterable[str] = OUTPUTS, *, overwrite: bool = False) -> None:
    """Raise `WorkDirError` where one of `names`, which a run would replace, is a file that no run wrote."""
    if overwrite or store.is_empty() or _has_run(store):
        return
    if foreign := next((name for name in names if store.exists(name)), None):
        raise WorkDirError(
            f"{store.location!r} has a {foreign} that no run wrote; "
            "name another work_dir, or replace it with --overwrite (overwrite=True)."
        )


def _has_run(store: Store) -> bool:
    """Whether a run was here, finished or not."""
    for files in (*layout.FILE_SETS, layout.TRANSFORMED):
        if store.is_file(files.name(layout.MANIFEST)) or store.exists(files.name(layout.SHARDS)):
            return True
    try:
        read_json(store, layout.SUMMARY)
    except (DamagedError, FileNotFoundError):
        return False
    return True


def refuse_other_images(config: RunConfig, store: Store, manifest: Manifest) -> None:
    """The outputs of an earlier run are replaced only by a run on the same pictures, more of them, or some of them."""
    if config.overwrite:
        return
    if not store.exists(layout.MANIFEST):
        if store.exists(layout.FEATURES) and not store.exists(layout.MERGED):
            raise WorkDirError(
                f"{store.location!r} has a {layout.FEATURES} of your own; "
                "name another work_dir, or replace it with overwrite."
            )
        return
    try:
        earlier = read_parquet(store.fetch(layout.MANIFEST), MANIFEST.select(["uri"]))["uri"]
    except (DamagedError, OSError):
        return
    if not pc.any(pc.is_in(manifest.keys()["uri"], earlier)).as_py():
        raise WorkDirError(
            f"{store.location!r} has the results of other pictures (such as {earlier[0].as_py()!r}); "
            "name another work_dir, or replace them with overwrite."
        )


def make_list_facts(manifest: Manifest) -> FeatureFacts:
    """What every file that describes features says of the whole list."""
    return {
        "format_version": layout.FORMAT_VERSION,
        "version": __version__,
        "n": len(manifest),
        "list_sha256": manifest.digest,
    }


def make_model_facts(config: RunConfig) -> FeatureFacts:
    """The same of the rows; `ConfigError` where the model cannot be used."""
    gpu, sha256, d = config.compute == "gpu", None, DIMENSIONS
    if config.model_path or (gpu and config.executor == "inline"):
        model = Model(config.model_path, gpu=gpu and config.executor == "inline")
        sha256, d = model.sha256, model.dimensions
        if "rotate" in config.invariant and model.size[0] != model.size[1]:
            size = " x ".join(map(str, model.size))
            raise ConfigError(f"invariant=rotate is not possible with a model whose pictures are {size}: no squares.")
    return {"fingerprint": make_fingerprint(sha256, config.limits.box, gpu=gpu), "d": d}


def make_transformed_facts(config: RunConfig, model: FeatureFacts) -> FeatureFacts:
    """`model_facts` of rows that have those of all turns which `config.invariant` asks for, side by side."""
    turns, gpu = select_transforms(config.invariant), config.compute == "gpu"
    own = make_fingerprint(model["fingerprint"]["model"], config.limits.box, gpu=gpu, turns=turns)
    return {"fingerprint": own, "d": len(turns) * model["d"]}


def choose_shard_size(n: int, actors: int) -> int:
    """Whole batches, enough shards that several actors end together, none so large that much is lost with it.

    One actor that is alone waits at the end of each shard for the last of its threads.
    """
    if actors == 1:
        return LARGEST_SHARD
    batches = -(-n // (actors * SHARDS_PER_ACTOR * BATCH))
    return min(batches * BATCH, LARGEST_SHARD)
