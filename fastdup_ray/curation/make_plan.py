"""The command `plan`: read a finished run, write a plan, and say what it would do."""

import os
import shlex
from contextlib import nullcontext
from dataclasses import dataclass

from fastdup_ray.analysis.keepers import DEFAULT_RULES
from fastdup_ray.common import layout
from fastdup_ray.common.formatting import format_bytes, format_count
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.curation.groups import DIRECT, Grouping
from fastdup_ray.curation.plan_file import PlanRow, dump_plan, is_json, read_plan
from fastdup_ray.curation.suggest import count_not_compared, suggest
from fastdup_ray.errors import InputError
from fastdup_ray.s3 import Access, make_access
from fastdup_ray.storage import open_store
from fastdup_ray.storage.named_output import NamedOutput

_NOT_COMPARED = (
    "kept although similar to others, because the embedding does not show all of the file: almost blank, or with more "
    "pages, channels or detail (see unseen in images.parquet)."
)

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class PlanSummary:
    """A plan that was written.

    Attributes:
        path: Path or URI of its file; `-` for standard output.
        rows: Its rows.
        is_stdout: Whether it was written to standard output.
        not_compared: Number of images that are kept though they are similar to others; see `count_not_compared`.
        work_dir: The work_dir of the run if the plan is not in it; else "".
    """

    path: str
    rows: list[PlanRow]
    is_stdout: bool = False
    not_compared: int = 0
    work_dir: str = ""

    def text(self) -> str:
        """Return what the command prints: the counts, where the plan is, and what to do next."""
        lines = [self._describe_groups() if self.rows else "Nothing to drop."]
        if self.not_compared:
            lines.append(f"{format_count(self.not_compared, 'image')} {_NOT_COMPARED}")
        lines.append("The plan was written to standard output." if self.is_stdout else f"Plan: {self.path}")
        if self.rows:
            lines.append(self._describe_next_step())
        return "\n".join(lines)

    def _describe_groups(self) -> str:
        dropped = [row for row in self.rows if row.is_dropped]
        exact = sum(row.reason.startswith("same bytes") for row in dropped)
        size = format_bytes(sum(row.size or 0 for row in dropped))
        groups = format_count(len({row.group for row in self.rows}), "group")
        return (
            f"{groups} of {format_count(len(self.rows), 'image')}: {len(self.rows) - len(dropped):,} to keep, "
            f"{len(dropped):,} to drop ({size}; {exact:,} with the same bytes, {len(dropped) - exact:,} near "
            "duplicates). All other images are kept."
        )

    def _describe_next_step(self) -> str:
        run = f" --work-dir {shlex.quote(self.work_dir)}" if self.work_dir else ""
        if self.is_stdout:
            return f"Nothing was moved. Save the plan to a file, then preview with: fastdup-ray apply FILE{run}"
        apply = f"fastdup-ray apply {shlex.quote(self.path)}{run}"
        return f"Nothing was moved. Review or edit the plan, then preview with: {apply}"


@accept_paths("work_dir", "save_path")
def make_plan(
    work_dir: Location,
    save_path: Location | None = None,
    keep: str = DEFAULT_RULES,
    grouping: Grouping = DIRECT,
    threshold: float | None = None,
    *,
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
        threshold: Images with a cosine above it are duplicates; 1: only those with the same bytes; default: 0.995, and
            1 for a run with another model or a bounding box.
        overwrite: Replace an existing file, such as a plan that was edited. A file with the same plan is left as it is.
        s3_anonymous: Send unsigned requests to S3.
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
    rows = suggest(run, keep, grouping, threshold)
    if save_path is None:
        source.prepare()
    with source.lock(layout.LOCK) if save_path is None else nullcontext():
        if not _has_plan(output, rows, access):
            with output.open() as file:
                dump_plan(file, rows, as_json=is_json(output.path))
    is_elsewhere = os.path.dirname(output.path) != source.location
    return PlanSummary(
        output.path,
        rows,
        output.is_stdout,
        count_not_compared(run, threshold),
        work_dir=source.location if is_elsewhere else "",
    )


def _has_plan(output: NamedOutput, rows: list[PlanRow], access: Access) -> bool:
    """Return whether a file has this plan already."""
    try:
        return output.is_file() and read_plan(output.path, access) == rows
    except InputError:
        return False
