"""The command `plan`: read a finished run, and write a plan."""

import os
import shlex
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import zip_longest

from fastdup_ray.analysis.keeper_assignment import DIRECT, Grouping
from fastdup_ray.analysis.keepers import DEFAULT_RULES
from fastdup_ray.common import layout
from fastdup_ray.common.access import Access, make_access
from fastdup_ray.common.formatting import format_bytes, format_count
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.duplicate_rules import DEFAULT_DROP
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.curation.plan import Plan
from fastdup_ray.curation.plan_file import dump_rows, is_json, read_plan
from fastdup_ray.curation.plan_summary import ANY_SIDECARS, PlanSummary
from fastdup_ray.curation.suggest import count_not_compared, suggest_plan
from fastdup_ray.errors import InputError, WorkDirError
from fastdup_ray.outputs.duplicate_counts import DuplicateCounts
from fastdup_ray.storage import open_store
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.named_output import NamedOutput

Location = str | os.PathLike[str]


@accept_paths("work_dir", "save_path")
def make_plan(
    work_dir: Location,
    save_path: Location | None = None,
    keep: str = DEFAULT_RULES,
    grouping: Grouping = DIRECT,
    threshold: float | None = None,
    *,
    drop: str = DEFAULT_DROP,
    any_sidecars: bool = False,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> PlanSummary:
    """Write a plan that suggests which images of a finished run to drop.

    Args:
        work_dir: The work_dir of the run.
        save_path: A file, JSON if its name ends in .json, else CSV; `-` for standard output; default: plan.csv in
            `work_dir`.
        keep: Rules that choose the keeper of a group, the most important first, with commas in between.
        grouping: `direct`: each dropped image duplicates its keeper itself; `components`: over any number of steps.
        threshold: Drop only images with a cosine above it to their keeper; 1: only those with the same bytes; default:
            none after a run with verified pairs, else 0.995, and 1 for another model or a bounding box.
        drop: Near duplicates to drop, by their verified relation to the keeper, with commas in between: same, cropped,
            padded, embedded, turned, mirrored. A run without verified pairs takes only `same`.
        any_sidecars: Drop images even if they have sidecars, such as annotations, that their keepers lack, or have with
            other content.
        overwrite: Replace an existing file, such as a plan that was edited. A file with the same plan is left as it is.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        The plan, and where it is.

    Raises:
        WorkDirError: If the file exists, or cannot be written.
        InputError: If there is no finished run.
        ConfigError: If a parameter is wrong.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    source = open_store(os.path.expanduser(work_dir), access)
    output = NamedOutput(
        os.path.join(source.location, layout.PLAN_CSV) if save_path is None else save_path, access, overwrite=overwrite
    )
    run = read_finished_run(source)
    plan = suggest_plan(run, keep, grouping, threshold, drop, any_sidecars=any_sidecars)
    if save_path is None:
        source.prepare()
    with source.lock(layout.LOCK) if save_path is None else nullcontext():
        earlier = _read_earlier(output, access)
        is_new = earlier is None or any(row != other for row, other in zip_longest(earlier, plan.rows()))
        if earlier is not None and is_new and not overwrite:
            raise _make_exists_error(output.path, earlier)
        if is_new:
            with output.open() as file:
                dump_rows(file, plan.rows(), as_json=is_json(output.path))
    return PlanSummary(
        output.path,
        plan,
        source.location,
        DuplicateCounts.of(read_summary(source)["counts"]),
        tuple(_list_options(keep, grouping, threshold, drop, any_sidecars=any_sidecars)),
        output.is_stdout,
        count_not_compared(run, threshold),
    )


def _list_options(
    keep: str, grouping: Grouping, threshold: float | None, drop: str, *, any_sidecars: bool
) -> Iterator[str]:
    """Yield the parameters that are not at their defaults, as flags."""
    if keep != DEFAULT_RULES:
        yield f"--keep {shlex.quote(keep)}"
    if grouping != DIRECT:
        yield f"--grouping {grouping}"
    if threshold is not None:
        yield f"--threshold {threshold:g}"
    if drop != DEFAULT_DROP:
        yield f"--drop {shlex.quote(drop)}"
    if any_sidecars:
        yield ANY_SIDECARS


def _read_earlier(output: NamedOutput, access: Access) -> Plan | None:
    """Return the plan that a file has already; None if it has none."""
    try:
        return read_plan(output.path, access) if output.is_file() else None
    except InputError:
        return None


def _make_exists_error(path: str, earlier: Plan) -> WorkDirError:
    images = format_count(int(earlier.is_dropped.sum()), "image")
    size = format_bytes(sum(row.size or 0 for row in earlier if row.is_dropped))
    return WorkDirError(
        f"{path!r} exists and drops {images} ({size}): it was edited, or made with other options or from another run. "
        "Name another file, or replace it with overwrite=True."
    )
