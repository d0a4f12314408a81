"""`run`, as the specification has it: run, print the result, return an exit code; `deduplicate` returns the result."""

import inspect
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any

from fastdup_ray.common import layout
from fastdup_ray.common.events import log_event, log_to_console, print_lines
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError, FastdupError
from fastdup_ray.executors.child_process import FirstChild
from fastdup_ray.inputs import describe_skipped
from fastdup_ray.outputs.bad_list import describe_bad
from fastdup_ray.outputs.duplicate_counts import DuplicateCounts
from fastdup_ray.result import RunResult
from fastdup_ray.runs.estimate import estimate_run
from fastdup_ray.runs.pipeline import open_run, run_pipeline
from fastdup_ray.signature import describe_parameters, make_signature, name_arguments
from fastdup_ray.storage import open_store
from fastdup_ray.version import __version__


def run(*arguments: Any, **keywords: Any) -> int:
    """Find the duplicates among images, and print a summary.

    `deduplicate` takes the same parameters, raises errors and returns the results.

    Returns:
        0, or 1 after printing what went wrong to standard error.
    """
    try:
        run_and_print(RunConfig.of(**name_arguments(_RUN, arguments, keywords)))
    except FastdupError as error:
        print_lines(f"fastdup_ray: {error}", sys.stderr)
        return 1
    return 0


def deduplicate(*arguments: Any, **keywords: Any) -> RunResult:
    """Find the duplicates among images, and return the results.

    Takes the parameters of a run, or a `RunConfig` as the only argument.

    Returns:
        The results, as tables that are read when they are asked for.

    Raises:
        FastdupError: Of the kind that says what is wrong; its text is one line for the user.
    """
    if arguments and isinstance(arguments[0], RunConfig):
        if len(arguments) > 1 or keywords:
            raise ConfigError("deduplicate takes a RunConfig or parameters, not both.")
        return RunResult.of(run_pipeline(arguments[0]))
    for name in _PRINTING.intersection(keywords):
        raise ConfigError(f"deduplicate does not take {name}, which prints something and runs nothing: use run.")
    return RunResult.of(run_pipeline(RunConfig.of(**name_arguments(_DEDUPLICATE, arguments, keywords))))


def run_and_print(config: RunConfig, first: FirstChild | None = None) -> RunResult | None:
    """Do what `config` asks for, and print what came of it.

    Args:
        config: What to do.
        first: The first child process of the run, if it was started before this module was imported.

    Returns:
        The result of a run; None after printing the version or an estimate.

    Raises:
        FastdupError: If the run failed.
    """
    if config.version:
        print_lines(__version__)
        return None
    with log_to_console(config.log_format, verbose=config.verbose):
        if config.estimate:
            _print_estimate(config)
            return None
        return _deduplicate_and_print(config, first)


def _print_estimate(config: RunConfig) -> None:
    estimate = estimate_run(config)
    if config.log_format == "json":
        log_event("estimate", **estimate.as_dict())
    else:
        print_lines(estimate.text())


def _deduplicate_and_print(config: RunConfig, first: FirstChild | None) -> RunResult:
    try:
        with open_run(config, first) as run:
            result = RunResult.of(run)
            _print_result(result, config)
    except FastdupError as error:
        if config.log_format == "json":
            log_event("failed", error=str(error), exit_code=error.exit_code)
        raise
    return result


def _print_result(result: RunResult, config: RunConfig) -> None:
    if config.log_format == "json":
        names = [name for name in ("counts", "changes", "read", "skipped") if name in result.summary]
        facts: dict[str, Any] = {name: result.summary[name] for name in names}
        log_event("done", work_dir=result.work_dir, **facts)
    elif config.log_format == "quiet":
        print_lines(_get_page(result, config) or result.work_dir)
    else:
        print_lines("\n".join(_describe_result(result, config)))


def _describe_result(result: RunResult, config: RunConfig) -> Iterator[str]:
    """Yield the lines that a run ends with."""
    yield from _describe_input(result, config)
    if config.run_mode == 1:
        yield f"Embeddings: {result.work_dir}"
        yield f"Next: fastdup-ray run --work-dir {shlex.quote(config.work_dir)} --run-mode 2"
        return
    yield from _describe_duplicates(result)
    if config.verbose:
        yield from _describe_search(result, config)
    summary, counts = result.summary, result.counts
    if invariant := summary.get("invariant"):
        yield f"{invariant['distinct_pairs']:,} more pairs are mirrored or rotated."
    if changes := summary.get("changes"):
        yield (
            f"Since the last run: {changes['images_added']:,} images added, {changes['images_changed']:,} changed, "
            f"{changes['images_removed']:,} removed; {changes['new_pairs']:,} new pairs; "
            f"groups: {changes['groups_new']:,} new, {changes['groups_grew']:,} grew, {changes['groups_gone']:,} gone."
        )
    if "labelled" in counts:
        labeled, conflicts = _count(counts["labelled"], "labeled image"), _count(counts["label_conflicts"], "pair")
        yield f"{labeled}; {conflicts} with different labels."
    yield from _describe_next(result, config)


