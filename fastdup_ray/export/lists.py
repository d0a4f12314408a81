"""Plain lists of files."""

import os
from collections.abc import Iterable
from typing import BinaryIO

from fastdup_ray.actions.finished import FinishedRun
from fastdup_ray.actions.plan import PlanRow
from fastdup_ray.errors import InputError
from fastdup_ray.result import RunResult


def write_drop_list(file: BinaryIO, run: FinishedRun, _: RunResult, plan: list[PlanRow], null: bool) -> int:
    """Write what the plan drops, in its order."""
    return _write(file, (os.fsencode(row.filename) for row in plan if row.dropped), null)


def write_keep_list(file: BinaryIO, run: FinishedRun, _: RunResult, plan: list[PlanRow], null: bool) -> int:
    """Write all other good images of the run, in their order: an input for another run."""
    dropped = {os.fsencode(row.filename) for row in plan if row.dropped}
    return _write(file, (name for name in run.names.to_pylist() if name not in dropped), null)


def _write(file: BinaryIO, names: Iterable[bytes], null: bool) -> int:
    end, count = b"\0" if null else b"\n", 0
    for name in names:
        if b"\n" in name and not null:
            raise InputError(f"{os.fsdecode(name)!r} has a newline in its name: give --null (for xargs -0).")
        file.write(name + end)
        count += 1
    return count
