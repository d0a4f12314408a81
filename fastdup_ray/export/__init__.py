"""Results of a finished run for other tools: one writer per format."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from fastdup_ray.common import layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.finished_run import FinishedRun, read_finished_run
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.curation.provenance import check_provenance
from fastdup_ray.curation.suggest import suggest_plan
from fastdup_ray.errors import ConfigError, WorkDirError
from fastdup_ray.export.box_csv import write_box_csv
from fastdup_ray.export.coco import write_coco
from fastdup_ray.export.dropped_images import DroppedImages
from fastdup_ray.export.export_source import ExportSource
from fastdup_ray.export.fiftyone import write_fiftyone
from fastdup_ray.export.lists import write_drop_list, write_keep_list
from fastdup_ray.export.result_file import ResultFile
from fastdup_ray.export.yolo import write_yolo
from fastdup_ray.result import RunResult
from fastdup_ray.storage import Store, open_store

Location = str | os.PathLike[str]


class Format(NamedTuple):
    """A format that results can be exported to.

    Attributes:
        write: Writes to an open file, and returns the number of items.
        file: Name of the file in the work_dir.
        words: What the items are.
    """

    write: Callable[[BinaryIO, ExportSource], int]
    file: str
    words: str


FORMATS = {
    "fiftyone": Format(write_fiftyone, "fiftyone.json", "samples"),
    "drop-list": Format(write_drop_list, "drop.txt", "files to drop"),
    "keep-list": Format(write_keep_list, "keep.txt", "images to keep"),
    "coco": Format(write_coco, "coco.json", "images"),
    "yolo": Format(write_yolo, "yolo.zip", "photos"),
    "csv": Format(write_box_csv, "kept.csv", "images to keep"),
}


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        path: Path or URI of the file; `-` for standard output.
        count: Number of items in it.
        words: What the items are.
        by: Path of the plan that says what is dropped, or where it comes from.
        is_stdout: Whether it was written to standard output.
    """

    path: str
    count: int
    words: str
    by: str
    is_stdout: bool = False

    def text(self) -> str:
        """Return what the command prints."""
        target = "to standard output" if self.is_stdout else self.path
        return f"Wrote {target}: {self.count:,} {self.words} (plan: {self.by})."


@accept_paths("work_dir", "save_path", "plan", "annotations")
def export(
    work_dir: Location,
    format: str,
    save_path: Location | None = None,
    plan: Location | None = None,
    *,
    annotations: Location | None = None,
    null: bool = False,
    overwrite: bool = False,
    any_plan: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> ExportResult:
    """Export the results of a finished run for other tools.

    Args:
        work_dir: The folder or URI of the run.
        format: One of `FORMATS`.
        save_path: The file to write, or `-` for standard output; default: a file in `work_dir`, which is replaced if it
            exists.
        plan: The plan that says what is dropped; default: plan.csv of `work_dir`, or else what `make_plan` suggests.
        annotations: The annotation file that is written without what is dropped, as COCO or YOLO; default: the one of
            the run. Names in it are relative to the input of the run.
        null: End each name of a list with NUL instead of a newline.
        overwrite: Replace `save_path` if it exists.
        any_plan: Accept a plan of another run, or of none.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Raises:
        ConfigError: If a parameter is invalid.
        InputError: If there is no finished run, or the plan belongs to another one.
        WorkDirError: If `save_path` exists or cannot be written.
    """
    if format not in FORMATS:
        raise ConfigError(f"Invalid value for format: {format!r} (must be one of {', '.join(FORMATS)}).")
    writer = FORMATS[format]
    if null and not format.endswith("-list"):
        raise ConfigError(f"Invalid value for null: True (format={format} has no list of names to end with NUL).")
    if annotations is not None and format not in ("coco", "yolo"):
        raise ConfigError(f"Invalid value for annotations: {annotations!r} (format={format} takes none).")
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    store = open_store(os.path.expanduser(work_dir), access)
    output = ResultFile(store, writer.file, save_path, overwrite=overwrite)
    run, result = read_finished_run(store), RunResult.open(store.location, access=access)
    dropped, by = _read_plan(store, run, plan, any_plan=any_plan)
    path = None if annotations is None else os.fspath(annotations)
    source = ExportSource(run, result, dropped, b"\0" if null else b"\n", path)
    _refuse_same_file(output, path or run.config.get("annotations"))
    with output.open() as file:
        count = writer.write(file, source)
    return ExportResult(output.path, count, writer.words, by, output.is_stdout)


def _refuse_same_file(output: ResultFile, annotations: str | None) -> None:
    if annotations and _resolve(annotations) == _resolve(output.path):
        raise WorkDirError(f"{output.path!r} is the annotation file itself, which is not replaced: name another file.")


def _resolve(location: str) -> str:
    return location if is_remote(location) else os.path.realpath(location)


def _read_plan(source: Store, run: FinishedRun, plan: Location | None, *, any_plan: bool) -> tuple[DroppedImages, str]:
    if plan is None and not source.exists(layout.PLAN_CSV):
        return DroppedImages.of_suggestion(suggest_plan(run), source.scratch), "suggestions of fastdup-ray plan"
    path = os.path.join(source.location, layout.PLAN_CSV) if plan is None else os.fspath(plan)
    rows = read_plan(path, source.access)
    if not any_plan:
        check_provenance(rows, path, source)
    return DroppedImages.of_plan(rows, run.names, source.scratch), path
