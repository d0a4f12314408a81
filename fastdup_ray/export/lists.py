"""Plain lists of files."""

import os
from collections.abc import Iterable
from typing import BinaryIO

from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.plan_file import PlanRow
from fastdup_ray.errors import InputError
from fastdup_ray.result import RunResult


def write_drop_list(file: BinaryIO, run: FinishedRun, _: RunResult, plan: list[PlanRow], null: bool) -> int:
    """Write what the plan drops, in its order."""
    return _write(file, (os.fsencode(row.filename) for row in plan if row.is_dropped), null)


def write_keep_list(file: BinaryIO, run: FinishedRun, _: RunResult, plan: list[PlanRow], null: bool) -> int:
    """Write all other good images of the run, in their order: an input for another run."""
    dropped = {os.fsencode(row.filename) for row in plan if row.is_dropped}
    return _write(file, (name for name in run.names.to_pylist() if name not in dropped), null)


def _write(file: BinaryIO, names: Iterable[bytes], null: bool) -> int:
    """Names to the letter: who reads the list finds out what they mean by what exists."""
    end, count = b"\0" if null else b"\n", 0
    for name in names:
        if not null and (b"\n" in name or name.endswith(b"\r")):
            raise InputError(f"{os.fsdecode(name)!r} has a line break in its name: give --null (in Python null=True).")
        file.write(name + end)
        count += 1
    return count
