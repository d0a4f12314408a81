"""What a finished run found, for other programs: one writer a format."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from fastdup_ray.common import layout
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.finished_run import FinishedRun, read_finished_run
from fastdup_ray.curation.plan_file import PlanRow, read_plan
from fastdup_ray.curation.provenance import check_provenance
from fastdup_ray.curation.suggest import suggest
from fastdup_ray.errors import ConfigError
from fastdup_ray.export.fiftyone import write_fiftyone
from fastdup_ray.export.lists import write_drop_list, write_keep_list
from fastdup_ray.result import RunResult
from fastdup_ray.s3 import make_access
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.named_output import NamedOutput

Location = str | os.PathLike[str]


class Format(NamedTuple):
    """A writer takes the open file, the run, its result, the plan, and whether names end with a NUL; it returns
    how many there are. file: the name in the work_dir. words: what there are that many of.
    """

    write: Callable[[BinaryIO, FinishedRun, RunResult, list[PlanRow], bool], int]
    file: str
    words: str


FORMATS = {
    "fiftyone": Format(write_fiftyone, "fiftyone.json", "samples"),
    "drop-list": Format(write_drop_list, "drop.txt", "files to drop"),
    "keep-list": Format(write_keep_list, "keep.txt", "images to keep"),
}


@dataclass(frozen=True)
class ExportResult:
    """path: of the file, or its URI; `-` for standard output. count: of what it holds. by: the plan that it follows."""

    path: str
    count: int
    words: str
    by: str
    is_stdout: bool = False

    def text(self) -> str:
        """What the command prints."""
        place = "were written to standard output" if self.is_stdout else f"are in {self.path}"
        return f"{self.count:,} {self.words}, by {self.by}, {place}"


@accept_paths("work_dir", "save_path", "plan")
def export(
    work_dir: Location,
    format: str,
    save_path: Location | None = None,
    plan: Location | None = None,
    null: bool = False,
    overwrite: bool = False,
    any_plan: bool = False,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> ExportResult:
    """Write what the finished run in `work_dir` found for other programs.

    Args:
        format: one of `FORMATS`.
        save_path: a file, or `-` for standard output; default: a file in `work_dir`, replaced if it is there.
        plan: says what is dropped; not given: plan.csv of `work_dir`, and where there is none, what the command `plan`
            would suggest.
        null: names in lists end with a NUL, not a newline.
        overwrite: replace a file `save_path` that is there.
        any_plan: take a plan of another run, or of none.
        s3_anonymous: send unsigned requests to S3.
        s3_requester_pays: pay for reads from requester-pays buckets.

    Raises:
        WorkDirError: where `save_path` exists, or cannot be written.
        ConfigError, InputError: where a parameter is wrong, there is no finished run, or the plan is of another one.
    """
    if format not in FORMATS:
        raise ConfigError(f"format={format!r} is not possible: it should be {', '.join(FORMATS)}.")
    chosen = FORMATS[format]
    if null and not format.endswith("-list"):
        raise ConfigError(f"null is for lists of files: leave it out with format={format}.")
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    source = open_store(os.path.expanduser(work_dir), access)
    if save_path is None:
        output = NamedOutput(os.path.join(source.location, chosen.file), access, overwrite=True)
    else:
        output = NamedOutput(save_path, access, overwrite=overwrite)
        output.check()
    run, result = read_finished_run(source), RunResult.open(source.location, access=access)
    rows, by = _read_plan(source, run, plan, any_plan=any_plan)
    if save_path is None:
        source.prepare()
    with source.lock(layout.LOCK) if save_path is None else nullcontext(), output.open() as file:
        count = chosen.write(file, run, result, rows, null)
    return ExportResult(output.path, count, chosen.words, by, output.is_stdout)


def _read_plan(source: Store, run: FinishedRun, plan: Location | None, *, any_plan: bool) -> tuple[list[PlanRow], str]:
    if plan is None and not source.exists(layout.PLAN_CSV):
        return suggest(run), "what the command plan suggests"
    path = os.path.join(source.location, layout.PLAN_CSV) if plan is None else os.fspath(plan)
    rows = read_plan(path, source.access)
    if not any_plan:
        check_provenance(rows, path, source)
    return rows, path
