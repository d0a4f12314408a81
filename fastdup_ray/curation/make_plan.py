"""The command `plan`: reads a finished run, writes a plan, tells what it would do."""

import os
import shlex
from contextlib import nullcontext
from dataclasses import dataclass

from fastdup_ray.analysis.keepers import DEFAULT_RULES
from fastdup_ray.common import layout
from fastdup_ray.common.formatting import format_bytes
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
    "images look like others and are kept: they are almost blank, or have pages, channels or marks that the model does "
    "not see (column unseen in images.parquet)."
)

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class PlanSummary:
    """A plan that was written.

    Attributes:
        path: Of its file, or its URI; `-` for standard output.
        rows: What it says.
        is_stdout: Whether it was written to standard output.
        not_compared: Images that are kept though they are similar to others; see `suggestion.count_not_compared`.
        work_dir: Of the run, where the plan is elsewhere; else "".
    """

    path: str
    rows: list[PlanRow]
    is_stdout: bool = False
    not_compared: int = 0
    work_dir: str = ""

    def text(self) -> str:
        """What the command prints."""
        place = "was written to standard output" if self.is_stdout else f"is in {self.path}"
        kept = f"{self.not_compared:,} {_NOT_COMPARED}\n" if self.not_compared else ""
        if not self.rows:
            return f"{kept}No image has a copy that could go. The plan, with no row, {place}"
        dropped = [row for row in self.rows if row.is_dropped]
        exact = sum(row.reason.startswith("same bytes") for row in dropped)
        size = format_bytes(sum(row.size or 0 for row in dropped))
        groups = len({row.group for row in self.rows})
        told = (
            f"{groups:,} groups, {len(self.rows):,} images: {len(self.rows) - len(dropped):,} to keep, "
            f"{len(dropped):,} to drop ({exact:,} with the same bytes, {len(dropped) - exact:,} near copies), {size}.\n"
            f"{kept}Images without a copy are in no group, and kept. The plan {place}\n"
        )
        run = f" --work-dir {shlex.quote(self.work_dir)}" if self.work_dir else ""
        if self.is_stdout:
            return f"{told}Save it to a file, and give that to fastdup-ray apply{run}; nothing was moved."
        return (
            f"{told}Look at it, and change keep and drop as you see fit; nothing was moved. What it would do: "
            f"fastdup-ray apply {shlex.quote(self.path)}{run}"
        )


@accept_paths("work_dir", "save_path")
def make_plan(
    work_dir: Location,
    save_path: Location | None = None,
    keep: str = DEFAULT_RULES,
    grouping: Grouping = DIRECT,
    threshold: float | None = None,
    overwrite: bool = False,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> PlanSummary:
    """Write the suggestion for the finished run in `work_dir`; see `suggestion.suggest`.

    Args:
        save_path: a file, or `-` for standard output; JSON where its name ends so; default: plan.csv in `work_dir`.
        overwrite: replace a file that is there, such as a plan that somebody edited. The same plan is left as it is.
        s3_anonymous: send unsigned requests to S3.
        s3_requester_pays: pay for reads from requester-pays buckets.

    Raises:
        WorkDirError: where something else is there, or the plan cannot be written.
        InputError, ConfigError: where there is no finished run, or a parameter is wrong.
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
        if not _has(output, rows, access):
            with output.open() as file:
                dump_plan(file, rows, as_json=is_json(output.path))
    is_elsewhere = os.path.dirname(output.path) != source.location
    elsewhere = source.location if is_elsewhere else ""
    return PlanSummary(output.path, rows, output.is_stdout, count_not_compared(run, threshold), elsewhere)


def _has(output: NamedOutput, rows: list[PlanRow], access: Access) -> bool:
    try:
        return output.is_file() and read_plan(output.path, access) == rows
    except InputError:
        return False
