"""Feature stage: reuse stored features, extract the missing ones, merge."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.events import log_event
from fastdup_ray.common.facts import Counts, FeatureFacts
from fastdup_ray.common.layout import SHARDS, FileSet
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.records import ShardReceipt
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import WorkerError
from fastdup_ray.executors import Executor
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.features import find_missing, read_earlier_entries
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.runs.merge_stage import merge_features
from fastdup_ray.runs.preflight import choose_shard_size
from fastdup_ray.runs.progress import report_extraction, show_stage
from fastdup_ray.runs.shard_sizes import ShardSizes
from fastdup_ray.storage import Store

MAX_ROUNDS = 3
"""Rounds of extraction, if shards turn out to be damaged when they are merged."""


@dataclass(frozen=True)
class FeatureRequest:
    """Features to write.

    Attributes:
        manifest: The entries.
        facts: What the feature files say of them.
        files: The file set to write.
        part: The range of the list that `manifest` is, if it gets files of its own.
        transforms: Names of transforms, if their embeddings are wanted instead of those of the images.
    """

    manifest: Manifest
    facts: FeatureFacts
    files: FileSet
    part: tuple[int, int] | None = None
    transforms: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureOutcome:
    """What the feature stage did.

    Attributes:
        counts: Of entries, images and bad entries.
        read: Entries that were read, and not reused.
        cpu_seconds: CPU time of the extractors.
        sha256: Digests of the files that were written, by name, as far as they are known.
    """

    counts: Counts
    read: int
    cpu_seconds: float
    sha256: dict[str, str]


def make_features(config: RunConfig, store: Store, executor: Executor, request: FeatureRequest) -> FeatureOutcome:
    """Write features: reuse those in the work_dir, extract the missing ones, and merge them.

    Args:
        config: Of the run.
        store: The work_dir.
        executor: Extracts and merges.
        request: What to write.

    Raises:
        WorkerError: Shards were damaged after each of `MAX_ROUNDS` rounds.
    """
    manifest, facts = request.manifest, request.facts
    earlier = read_earlier_entries(store, facts["fingerprint"]) if config.reuse else []
    with show_stage("Looking for embeddings to reuse", config):
        missing: IntArray = find_missing(manifest, earlier, config.limits, list_optional_decoders(), store.scratch)
    text = f"{len(manifest):,} entries, {len(missing):,} to read"
    log_event("reuse", text, entries=len(manifest), to_read=len(missing))
    receipts: list[ShardReceipt] = []
    for _ in range(MAX_ROUNDS):
        receipts += _extract(config, store, executor, request, missing)
        fresh = [receipt.stem for receipt in receipts]
        args = store, config, manifest, fresh, facts, request.part, request.files
        with show_stage("Merging the embeddings", config):
            merged = executor.call("index", merge_features, *args)
        if merged.counts:
            read = sum(receipt.good + receipt.bad for receipt in receipts)
            cpu_seconds = round(sum(receipt.cpu_seconds for receipt in receipts), 3)
            return FeatureOutcome(merged.counts, read, cpu_seconds, merged.sha256)
        missing = merged.missing
    raise WorkerError(
        f"The features of {len(missing):,} images were damaged {MAX_ROUNDS} times in a row; check the disk."
    )


def _extract(
    config: RunConfig, store: Store, executor: Executor, request: FeatureRequest, offsets: IntArray
) -> Iterator[ShardReceipt]:
    """Read the entries at `offsets`."""
    if len(offsets) == 0:
        return
    actors = executor.actors
    spec = ExtractSpec(
        store,
        executor.threads,
        config.limits,
        config.image_timeout,
        config.actor_memory,
        request.facts,
        config.model_path,
        config.compute == "gpu",
        request.files.name(SHARDS),
        request.transforms,
        store.access,
    )
    most = choose_shard_size(len(offsets), actors)
    sizes = ShardSizes(most, actors, executor.threads)
    fixed = config.shard_size or (most if is_remote(store.location) else None)  # a shard takes requests
    shards = request.manifest.shards(offsets, repeat(fixed) if fixed else sizes)
    yield from report_extraction(sizes.count(executor.extract(spec, shards)), len(offsets), config.log_format)
