"""The run modes, each a short list of stages."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

from fastdup_ray.common import layout
from fastdup_ray.common.events import log_event
from fastdup_ray.common.facts import FeatureFacts, RunCost, RunSummary, begin_summary
from fastdup_ray.common.layout import INDEXED, SCORED, TRANSFORMED
from fastdup_ray.common.locations import to_absolute
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import FastdupError, InputError, WorkDirError
from fastdup_ray.executors import Executor, make_executor
from fastdup_ray.executors.child_process import FirstChild
from fastdup_ray.executors.choice import ExecutorChoice, choose_executor
from fastdup_ray.extract.transforms import select_transforms
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.neighbors.search_plan import SearchPlan
from fastdup_ray.outputs.bad_list import describe_few_bad
from fastdup_ray.outputs.changes import set_earlier_aside
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.runs.features_stage import FeatureRequest, make_features
from fastdup_ray.runs.indexed_set import check_indexed, measure_index_bytes, read_indexed_facts
from fastdup_ray.runs.input_list import InputList
from fastdup_ray.runs.merge_stage import adopt_features, estimate_stored
from fastdup_ray.runs.outputs_stage import write_outputs, write_summary_only
from fastdup_ray.runs.partitioned_search import search_partitioned
from fastdup_ray.runs.preflight import (
    Preflight,
    check_scoring,
    check_work_dir,
    make_list_facts,
    make_transformed_facts,
    plan_feasible_search,
    preflight,
    refuse_other_images,
    resolve_range,
)
from fastdup_ray.runs.progress import show_duration, show_stage
from fastdup_ray.runs.scoring import import_query_features, search_indexed, write_scored_outputs
from fastdup_ray.runs.search_stage import search_neighbors
from fastdup_ray.runs.stage_memory import RunSize, estimate_stages
from fastdup_ray.runs.stages import Stages
from fastdup_ray.runs.transforms_stage import write_transforms
from fastdup_ray.runs.unchanged import is_unchanged, open_comparable
from fastdup_ray.runs.verify_stage import ImageHolder, choose_verify, verify_neighbors, widen_search
from fastdup_ray.storage.feature_rows import open_features
from fastdup_ray.version import __version__

log = logging.getLogger(__name__)


def run_pipeline(config: RunConfig, images: ImageHolder | None = None) -> RunReader:
    """Run `config` and return the finished run, or scoring.

    Args:
        config: Of the run.
        images: Gives the images to compare if they cannot be read by their names.

    Raises:
        FastdupError: Of the kind that says what is wrong; its text is one line for the user.
    """
    with open_run(config, images=images) as run:
        return run


@contextmanager
def open_run(
    config: RunConfig, first: FirstChild | None = None, images: ImageHolder | None = None
) -> Iterator[RunReader]:
    """Run `config` and yield the finished run; then stop what the run has started, such as Ray, which takes a second.

    Args:
        config: Of the run.
        first: Its first child process, if that was started before this module was imported.
        images: See `run_pipeline`.

    Raises:
        FastdupError: See `run_pipeline`.
    """
    with ExitStack() as stack:
        stages = Stages(config)
        first = first or stack.enter_context(FirstChild(config))
        run = _Run(config, preflight(config), stages, first, images)
        try:
            summary = stack.enter_context(run.run_mode())
        except FastdupError:
            raise
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error  # without the text that Arrow adds
            raise WorkDirError(
                f"Writing to {run.store.location!r} failed: {reason}. Fix that and run the same command to resume."
            ) from error
        yield RunReader(run.store, summary, run.files)


class _Run:
    """One call: its configuration, its work_dir, and what it took so far."""

    def __init__(
        self, config: RunConfig, checked: Preflight, stages: Stages, first: FirstChild, images: ImageHolder | None
    ) -> None:
        self.config = config
        self._first, self._images = first, images
        self.store, self.files = checked.store, checked.files
        self._features_file, self._model = checked.features_file, checked.model
        self._list = InputList(config, stages, self.store, self.files.name(layout.LIST))
        self._ending = ExitStack()
        self._stages = stages
        self._cost: RunCost = {"read": 0, "seconds": stages.seconds, "cpu_seconds": 0.0}

    @contextmanager
    def run_mode(self) -> Iterator[RunSummary]:
        """Run the mode that was asked for, and yield the summary; then stop what was started, and release the lock."""
        config, store, files = self.config, self.store, self.files
        if files is SCORED:
            check_scoring(store, self._model)
        store.prepare()
        is_range = config.run_mode == 1 and (config.min_offset, config.max_offset) != (None, None)
        self._ending.callback(self._list.remove)
        with store.lock(layout.LOCK, shared=is_range), self._ending:
            summary = self._run_range() if is_range else self._run_whole()
            if summary["counts"]["images"] == 0 and not is_range:
                reasons = "; ".join(describe_few_bad(store, files, summary["counts"]["bad"]))
                reasons = reasons or f"{files.name(layout.BAD_CSV)} in {store.location!r} has the reasons"
                raise InputError(f"No good image among {summary['counts']['entries']:,}: {reasons}.")
            show_duration(sum(self._stages.seconds.values()), config)
            yield summary

    def _run_whole(self) -> RunSummary:
        config, store, files = self.config, self.store, self.files
        check_work_dir(config, store, files)
        store.remove_leftovers()
        store.remove(files.name(layout.LIST))  # of a run that was killed
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
        for finished in {files, TRANSFORMED}:
            store.remove(finished.name(layout.SHARDS))
        return summary

    # The modes

    def _run_everything(self) -> RunSummary:
        if unchanged := self._find_unchanged():
            return unchanged
        whole, executor = self._start()
        manifest = whole.window(*resolve_range(self.config, whole))
        summary = self._make_features(manifest, executor, make_list_facts(manifest))
        if summary["counts"]["images"] == 0:
            return executor.call("final", write_summary_only, self.store, self.config, summary)
        transformed = self._make_transformed(manifest, executor) if self.config.invariant else None
        return self._search_and_write(executor, summary, transformed)

    def _run_features(self) -> RunSummary:
        manifest, executor = self._start()
        summary = self._make_features(manifest, executor, make_list_facts(manifest))
        return executor.call("final", write_summary_only, self.store, self.config, summary)

    def _run_range(self) -> RunSummary:
        whole, executor = self._start()
        start, stop = resolve_range(self.config, whole)
        with self.store.lock(f".{layout.format_range_stem(start, stop)}.lock"):
            summary = self._make_features(whole.window(start, stop), executor, make_list_facts(whole), (start, stop))
            for name in list(self.store.names(layout.SHARDS)):
                low, high = layout.parse_range(name) or (-1, -1)
                if start <= low and high <= stop:
                    self.store.remove(name)
        self.store.remove_if_empty(layout.SHARDS)
        return summary

    def _run_from_features(self) -> RunSummary:
        count = partial(estimate_stored, self.store, self._features_file)
        executor = self._start_executor(choose_executor(self.config, count))
        with self._stages.time("features"), show_stage("Reading the embeddings", self.config):
            facts = executor.call(
                "index", adopt_features, self.store, self._features_file, self.config.features_file_bytes
            )
        summary: RunSummary = {"version": __version__, **facts, **self._cost}
        return self._search_and_write(executor, summary) if summary["counts"]["images"] else summary

    def _run_score_images(self) -> RunSummary:
        whole, executor = self._start()
        manifest = whole.window(*resolve_range(self.config, whole))
        executor.call("index", check_indexed, self.store)
        return self._search_and_write_scores(
            executor, self._make_features(manifest, executor, make_list_facts(manifest))
        )

    def _run_score_features(self) -> RunSummary:
        location = to_absolute(self.config.inputs[0])
        count = partial(estimate_stored, *open_features(location, self.config.s3_access))
        executor = self._start_executor(choose_executor(self.config, count))
        executor.call("index", check_indexed, self.store)
        with self._stages.time("features"), show_stage("Reading the embeddings", self.config):
            facts = executor.call("index", import_query_features, self.store, location, self.config.features_file_bytes)
        return self._search_and_write_scores(executor, {"version": __version__, **facts, **self._cost})

    # Their parts

    def _find_unchanged(self) -> RunSummary | None:
        """Return the summary of the finished run in the work_dir if this run would write the same again."""
        last = open_comparable(self.store, self.config, self._model)
        if last is None:
            return None
        whole = self._list.read()
        manifest = whole.window(*resolve_range(self.config, whole))
        with self._stages.time("unchanged"):
            same = is_unchanged(self.store, self.config, last, manifest, self._list.skipped.counts())
        if not same:
            return None
        log_event("reuse", f"{len(manifest):,} entries, 0 to read, nothing new", entries=len(manifest), to_read=0)
        self._stages.end_start(None)
        return {**last, **self._cost}

    def _start(self) -> tuple[Manifest, Executor]:
        """Return the whole list and the executor. Ray takes seconds to start: it does while the input is listed."""
        with self._list.in_background():
            executor = self._start_executor(choose_executor(self.config, lambda: len(self._list.read())))
            return self._list.read(), executor

    def _start_executor(self, choice: ExecutorChoice) -> Executor:
        """Start the executor, which ends with the run."""
        log_event("executor", f"{choice.executor}: {choice.why}", executor=choice.executor, why=choice.why)
        self._cost["executor"] = choice.executor
        with show_stage("Starting Ray", self.config) if choice.executor == "ray" else nullcontext():
            executor = self._ending.enter_context(make_executor(self.config, self.store, choice, self._first))
        self._stages.end_start(executor)
        return executor

    def _make_features(
        self, manifest: Manifest, executor: Executor, facts: FeatureFacts, part: tuple[int, int] | None = None
    ) -> RunSummary:
        """Write the features of the manifest; return the summary so far.

        part: the range of the list that the manifest is, if it gets files of its own.
        """
        config, facts = self.config, facts | self._model
        if part is None and self.files is INDEXED:
            refuse_other_images(config, self.store, manifest)
        size, most, plan = RunSize.of(manifest, facts["d"]), executor.max_step_memory(), None
        if config.run_mode == 0:  # there may be more images than entries, but hardly fewer
            plan = plan_feasible_search(config, self.store, size.entries, size.d, most)
        memory = estimate_stages(config, size, plan)
        memory.check_fits(most, size.entries)
        executor.reserve(max(memory.merge, plan.reserved_bytes if plan else 0))
        executor.reserve(memory.outputs, target="final")
        with self._stages.time("features"):
            outcome = make_features(config, self.store, executor, FeatureRequest(manifest, facts, self.files, part))
        self._cost |= {"read": outcome.read, "cpu_seconds": outcome.cpu_seconds}
        return begin_summary(facts) | {
            "counts": outcome.counts,
            "sha256": outcome.sha256,
            "skipped": self._list.skipped.counts(),
            "read": self._cost["read"],
            "seconds": self._cost["seconds"],
            "cpu_seconds": self._cost["cpu_seconds"],
            "executor": self._cost["executor"],
        }

    def _make_transformed(self, manifest: Manifest, executor: Executor) -> RunSummary:
        """Write the features of the transforms of the manifest's images; return their facts and counts."""
        facts = make_list_facts(manifest) | make_transformed_facts(self.config, self._model)
        request = FeatureRequest(manifest, facts, TRANSFORMED, transforms=select_transforms(self.config.invariant))
        with self._stages.time("turned"):
            outcome = make_features(self.config, self.store, executor, request)
        return begin_summary(facts) | {"counts": outcome.counts}

    def _search_and_write(
        self, executor: Executor, summary: RunSummary, transformed: RunSummary | None = None
    ) -> RunSummary:
        """Search the features and write the outputs; transformed: facts of the features of transforms, if any."""
        features_file, n, d = self._features_file, summary["counts"]["images"], summary["d"]
        config = choose_verify(self.config, summary)
        wide = widen_search(config)
        most = executor.max_step_memory()
        plan = plan_feasible_search(wide, self.store, n, d, most)
        executor.reserve(plan.reserved_bytes, gpu=config.compute == "gpu")
        if config.run_mode == 2:
            memory = estimate_stages(config, RunSize.of_images(n, d), plan)
            memory.check_fits(most, n)
            executor.reserve(memory.outputs, target="final")
        with self._stages.time("neighbors"):
            neighbors = self._find_neighbors(executor, wide, plan)
        _log_search(neighbors)
        if config.verify != "off":
            with self._stages.time("verify"):
                summary["verified"] = verify_neighbors(
                    executor, self.store, config, features_file, d, neighbors, self._images
                )
        if transformed is not None:
            with self._stages.time("invariant"):
                args = self.store, config, neighbors, d, transformed
                summary["invariant"] = executor.call("index", write_transforms, *args)
        read = None if self._images is None else self._images.make_reader()
        return self._finish(executor, write_outputs, config, features_file, neighbors, summary, read)

    def _find_neighbors(self, executor: Executor, config: RunConfig, plan: SearchPlan) -> StoredNeighbors:
        store = self.store
        if plan.partitioned:
            return search_partitioned(executor, store, config, self._features_file, plan.n, plan.d)
        return executor.call("index", search_neighbors, store, config, self._features_file, plan.d)

    def _search_and_write_scores(self, executor: Executor, summary: RunSummary) -> RunSummary:
        store, config = self.store, self.config
        executor.reserve(measure_index_bytes(store), gpu=config.compute == "gpu")
        n = summary["counts"]["images"] + read_indexed_facts(store)["n"]  # the outputs name images of both sets
        executor.reserve(estimate_stages(config, RunSize.of_images(n, summary["d"]), None).outputs, target="final")
        with self._stages.time("neighbors"):
            neighbors = executor.call("index", search_indexed, store, config, summary["d"])
        _log_search(neighbors)
        return self._finish(executor, write_scored_outputs, config, neighbors, summary)

    def _finish(self, executor: Executor, step: Callable[..., RunSummary], *args: Any) -> RunSummary:
        """Run the final task; return the summary that it has written."""
        with self._stages.time("outputs"):
            return executor.call("final", step, self.store, *args)


def _log_search(neighbors: StoredNeighbors) -> None:
    """Log how the search went: on Ray, what another process logs is not seen here."""
    summary = neighbors.summary
    log.info("index %(index)s: %(why)s; recall %(recall)g", summary)
    if unused := summary.get("unused_parameters"):
        log.warning(
            "faiss_param: no effect of %s: the index %s has no such parameter.", ", ".join(unused), summary["index"]
        )
