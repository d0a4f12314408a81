"""Features made: what is known is taken over, what is missing is read, and all is put together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastdup_ray import s3
from fastdup_ray.common.events import log_event
from fastdup_ray.common.facts import Counts, FeatureFacts
from fastdup_ray.common.layout import SHARDS, FileSet
from fastdup_ray.common.records import ShardReceipt
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import WorkerError
from fastdup_ray.executors import Executor
from fastdup_ray.extract.decoders import list_optional_decoders
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.features import find_missing, open_earlier_sets
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.runs.preflight import choose_shard_size
from fastdup_ray.runs.progress import report_progress
from fastdup_ray.runs.steps import merge_features
from fastdup_ray.storage import Store

MAX_ROUNDS = 3
"""Times that features are made, where shards turn out damaged when they are merged."""


@dataclass(frozen=True)
class FeatureRequest:
    """Features to be made. manifest: of what. facts: what their files say. files: the names of these.

    part: the range of the list that the manifest is, where they are to stand in files of their own. turns: of the
    pictures, where rows of these are wanted instead.
    """

    manifest: Manifest
    facts: FeatureFacts
    files: FileSet
    part: tuple[int, int] | None = None
    transforms: tuple[str, ...] = ()


@dataclass
class FeatureOutcome:
    """counts: of entries, images and bad ones. read: entries. cpu_seconds: of those who read them."""

    counts: Counts
    read: int
    cpu_seconds: float


def make_features(config: RunConfig, store: Store, executor: Executor, wanted: FeatureRequest) -> FeatureOutcome:
    """Makes them; raises `WorkerError` where they are damaged as often as they are made."""
    manifest, facts = wanted.manifest, wanted.facts
    earlier = open_earlier_sets(store, facts["fingerprint"]) if config.reuse else []
    missing = find_missing(manifest, earlier, config.limits, list_optional_decoders())
    words = f"{len(manifest)} entries, {len(missing)} of them to be read"
    log_event("reuse", words, entries=len(manifest), to_read=len(missing))
    receipts: list[ShardReceipt] = []
    for _ in range(MAX_ROUNDS):
        receipts += _extract(config, store, executor, wanted, missing)
        fresh = [receipt.stem for receipt in receipts]
        args = store, config, manifest, fresh, facts, wanted.part, wanted.files
        merged = executor.call("index", merge_features, *args)
        if merged.counts:
            read = sum(receipt.good + receipt.bad for receipt in receipts)
            return FeatureOutcome(merged.counts, read, round(sum(receipt.cpu_seconds for receipt in receipts), 3))
        missing = merged.missing
    raise WorkerError(f"{len(missing):,} pictures have no features after {MAX_ROUNDS} rounds; is the disk in order?")


def _extract(
    config: RunConfig, store: Store, executor: Executor, wanted: FeatureRequest, offsets: np.ndarray
) -> Iterator[ShardReceipt]:
    """Reads the entries at `offsets`."""
    if len(offsets) == 0:
        return
    actors = executor.actors
    spec = ExtractSpec(
        store,
        executor.threads,
        config.limits,
        config.image_timeout,
        config.actor_memory,
        wanted.facts,
        config.model_path,
        config.compute == "gpu",
        wanted.files.name(SHARDS),
        s3.resolve_access(),
        wanted.transforms,
    )
    shards = wanted.manifest.shards(offsets, config.shard_size or choose_shard_size(len(offsets), actors))
    yield from report_progress(executor.extract(spec, shards), len(offsets), config.log_format)
