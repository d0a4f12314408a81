"""The plan as a CSV file, one row for each image: for people to read and edit."""

import re
from collections.abc import Sequence
from itertools import islice

import pyarrow as pa

from fastdup_ray.common import csv_columns
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.curation.plan import Plan, RepeatedNameError
from fastdup_ray.curation.plan_row import DROP, KEEP, Action, PlanRow
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.labels import describe_repeated, iter_named_rows
from fastdup_ray.storage.tables import encode_names

KEPT_BY_HAND = "kept by hand"
"""Reason of an image that a person decided to keep."""

_RUN = "run"

REQUIRED = tuple(name for name in csv_columns.PLAN_HEADER if name != _RUN)
"""Columns that each plan has. Those of earlier versions do not say which run they were made from."""


def make_columns(rows: Sequence[PlanRow]) -> list[pa.Array]:
    """Return rows as the columns of `csv_columns.PLAN_HEADER`."""
    return [
        encode_names(row.filename for row in rows),
        pa.array([row.action for row in rows], pa.string()),
        pa.array([row.group for row in rows], pa.int64()),
        encode_names(row.keeper for row in rows),
        pa.array([row.similarity for row in rows], pa.float64()),
        pa.array([escape_non_utf8(row.rule) for row in rows], pa.string()),
        pa.array([escape_non_utf8(row.reason) for row in rows], pa.string()),
        pa.array([row.size for row in rows], pa.int64()),
        pa.array([row.sha256 for row in rows], pa.string()),
        pa.array([row.etag for row in rows], pa.string()),
        pa.array([int(row.reference) for row in rows], pa.int64()),
        pa.array([row.run for row in rows], pa.string()),
    ]


def read_csv_plan(path: str, source: str, scratch: Scratch) -> Plan:
    """Read a plan, which a person or a spreadsheet may have edited.

    Args:
        path: A local file.
        source: What errors call it.
        scratch: Opens an empty file.

    Raises:
        InputError: If it is not a valid plan.
    """
    rows = iter_named_rows(path, "the plan", "filename", REQUIRED)
    try:
        return Plan((parse_cells(row.name, row.cells, source) for row in rows), scratch)
    except RepeatedNameError as error:
        again = iter_named_rows(path, "the plan", "filename", REQUIRED)
        raise describe_repeated(path, next(islice(again, error.row, None))) from None


def parse_cells(name: str, cells: dict[str, str], source: str) -> PlanRow:
    """Return what a plan says about an image; raise `InputError` if a cell is not valid.

    Args:
        name: Of the image.
        cells: The texts of all columns.
        source: What errors call the plan.
    """

    def check(column: str, pattern: str, allowed: str) -> str:
        text = cells[column].strip().lower()
        if re.fullmatch(pattern, text) is None:
            raise InputError(
                f"Invalid value for {column} of {name!r} in {source!r}: {cells[column]!r} (must be {allowed})."
            )
        return text

    action: Action = KEEP if check("action", f"{KEEP}|{DROP}", f"{KEEP} or {DROP}") == KEEP else DROP
    if action == KEEP and cells["keeper"]:  # a dropped image that somebody has decided to keep
        cells = {**cells, "keeper": "", "similarity": "", "rule": csv_columns.BY_HAND, "reason": KEPT_BY_HAND}
    size = check("size", r"\d{0,18}", "a number of bytes")
    similarity = check("similarity", r"|-?\d(?:[.,]\d*)?(?:e-\d+)?", "a cosine").replace(",", ".")
    return PlanRow(
        filename=name,
        action=action,
        group=int(check("group", r"\d{0,18}", "a whole number") or 0),
        keeper=cells["keeper"],
        similarity=float(similarity) if similarity else None,
        rule=cells["rule"],
        reason=cells["reason"],
        size=int(size) if size else None,
        sha256=check("sha256", r"|[0-9a-f]{64}", "64 hex digits"),
        etag=cells["etag"].strip(),
        reference=check("reference", r"|0|1", "0 or 1") == "1",
        run=cells.get(_RUN, "").strip().lower(),
    )
