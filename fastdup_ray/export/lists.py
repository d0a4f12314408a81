"""Plain lists of files."""

import os
from collections.abc import Iterable
from typing import BinaryIO

from fastdup_ray.errors import InputError
from fastdup_ray.export.export_source import ExportSource


def write_drop_list(file: BinaryIO, source: ExportSource) -> int:
    """Write the names of the files that the plan drops, in the order of the plan; return how many there are."""
    return write_names(file, source.dropped.iter_names(), source.end)


def write_keep_list(file: BinaryIO, source: ExportSource) -> int:
    """Write the names of all other images of the run, in its order, as a list for another run; return how many."""
    return write_names(file, source.iter_kept(), source.end)


def write_names(file: BinaryIO, names: Iterable[bytes], end: bytes) -> int:
    """Write names without quotes: readers of lists take a name literally if it exists."""
    count = 0
    for name in names:
        if end == b"\n" and (b"\n" in name or name.endswith(b"\r")):
            raise InputError(f"{os.fsdecode(name)!r} has a line break in its name: use null=True.")
        file.write(name + end)
        count += 1
    return count
