"""The run modes, each a short list of steps. The only place that knows them."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

from fastdup_ray import s3
from fastdup_ray.common import layout
from fastdup_ray.common.events import log_event
from fastdup_ray.common.layout import INDEXED, SCORED, TRANSFORMED
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import FastdupError, InputError, WorkDirError
from fastdup_ray.executors import Executor, make_executor
from fastdup_ray.extract.decoders import list_optional_decoders
from fastdup_ray.extract.transforms import select_transforms
from fastdup_ray.features import find_missing, open_complete
from fastdup_ray.inputs import SkippedFiles, check_inputs
from fastdup_ray.inputs.labels import check_labels
from fastdup_ray.inputs.manifest import KEY, Manifest
from fastdup_ray.neighbors import check_search
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.neighbors.search_plan import SearchPlan, plan_search
from fastdup_ray.outputs.bad_list import describe_few_bad
from fastdup_ray.outputs.changes import set_earlier_aside
from fastdup_ray.outputs.stored_config import read_config
from fastdup_ray.result import RunResult
from fastdup_ray.runs.features_stage import FeatureRequest, make_features
from fastdup_ray.runs.partitioned_search import search_partitioned
from fastdup_ray.runs.preflight import (
    list_manifest,
    make_list_facts,
    make_model_facts,
    make_transformed_facts,
    refuse_foreign_outputs,
    refuse_foreign_shards,
    refuse_other_images,
    resolve_range,
)
from fastdup_ray.runs.scoring import (
    check_before_work,
    check_indexed,
    import_query_features,
    measure_index_bytes,
    read_indexed_facts,
    search_indexed,
    write_scored_outputs,
)
from fastdup_ray.runs.steps import adopt_features, search_neighbors, write_outputs, write_summary_only
from fastdup_ray.runs.transforms_stage import check_transforms, write_transforms
from fastdup_ray.storage import open_file, open_store
from fastdup_ray.system.background import start_in_background
from fastdup_ray.version import __version__

log = logging.getLogger(__name__)

INDEX_PARAMETERS = ("nn_provider", "nnmodel", "faiss_mode", "faiss_param", "distance")
"""Parameters that the index depends on."""

LISTING_FIRST = 0.3
"""Seconds that a listing gets before Ray is started beside it: an empty folder is told at once."""


def deduplicate(config: RunConfig) -> RunResult:
    """Does what `config` asks; raises a `FastdupError` whose text is one line for the user."""
    s3.use(config.s3_access)
    run = _Run(config)
    check_search(config, run.model.get("d") if config.run_mode in (0, 1) else None)
    check_inputs(config)
    check_labels(config.labels)
    try:
        summary = run.run_mode()
    except FastdupError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error  # Arrow puts words of its own around it
        raise WorkDirError(
            f"Writing to {run.store.location!r} failed: {reason}. Fix that and run the same command to resume."
        ) from error
    return RunResult(run.store.location, summary, run.files)


def is_indexed(config: RunConfig) -> bool:
    """Whether the work_dir already has the index that run mode 0 would make: of the same files, by the same model."""
    s3.use(config.s3_access)
    check_inputs(config)
    store = open_store(config.work_dir)
    try:
        facts = read_indexed_facts(store)
        check_indexed(store)
        there = open_complete(store)
        asked = read_config(store)
    except (FastdupError, OSError):
        return False
    if there is None or not config.reuse or facts["fingerprint"] != make_model_facts(config)["fingerprint"]:
        return False
    manifest = list_manifest(config)
    if not there.entries.select(KEY).equals(manifest.keys()):
        return False
    same_index = all(asked.get(name) == getattr(config, name) for name in INDEX_PARAMETERS)
    return same_index and len(find_missing(manifest, [there], config.limits, list_optional_decoders())) == 0


class _Run:
    """One call: its configuration, its place, and what it cost so far."""

    def __init__(self, config: RunConfig):
        self.config = config
        self.store, self._features_file = open_store(config.work_dir), layout.FEATURES
        if config.run_mode == 2:
            self.store, self._features_file = open_file(config.work_dir, layout.FEATURES)
        self.files = SCORED if config.run_mode in (3, 4) else INDEXED
        self.model = make_model_facts(config) if config.run_mode in (0, 1, 3) else {}
        self._skipped = SkippedFiles()
        self._cost: dict[str, Any] = {"read": 0, "seconds": {}, "cpu_seconds": 0.0}

    def run_mode(self) -> dict[str, Any]:
        """Does it; returns the summary."""
        config, store, files = self.config, self.store, self.files
        if files is SCORED:
            check_before_work(store, self.model)
        store.prepare()
        if config.run_mode == 1 and (config.min_offset, config.max_offset) != (None, None):
            with store.lock(layout.LOCK, shared=True):
                return self._run_range()
        with store.lock(layout.LOCK):
            refuse_foreign_shards(store)
            if files is INDEXED:
                refuse_foreign_outputs(store, overwrite=config.overwrite)
            store.remove_leftovers()
            if config.incremental and files is INDEXED and config.run_mode != 1:
                set_earlier_aside(store)
            modes = (
                self._run_everything,
                self._run_features,
                self._run_from_features,
                self._run_score_images,
                self._run_score_features,
            )
            summary = modes[config.run_mode]()
            for done in {files, TRANSFORMED}:
                store.remove(done.name(layout.SHARDS))
        if summary["counts"]["images"] == 0:
            reasons = "; ".join(describe_few_bad(store, files, summary["counts"]["bad"]))
            reasons = reasons or f"{files.name(layout.BAD_CSV)} in {store.location!r} has the reasons"
            raise InputError(f"No good image among {summary['counts']['entries']:,}: {reasons}.")
        return summary

    # The modes

    def _run_everything(self) -> dict[str, Any]:
        with self._start() as (whole, executor):
            manifest = whole.window(*resolve_range(self.config, whole))
            summary = self._make_features(manifest, executor, make_list_facts(manifest))
            if summary["counts"]["images"] == 0:
                return executor.call("final", write_summary_only, self.store, self.config, summary)
            turned = self._make_transformed(manifest, executor) if self.config.invariant else None
            return self._search_and_write(executor, summary, turned)

    def _run_features(self) -> dict[str, Any]:
        with self._start() as (manifest, executor):
            summary = self._make_features(manifest, executor, make_list_facts(manifest))
            return executor.call("final", write_summary_only, self.store, self.config, summary)

    def _run_range(self) -> dict[str, Any]:
        with self._start() as (whole, executor):
            start, stop = resolve_range(self.config, whole)
            with self.store.lock(f".{layout.format_range_stem(start, stop)}.lock"):
                summary = self._make_features(
                    whole.window(start, stop), executor, make_list_facts(whole), (start, stop)
                )
                for name in list(self.store.names(layout.SHARDS)):
                    low, high = layout.parse_range(name) or (-1, -1)
                    if start <= low and high <= stop:
                        self.store.remove(name)
        self.store.remove_if_empty(layout.SHARDS)
        return summary

    def _run_from_features(self) -> dict[str, Any]:
        with make_executor(self.config, self.store) as executor:
            with self._time_stage("features", executor):
                facts = executor.call("index", adopt_features, self.store, self._features_file)
            summary = {"version": __version__} | facts | self._cost
            return self._search_and_write(executor, summary) if summary["counts"]["images"] else summary

    def _run_score_images(self) -> dict[str, Any]:
        with self._start() as (whole, executor):
            manifest = whole.window(*resolve_range(self.config, whole))
            executor.call("index", check_indexed, self.store)
            return self._search_and_write_scores(
                executor, self._make_features(manifest, executor, make_list_facts(manifest))
            )

    def _run_score_features(self) -> dict[str, Any]:
        with make_executor(self.config, self.store) as executor:
            executor.call("index", check_indexed, self.store)
            with self._time_stage("features", executor):
                facts = executor.call("index", import_query_features, self.store, s3.to_absolute(self.config.inputs[0]))
            return self._search_and_write_scores(executor, {"version": __version__} | facts | self._cost)

    # Their parts

    @contextmanager
    def _start(self) -> Iterator[tuple[Manifest, Executor]]:
        """The whole list, and who works on it. Ray takes seconds to start: it does while the input is listed."""
        with start_in_background(lambda stop: list_manifest(self.config, self._skipped, stop)) as listing:
            if listing in wait([listing], LISTING_FIRST).done:
                listing.result()
            with make_executor(self.config, self.store) as executor:
                with self._time_stage("list", executor):
                    manifest = listing.result()
                yield manifest, executor

    def _make_features(
        self, manifest: Manifest, executor: Executor, facts: dict[str, Any], part: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        """The features of the manifest, from what is there and what has to be read; returns the summary so far.

        part: the range of the list that the manifest is, where it is to stand in files of its own.
        """
        config, facts = self.config, facts | self.model
        if part is None and self.files is INDEXED:
            refuse_other_images(config, self.store, manifest)
        if config.run_mode == 0:  # videos and archives may come to more rows than entries
            plan = self._plan_search(executor, len(manifest), facts["d"])
            executor.reserve(plan.reserved_bytes)
        with self._time_stage("features", executor):
            made = make_features(config, self.store, executor, FeatureRequest(manifest, facts, self.files, part))
        self._cost |= {"read": made.read, "cpu_seconds": made.cpu_seconds}
        return facts | {"counts": made.counts, "skipped": self._skipped.counts()} | self._cost

    def _make_transformed(self, manifest: Manifest, executor: Executor) -> dict[str, Any]:
        """The features of the turns of the manifest's pictures; returns the facts of them."""
        facts = make_list_facts(manifest) | make_transformed_facts(self.config, self.model)
        wanted = FeatureRequest(manifest, facts, TRANSFORMED, transforms=select_transforms(self.config.invariant))
        with self._time_stage("turned", executor):
            return facts | {"counts": make_features(self.config, self.store, executor, wanted).counts}

    def _search_and_write(
        self, executor: Executor, summary: dict[str, Any], turned: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """turned: facts of the features of turns, where these are to be looked for."""
        config, features_file = self.config, self._features_file
        plan = self._plan_search(executor, summary["counts"]["images"], summary["d"])
        executor.reserve(plan.reserved_bytes, gpu=config.compute == "gpu")
        with self._time_stage("neighbors", executor):
            neighbors = self._find_neighbors(executor, plan)
        _log_search(neighbors)
        if turned is not None:
            with self._time_stage("invariant", executor):
                args = self.store, config, neighbors, summary["d"], turned
                summary["invariant"] = executor.call("index", write_transforms, *args)
        return self._finish(executor, write_outputs, config, features_file, neighbors, summary)

    def _plan_search(self, executor: Executor, n: int, d: int) -> SearchPlan:
        """Plan the search of n embeddings of d numbers, and refuse one that no process has the memory for."""
        memory = executor.max_step_memory()
        plan = plan_search(self.config, n, d, memory)
        plan.check_fits(memory)
        check_transforms(self.config, self.store, plan)
        return plan

    def _find_neighbors(self, executor: Executor, plan: SearchPlan) -> StoredNeighbors:
        store, config = self.store, self.config
        if plan.partitioned:
            return search_partitioned(executor, store, config, self._features_file, plan.n, plan.d)
        return executor.call("index", search_neighbors, store, config, self._features_file, plan.d)

    def _search_and_write_scores(self, executor: Executor, summary: dict[str, Any]) -> dict[str, Any]:
        store, config = self.store, self.config
        executor.reserve(measure_index_bytes(store), gpu=config.compute == "gpu")
        with self._time_stage("neighbors", executor):
            neighbors = executor.call("index", search_indexed, store, config, summary["d"])
        _log_search(neighbors)
        return self._finish(executor, write_scored_outputs, config, neighbors, summary)

    def _finish(self, executor: Executor, step: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
        """The final task; returns the summary that it has written."""
        summary = executor.call("final", step, self.store, *args)
        executor.record_stage("outputs", summary["seconds"]["outputs"])
        return summary

    @contextmanager
    def _time_stage(self, stage: str, executor: Executor) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            seconds = self._cost["seconds"][stage] = round(time.monotonic() - start, 3)
            log_event(stage, f"{seconds:.1f} s", seconds=seconds)
            executor.record_stage(stage, seconds)


def _log_search(neighbors: StoredNeighbors) -> None:
    """What became of the search; on Ray it was done elsewhere, and what is logged there is not seen here."""
    summary = neighbors.summary
    log.info("index %(index)s: %(why)s; recall %(recall)g", summary)
    if unused := summary.get("unused_parameters"):
        log.warning("faiss_param: no effect of %s: the index %s has none of it.", ", ".join(unused), summary["index"])
