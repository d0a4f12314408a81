"""The functions of the specification."""

import inspect
import os
import sys
from typing import Any

from fastdup_ray.common import layout
from fastdup_ray.common.events import log_event, log_to_console, print_lines
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import FastdupError
from fastdup_ray.inputs import describe_skipped
from fastdup_ray.outputs.bad_list import describe_few_bad
from fastdup_ray.result import RunResult
from fastdup_ray.runs.estimate import Estimate, estimate_run
from fastdup_ray.runs.pipeline import deduplicate
from fastdup_ray.storage import open_store
from fastdup_ray.version import __version__


def run(input_dir: Any = None, work_dir: Any = "fastdup_out", **parameters: Any) -> int:
    """Finds the duplicates among pictures; returns 0, or 1 after printing why it could not.

    Takes the parameters of `RunConfig` as keywords. `deduplicate(RunConfig.of(...))` raises errors instead, and
    returns the results.
    """
    try:
        run_and_print(RunConfig.of(input_dir=input_dir, work_dir=work_dir, **parameters))
    except FastdupError as error:
        print_lines(f"fastdup_ray: {error}", sys.stderr)
        return 1
    return 0


def run_and_print(config: RunConfig) -> RunResult | None:
    """The run, and in a few lines what came out of it."""
    if config.version:
        print_lines(__version__)
        return None
    with log_to_console(config.log_format, verbose=config.verbose):
        if config.estimate:
            _print_estimate(estimate_run(config), config)
            return None
        return _deduplicate_and_print(config)


def _deduplicate_and_print(config: RunConfig) -> RunResult:
    try:
        result = deduplicate(config)
    except FastdupError as error:
        if config.log_format == "json":
            log_event("failed", error=str(error), exit_code=error.exit_code)
        raise
    if config.log_format == "json":
        names = [name for name in ("counts", "changes", "read", "skipped") if name in result.summary]
        facts: dict[str, Any] = {name: result.summary[name] for name in names}
        log_event("done", work_dir=result.work_dir, **facts)
    else:
        _print_result(result, config)
    return result


def _print_estimate(found: Estimate, config: RunConfig) -> None:
    if config.log_format == "json":
        log_event("estimate", **found.as_dict())
    else:
        print_lines(found.text())


def _print_result(result: RunResult, config: RunConfig) -> None:
    counts, where = result.counts, result.work_dir
    print_lines(
        f"{counts['images']:,} good and {counts['bad']:,} bad images ({result.summary['read']:,} read in this run)."
    )
    if (config.min_offset, config.max_offset) == (None, None) or config.run_mode != 1:  # ranges have lists of their own
        for reason in describe_few_bad(open_store(where), result.files, counts["bad"]):
            print_lines(f"  {reason}")
    if skipped := describe_skipped(result.summary.get("skipped", {})):
        print_lines(f"{skipped}.")
    if config.run_mode == 1:
        print_lines(f"Features are in {where}")
        return
    neighbors = result.summary["neighbors"]
    pairs, copies = "similar pairs", "exact copies"
    recall = f"recall {neighbors['recall']:g}"
    if "recall_of_look_alikes" in neighbors:
        recall += f" ({neighbors['recall_of_look_alikes']:g} of look-alikes)"
    if "indexed" in counts:
        pairs, copies = f"similar pairs with {counts['indexed']:,} indexed images", "exact copies of them"
    print_lines(
        f"{counts['distinct_pairs']:,} {pairs} above {config.threshold:g}, "
        f"{counts['exact_copies']:,} {copies} ({counts['same_bytes']:,} byte for byte, "
        f"{counts['same_pixels']:,} pixel for pixel), {counts['outliers']:,} outliers; "
        f"index {neighbors['index']}, {recall}."
    )
    if "components" in counts:
        print_lines(
            f"{counts['components']:,} groups of two or more images above {config.ccthreshold:g}, "
            f"{counts['near_copies']:,} near copies beside the exact ones."
        )
    if invariant := result.summary.get("invariant"):
        print_lines(f"{invariant['distinct_pairs']:,} more pairs where one of both is mirrored or turned.")
    if changes := result.summary.get("changes"):
        print_lines(
            f"Since the last run: {changes['images_added']:,} images came, {changes['images_changed']:,} changed, "
            f"{changes['images_removed']:,} went; {changes['new_pairs']:,} new pairs, {changes['groups_new']:,} new "
            f"groups, {changes['groups_grew']:,} grew, {changes['groups_gone']:,} went."
        )
    if "labelled" in counts:
        print_lines(
            f"{counts['labelled']:,} of the images have a label, {counts['label_conflicts']:,} pairs two different."
        )
    print_lines(f"Look at {os.path.join(where, result.files.name(layout.REPORT)) if config.report else where}")


_parameters = [
    inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=field.default, annotation=field.annotation)
    for name, field in RunConfig.model_fields.items()
]
run.__signature__ = inspect.Signature(_parameters, return_annotation=int)  # type: ignore[attr-defined]
run.__doc__ = f"{run.__doc__}\n    Parameters:\n" + "\n".join(
    f"        {name}: {field.description} Default: {field.default!r}." for name, field in RunConfig.model_fields.items()
)
