"""The run modes, each a short list of steps. The only place that knows them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fastdup_ray import layout
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import InputError, WorkDirError, WorkerError
from fastdup_ray.executors import Executor, cores, make_executor
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.extract.model import BATCH, DIMENSIONS, fingerprint
from fastdup_ray.features import earlier_sets, look_up
from fastdup_ray.inputs import check_inputs, list_images
from fastdup_ray.manifest import Manifest
from fastdup_ray.neighbors.faiss_index import check_parameters
from fastdup_ray.progress import with_progress
from fastdup_ray.result import RunResult
from fastdup_ray.steps import merge_features, search_neighbors, write_nothing_found, write_outputs
from fastdup_ray.storage import Store, open_store
from fastdup_ray.version import __version__

ROUNDS = 3
"""Times that features are made, where shards turn out damaged when they are merged."""

SHARDS_PER_ACTOR = 8
LARGEST_SHARD = 64 * BATCH

LISTING_FIRST = 0.3
"""Seconds that a listing gets before Ray is started beside it: an empty folder is told at once."""


def deduplicate(config: RunConfig) -> RunResult:
    """Does what `config` asks; raises a `FastdupError` whose text is one line for the user."""
    check_parameters(config.faiss_param)
    check_inputs(config)
    store = open_store(config.work_dir)
    store.prepare()
    with store.lock(layout.LOCK):
        store.remove_leftovers()
        summary = _run_all(config, store)
        store.remove(layout.SHARDS)
    if summary["counts"]["images"] == 0:
        reasons = f"{layout.BAD_CSV} in {store.location!r} has the reasons"
        raise InputError(f"No good image among {summary['counts']['entries']:,}: {reasons}.")
    return RunResult(store.location, summary)


def _run_all(config: RunConfig, store: Store) -> dict[str, Any]:
    """Run mode 0."""
    seconds: dict[str, float] = {}
    with ThreadPoolExecutor(1) as side:
        listing = side.submit(_listed, config)
        if listing in wait([listing], LISTING_FIRST).done:
            listing.result()
        with make_executor(config) as executor:  # Ray takes seconds to start: it does while the input is listed
            with _timed(seconds, "list"):
                manifest = listing.result()
            _refuse_other_pictures(config, store, manifest)
            facts = _facts(manifest)
            with _timed(seconds, "features"):
                read = _make_features(config, store, executor, manifest, facts)
            summary = facts | {"counts": _counts(store), "read": read, "seconds": seconds}
            if summary["counts"]["images"] == 0:
                return executor.call("final", write_nothing_found, store.location, config, summary)
            with _timed(seconds, "neighbors"):
                neighbors = executor.call("index", search_neighbors, store.location, config, DIMENSIONS)
            return executor.call("final", write_outputs, store.location, config, neighbors, summary)


def _listed(config: RunConfig) -> Manifest:
    manifest = Manifest.of(list_images(config))
    if len(manifest) == 0:
        raise InputError(
            f"No pictures in {', '.join(map(repr, config.inputs))}; name a folder or a list that has some."
        )
    return manifest


def _refuse_other_pictures(config: RunConfig, store: Store, manifest: Manifest) -> None:
    """The outputs of an earlier run are replaced only by a run on the same pictures, more of them, or some of them."""
    if config.overwrite or not store.exists(layout.MANIFEST):
        return
    try:
        earlier = pq.read_table(store.fetch(layout.MANIFEST), columns=["uri"])["uri"]
    except (OSError, ValueError):
        return
    if not pc.any(pc.is_in(manifest.keys()["uri"], earlier)).as_py():
        raise WorkDirError(
            f"{store.location!r} has the results of other pictures (such as {earlier[0].as_py()!r}); "
            "name another work_dir, or replace them with overwrite."
        )


def _facts(manifest: Manifest) -> dict[str, Any]:
    """What every file that describes features says of them."""
    return {
        "format_version": layout.FORMAT_VERSION,
        "version": __version__,
        "fingerprint": fingerprint(),
        "d": DIMENSIONS,
        "n": len(manifest),
        "list_sha256": manifest.digest,
    }


def _make_features(
    config: RunConfig, store: Store, executor: Executor, manifest: Manifest, facts: dict[str, Any]
) -> int:
    """features.dat and its lists, from what is there and what has to be read; returns how many entries were read."""
    earlier = earlier_sets(store, facts["fingerprint"]) if config.reuse else []
    missing = look_up(manifest, [], earlier, config.max_pixels).missing
    spec = ExtractSpec(store.location, max(1, cores(config) // executor.actors), config.max_pixels, facts)
    fresh: list[str] = []
    read = 0
    for _ in range(ROUNDS):
        if len(missing):
            shards = manifest.shards(missing, config.shard_size or _shard_size(len(missing), executor.actors))
            fresh += [receipt.stem for receipt in with_progress(executor.extract(spec, shards), len(missing))]
            read += len(missing)
        missing = executor.call("index", merge_features, store.location, config, manifest, fresh, facts)
        if len(missing) == 0:
            return read
    raise WorkerError(f"{len(missing):,} pictures have no features after {ROUNDS} rounds; is the disk in order?")


def _shard_size(n: int, actors: int) -> int:
    """Whole batches, enough shards that the actors end together, none so large that much is lost with it."""
    batches = -(-n // (actors * SHARDS_PER_ACTOR * BATCH))
    return min(batches * BATCH, LARGEST_SHARD)


def _counts(store: Store) -> dict[str, int]:
    entries = pq.read_table(store.fetch(layout.MANIFEST), columns=["rows", "error_code"])
    return {
        "entries": entries.num_rows,
        "images": int(np.sum(entries["rows"].to_numpy())),
        "bad": entries.num_rows - entries["error_code"].null_count,
    }


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 3)
