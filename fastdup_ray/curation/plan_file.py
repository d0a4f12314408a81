"""The plan file: which images to keep and to drop, why, and what each file is compared with before it is moved."""

import os
from collections.abc import Iterable, Iterator
from typing import IO

from fastdup_ray.common import csv_columns
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.curation.plan import Plan, split_rows
from fastdup_ray.curation.plan_csv import make_columns, read_csv_plan
from fastdup_ray.curation.plan_json import iter_json, read_json_plan
from fastdup_ray.curation.plan_row import PlanRow, check_name
from fastdup_ray.errors import InputError
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.csv_files import make_csv_writer


def read_plan(location: str | os.PathLike[str], access: Access = DEFAULT_ACCESS) -> Plan:
    """Read a plan.

    Args:
        location: A CSV or JSON file, a path or a URI.
        access: How buckets are accessed.

    Raises:
        InputError: If there is no such file, or it is not a valid plan.
    """
    source = os.path.expanduser(location)
    folder, name = os.path.split(source)
    store = open_store(folder or os.curdir, access)
    try:
        path = store.fetch(name)
        if is_json(name):
            with open(path, "rb") as file:
                return read_json_plan(file, source, store.scratch)
        return read_csv_plan(os.fspath(path), source, store.scratch)
    except FileNotFoundError:
        raise InputError(f"Cannot read the plan {source!r}: No such file or directory.") from None
    except OSError as error:
        raise InputError(f"Cannot read the plan {source!r}: {error.strerror}.") from None


def is_json(name: str) -> bool:
    """Return whether a plan of this name is JSON rather than CSV."""
    return name.endswith(".json")


def write_plan(store: Store, name: str, rows: Iterable[PlanRow]) -> None:
    """Write a whole plan, as JSON if `name` ends in .json, else as CSV.

    Raises:
        InputError: If the plan contradicts itself; then nothing is written.
    """
    plan = Plan(rows, store.scratch)
    with store.create(name) as path, open(path, "wb") as file:
        dump_rows(file, plan, as_json=is_json(name))


def dump_rows(file: IO[bytes], rows: Iterable[PlanRow], *, as_json: bool) -> None:
    """Write the rows of a plan that does not contradict itself to an open file, some at a time.

    Raises:
        InputError: If a name is not absolute.
    """
    if as_json:
        file.writelines(part.encode() for part in iter_json(_check_names(rows)))
        return
    write = make_csv_writer(file, csv_columns.PLAN_HEADER)
    for part in split_rows(_check_names(rows)):
        write(make_columns(part))


def _check_names(rows: Iterable[PlanRow]) -> Iterator[PlanRow]:
    for row in rows:
        check_name(row)
        yield row