def _describe_input(result: RunResult, config: RunConfig) -> Iterator[str]:
    counts, read = result.counts, result.summary["read"]
    whole = _count(counts["entries"], "file")
    files = whole if read == counts["entries"] else f"{read:,} of {whole}, reused the rest"
    yield f"Read {files}: {_count(counts['images'], 'image')}, {counts['bad']:,} unreadable."
    if (config.min_offset, config.max_offset) == (None, None) or config.run_mode != 1:  # ranges have lists of their own
        for reason in describe_bad(open_store(result.work_dir, config.s3_access), result.files, counts["bad"]):
            yield f"  {reason}"
    if skipped := describe_skipped(result.summary.get("skipped", {})):
        yield f"{skipped}."


def _describe_duplicates(result: RunResult) -> Iterator[str]:
    counts, outliers = result.counts, _count(result.counts["outliers"], "outlier")
    if duplicates := DuplicateCounts.of(counts):
        yield duplicates.text()
        unlike = f", unlike all other images: see {layout.OUTLIERS_CSV}" if counts["outliers"] else ""
        yield f"{outliers}{unlike}."
        return
    parts = [_count(counts["exact_copies"], "exact duplicate"), _count(counts["near_copies"], "near duplicate")]
    yield f"{' · '.join([*parts, outliers])} (compared with {counts['indexed']:,} indexed images)"


def _describe_search(result: RunResult, config: RunConfig) -> Iterator[str]:
    counts, search = result.counts, result.summary["neighbors"]
    exact = f"{counts['same_bytes']:,} with the same bytes, {counts['same_pixels']:,} with the same pixels"
    yield f"Exact duplicates: {exact}."
    pairs = f"{_count(counts['distinct_pairs'], 'pair')} more similar than {config.threshold:g}"
    if "components" in counts:
        pairs += f", {_count(counts['components'], 'group')} joined above {config.ccthreshold:g}"
    yield f"{pairs}."
    recall = f"recall {search['recall']:g}"
    if "recall_of_look_alikes" in search:
        recall += f" ({search['recall_of_look_alikes']:g} for the most similar images)"
    index = search["index"]
    if "added" in search and not search.get("reused"):
        index += f", {search['added']['searched']:,} of {counts['images']:,} images searched"
    yield f"Index {index}, {recall}."


def _describe_next(result: RunResult, config: RunConfig) -> Iterator[str]:
    """Yield where the results are, and the command to go on with."""
    if page := _get_page(result, config):
        yield f"Report: {page}"
    else:
        yield f"Results: {result.work_dir}"
    duplicates = DuplicateCounts.of(result.counts)
    if duplicates is not None and duplicates.duplicates:
        command = "serve" if config.report else "plan"
        # After mode 2 on a features file, config.work_dir is that file.
        work_dir = result.work_dir if config.run_mode == 2 else config.work_dir
        yield f"Next: fastdup-ray {command} {shlex.quote(work_dir)}"


def _get_page(result: RunResult, config: RunConfig) -> str:
    """Return the path of the report; "" if the run wrote none."""
    has_page = config.report and config.run_mode != 1
    return os.path.join(result.work_dir, result.files.name(layout.REPORT)) if has_page else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_PRINTING = frozenset(["version", "estimate"])
"""Parameters with which `run` prints something and runs nothing."""

_RUN, _DEDUPLICATE = make_signature(int), make_signature(RunResult, without=_PRINTING)


def _show_parameters(function: Callable[..., Any], signature: inspect.Signature) -> None:
    """Have `help` and editors show the parameters of a run."""
    function.__signature__ = signature  # type: ignore[attr-defined]  # mypy does not know it of a function
    head, returns, rest = (function.__doc__ or "").partition("    Returns:")
    function.__doc__ = f"{head}{describe_parameters(signature)}\n\n{returns}{rest}"


_show_parameters(run, _RUN)
_show_parameters(deduplicate, _DEDUPLICATE)
