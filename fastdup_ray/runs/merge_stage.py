"""Merge stage: put feature shards together, or adopt stored features, as plain functions over a work_dir."""

import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.facts import Counts, FeatureFacts, RunSummary, begin_summary
from fastdup_ray.common.layout import INDEXED, SCORED, FileSet
from fastdup_ray.common.locations import is_remote
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import DamagedError, InputError
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.extract.model import DIMENSIONS
from fastdup_ray.features import (
    FeatureSet,
    LostEmbeddingsError,
    infer_dimensions,
    keep_unlisted,
    lookup_entries,
    merge_range,
    merge_ranges,
    merge_sets,
    open_complete,
    open_earlier_sets,
    open_merged,
    open_ranges,
    open_whole_shards,
    read_names,
)
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.outputs.summary import was_scored
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import check_digest
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.feature_parts import read_index
from fastdup_ray.storage.feature_rows import has_features

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MergeResult:
    """What a merge came to: counts, or what it lacks.

    Attributes:
        counts: Of entries, images and bad entries; None if embeddings are missing and nothing was written.
        missing: (m,) int64 offsets in the list of the entries without an embedding.
        sha256: Digests of the files that were written, by name, as far as they are known.
    """

    counts: Counts | None
    missing: IntArray
    sha256: dict[str, str] = field(default_factory=dict)


def merge_features(
    store: Store,
    config: RunConfig,
    manifest: Manifest,
    fresh: Sequence[str],
    facts: FeatureFacts,
    part: tuple[int, int] | None,
    files: FileSet = INDEXED,
) -> MergeResult:
    """Write features.dat, or what it has in parts, and the lists beside it; or the files of a range.

    Args:
        store: The work_dir.
        config: Of the run.
        manifest: The entries to merge.
        fresh: Stems of the shards that this run wrote.
        facts: What the files say of the features.
        part: The range of the list that `manifest` is, if it gets files of its own.
        files: The file set to write.

    Returns:
        The counts; or the missing entries, if some shards are damaged. Then nothing was written.
    """
    earlier = open_earlier_sets(store, facts["fingerprint"], without=fresh) if config.reuse else []
    shards, decoders = open_whole_shards(store, fresh), list_optional_decoders()
    found = lookup_entries(manifest, shards, earlier, config.limits, decoders, store.scratch)
    if len(found.missing):
        return MergeResult(None, found.missing)
    sha256: dict[str, str] = {}
    try:
        if part is None:
            with keep_unlisted(store, found.unlisted, facts) if files is INDEXED else nullcontext():
                sha256 = merge_sets(store, found, facts, files, config.features_file_bytes)
        else:
            merge_range(store, *part, found, facts)
    except LostEmbeddingsError as error:
        log.warning("%s Its images are read again.", error)
        return MergeResult(None, found.find_entries_of(error.embeddings))
    blocks = found.blocks(["rows", "error_code"])
    return MergeResult(count_entries(block.entries for block in blocks), found.missing, sha256)


def adopt_features(store: Store, features_file: str, largest: int) -> RunSummary:
    """Check stored features for mode 2, and merge the ranges of mode 1 if there are any.

    Args:
        store: The work_dir.
        features_file: Name of the features file that the user asked for.
        largest: See `merge_sets`.

    Returns:
        The facts of the features, and their counts.

    Raises:
        InputError: There are none, they are of a scoring, or ranges do not fit together.
        DamagedError: A file is damaged or missing.
    """
    if features_file == SCORED.name(layout.FEATURES) and was_scored(store):
        raise InputError(
            f"{features_file} in {store.location!r} belongs to a scoring, which this run would remove; "
            "extract the features of those images into another work_dir (run_mode=1)."
        )
    if features_file != layout.FEATURES:
        return describe_own_features(store, features_file)
    try:
        if ranges := open_ranges(store):
            return _merge_ranges(store, ranges, largest)
        described = open_complete(store)
        if described is None:
            return describe_own_features(store, features_file)
        check_digest(store, layout.FEATURES_CSV, described.facts["sha256"][layout.FEATURES_CSV])
    except (DamagedError, FileNotFoundError) as error:
        raise DamagedError(f"{error} Extract the features again (run_mode=1), or put the file back.") from None
    return begin_summary(select_reusable_facts(described.facts)) | {"counts": count_entries([described.entries])}


def estimate_stored(store: Store, features_file: str) -> int:
    """Return about how many embeddings modes 2 and 4 start from, by the sizes of their files.

    Args:
        store: The work_dir.
        features_file: Name of the features file; without it, the ranges of mode 1 count.

    Returns:
        The number; `sys.maxsize` in a bucket, since a run on a bucket is worth a Ray.
    """
    if is_remote(store.location):
        return sys.maxsize
    if store.is_file(index := layout.locate_index(features_file)):
        return len(read_index(store.fetch(index)))
    is_range = not store.exists(features_file)
    folder = Path(store.location)
    paths = folder.glob("features-*.dat") if is_range else [folder / features_file]
    return sum(path.stat().st_size for path in paths) // (DIMENSIONS * np.dtype(np.float32).itemsize)


def select_reusable_facts(facts: FeatureFacts) -> FeatureFacts:
    """Return what summary.json says of features, so that a later run can reuse them."""
    return {
        "format_version": facts["format_version"],
        "fingerprint": facts["fingerprint"],
        "d": facts["d"],
        "n": facts["n"],
        "list_sha256": facts["list_sha256"],
    }


def _merge_ranges(store: Store, ranges: list[FeatureSet], largest: int) -> RunSummary:
    if has_features(store, layout.FEATURES):
        merged = open_merged(store)
        if merged is None or merged.facts["list_sha256"] != ranges[0].facts["list_sha256"]:
            raise InputError(
                f"{store.location!r} has both {layout.FEATURES} and ranges of another list: remove one of them."
            )
    facts = merge_ranges(store, ranges, largest)
    return begin_summary(facts) | {"counts": count_entries(part.entries for part in ranges)}


def describe_own_features(store: Store, features_file: str) -> RunSummary:
    """Return the facts and counts of features that no run made, such as those of `save_binary_feature`.

    Raises:
        InputError: There are none.
        DamagedError: An earlier run of mode 2 recorded another digest, or the two files do not fit together.
    """
    for name in (features_file, features_file + ".csv"):
        if not store.exists(name):
            raise InputError(f"No {name} in {store.location!r}: name the work_dir of a run_mode=1, or a features file.")
    _check_own(store)
    n = len(read_names(store.fetch(features_file + ".csv")))
    d = infer_dimensions(store.fetch(features_file), n)
    if n == 0:
        raise InputError(f"{features_file} in {store.location!r} is empty.")
    return {"format_version": layout.FORMAT_VERSION, "d": d, "n": n, "counts": {"entries": n, "images": n, "bad": 0}}


def _check_own(store: Store) -> None:
    # save_binary_feature removes the summary, so one that is there must fit.
    if store.exists(layout.SUMMARY):
        sha256 = read_summary(store)["sha256"]
        for name in (layout.FEATURES, layout.FEATURES_CSV):
            if name in sha256:
                check_digest(store, name, sha256[name])


def count_entries(tables: Iterable[pa.Table]) -> Counts:
    """Return the numbers of entries, images and bad entries in tables with columns of `inputs.manifest.ENTRIES`."""
    counts: Counts = {"entries": 0, "images": 0, "bad": 0}
    for entries in tables:
        counts["entries"] += entries.num_rows
        counts["images"] += pc.sum(entries["rows"]).as_py() or 0
        counts["bad"] += entries.num_rows - entries["error_code"].null_count
    return counts
