"""The command `plan`: reads a finished run, writes a plan, tells what it would do."""

import os
import shlex
from contextlib import nullcontext
from dataclasses import dataclass

from fastdup_ray import layout
from fastdup_ray.actions.finished import read_finished
from fastdup_ray.actions.groups import DIRECT, Grouping
from fastdup_ray.actions.keepers import DEFAULT_RULES
from fastdup_ray.actions.plan import PlanRow, read_plan, write_plan
from fastdup_ray.actions.suggestion import suggest
from fastdup_ray.errors import InputError, WorkDirError
from fastdup_ray.paths import takes_paths
from fastdup_ray.report.rendering import in_bytes
from fastdup_ray.storage import Store, open_store

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class Plan:
    """A plan that was written. path: of its file, or its URI."""

    path: str
    rows: list[PlanRow]

    def text(self) -> str:
        """What the command prints."""
        if not self.rows:
            return f"No picture has a copy that could go. The plan, with no row, is in {self.path}"
        dropped = [row for row in self.rows if row.dropped]
        exact = sum(row.reason.startswith("same bytes") for row in dropped)
        size = in_bytes(sum(row.size or 0 for row in dropped))
        groups = len({row.group for row in self.rows})
        return (
            f"{groups:,} groups, {len(self.rows):,} pictures: {len(self.rows) - len(dropped):,} to keep, "
            f"{len(dropped):,} to drop ({exact:,} with the same bytes, {len(dropped) - exact:,} near copies), {size}.\n"
            f"Pictures without a copy are in no group, and kept. The plan is in {self.path}\n"
            "Look at it, and change keep and drop as you see fit; nothing was moved. What it would do: "
            f"fastdup-ray apply {shlex.quote(self.path)}"
        )


@takes_paths("work_dir", "save_path")
def make_plan(
    work_dir: Location,
    save_path: Location | None = None,
    keep: str = DEFAULT_RULES,
    grouping: Grouping = DIRECT,
    threshold: float | None = None,
    overwrite: bool = False,
) -> Plan:
    """Writes the suggestion for the finished run in `work_dir`; see `suggestion.suggest`.

    save_path: a file, JSON where its name ends so; default: plan.csv in `work_dir`. A plan that is there already, which
    somebody may have edited, is replaced with `overwrite` only. Raises `InputError`, `ConfigError`, `WorkDirError`.
    """
    source = open_store(os.path.expanduser(work_dir))
    rows = suggest(read_finished(source), keep, grouping, threshold)
    target, name = _place(source, save_path)
    target.prepare()
    with source.lock(layout.LOCK) if target is source else nullcontext():
        if not overwrite and target.exists(name) and not _is_same(target, name, rows):
            raise WorkDirError(
                f"{os.path.join(target.location, name)} is another plan, and may have been edited: "
                "--overwrite replaces it, --save-path writes to another file."
            )
        write_plan(target, name, rows)
    return Plan(os.path.join(target.location, name), rows)


def _place(source: Store, save_path: Location | None) -> tuple[Store, str]:
    if save_path is None:
        return source, layout.PLAN_CSV
    folder, name = os.path.split(os.path.expanduser(save_path))
    return open_store(folder or os.curdir), name


def _is_same(target: Store, name: str, rows: list[PlanRow]) -> bool:
    try:
        return read_plan(os.path.join(target.location, name)) == rows
    except InputError:
        return False
