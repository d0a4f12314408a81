"""Plain lists of files."""

import os
from collections.abc import Iterable
from typing import BinaryIO

from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.plan_file import PlanRow
from fastdup_ray.errors import InputError
from fastdup_ray.result import RunResult


def write_drop_list(file: BinaryIO, _run: FinishedRun, _: RunResult, plan: list[PlanRow], end: bytes) -> int:
    """Write the names of the files that the plan drops, in the order of the plan; return how many there are."""
    return write_names(file, (os.fsencode(row.filename) for row in plan if row.is_dropped), end)


def write_keep_list(file: BinaryIO, run: FinishedRun, _: RunResult, plan: list[PlanRow], end: bytes) -> int:
    """Write the names of all other images of the run, in its order, as a list for another run; return how many."""
    dropped = {os.fsencode(row.filename) for row in plan if row.is_dropped}
    return write_names(file, (name for name in run.names.to_pylist() if name not in dropped), end)


def write_names(file: BinaryIO, names: Iterable[bytes], end: bytes) -> int:
    """Write names without quotes: readers of lists take a name literally if it exists."""
    count = 0
    for name in names:
        if end == b"\n" and (b"\n" in name or name.endswith(b"\r")):
            raise InputError(f"{os.fsdecode(name)!r} has a line break in its name: use null=True.")
        file.write(name + end)
        count += 1
    return count
