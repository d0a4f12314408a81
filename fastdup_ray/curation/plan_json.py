"""The plan as JSON: for programs, and for the page of `serve`. It says the same as the CSV."""

import io
import json
import os
from collections.abc import Iterable, Iterator
from typing import IO, Any, TextIO

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.names import escape_non_utf8, is_utf8
from fastdup_ray.common.scratch import Scratch
from fastdup_ray.curation.plan import Plan
from fastdup_ray.curation.plan_csv import REQUIRED, parse_cells
from fastdup_ray.curation.plan_row import PlanRow
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.json_stream import iter_members

_NAMES = ("filename", "keeper")

_HEX = "_hex"
"""Suffix of the member with the bytes, in hex, of a name that is not UTF-8."""

_FORMAT, _IMAGES = "format", "pictures"


def iter_json(rows: Iterable[PlanRow]) -> Iterator[str]:
    r"""Yield a plan as JSON, row by row: `{"format": …, "pictures": [{"filename": …, "action": …, …}, …]}`.

    There is a line for each member, as `json.dumps` writes it without indentation. The members are the columns of the
    CSV. In a name that is not UTF-8, invalid bytes are written as `\xNN`, as in all JSON files of a run; another member
    (`filename_hex`, `keeper_hex`) has the whole name in hex, to read it back.
    """
    begin, end = _to_lines({_FORMAT: layout.PLAN_JSON_FORMAT, _IMAGES: []}).split("[]")
    yield f"{begin}["
    separator = "\n"
    for row in rows:
        yield f"{separator}{_to_lines(_to_members(row))}"
        separator = ",\n"
    yield f"]{end}\n" if separator == "\n" else f"\n]{end}\n"


def _to_lines(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=0, ensure_ascii=False)


def read_json_plan(file: IO[bytes], source: str, scratch: Scratch) -> Plan:
    """Read a plan that `iter_json`, or the report, wrote, row by row.

    Args:
        file: JSON.
        source: What errors call it.
        scratch: Opens an empty file.

    Raises:
        InputError: If it is not a valid plan.
    """
    text = io.TextIOWrapper(file, encoding="utf-8")
    try:
        return Plan(_parse_rows(text, source), scratch)
    finally:
        text.detach()


def _parse_rows(file: TextIO, source: str) -> Iterator[PlanRow]:
    try:
        _expect_object(file, source)
        missing = {_FORMAT, _IMAGES}
        for member in iter_members(file):
            missing.discard(member.key)
            if member.key == _FORMAT and (member.elements or json.loads(member.text) != layout.PLAN_JSON_FORMAT):
                raise _make_format_error(source)
            if member.key == _IMAGES:
                if member.elements is None:
                    raise _make_list_error(source)
                for number, element in enumerate(member.elements):
                    yield _parse_row(element.value, number, source)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source!r} is not JSON: {error}.") from None
    if missing:
        raise _make_format_error(source) if _FORMAT in missing else _make_list_error(source)


def _expect_object(file: TextIO, source: str) -> None:
    """Raise `ValueError` for what is no JSON, and `InputError` for JSON of another kind than an object."""
    begin = file.read(1)
    while begin.isspace():
        begin = file.read(1)
    if begin != "{":
        json.loads(begin + file.read())
        raise _make_format_error(source)
    file.seek(0)


def _make_format_error(source: str) -> InputError:
    return InputError(f'{source!r} is not a plan: "{_FORMAT}" must be "{layout.PLAN_JSON_FORMAT}".')


def _make_list_error(source: str) -> InputError:
    return InputError(f'{source!r} is not a plan: "{_IMAGES}" must be a list of objects.')


def _parse_row(members: Any, number: int, source: str) -> PlanRow:
    if not isinstance(members, dict):
        raise _make_list_error(source)
    if missing := [name for name in REQUIRED if name not in members]:
        raise InputError(f'{source!r} is not a plan: item {number} of "{_IMAGES}" has no "{missing[0]}".')
    return parse_cells(_parse_name(members, "filename", source), _to_cells(members, source), source)


def _to_members(row: PlanRow) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name in csv_columns.PLAN_HEADER:
        value = getattr(row, name)
        members[name] = escape_non_utf8(value) if isinstance(value, str) else value
        if name in _NAMES and not is_utf8(value):
            members[name + _HEX] = os.fsencode(value).hex()
    return members


def _to_cells(members: dict[str, Any], source: str) -> dict[str, str]:
    """Convert the members of one image to the cells of a row of the CSV."""
    cells = {name: "" if members.get(name) is None else str(members[name]) for name in csv_columns.PLAN_HEADER}
    if isinstance(members["reference"], bool):
        cells["reference"] = str(int(members["reference"]))
    return cells | {name: _parse_name(members, name, source) for name in _NAMES}


def _parse_name(members: dict[str, Any], member: str, source: str) -> str:
    value, coded = members[member] or "", members.get(member + _HEX)
    try:
        return os.fsdecode(bytes.fromhex(coded) if coded else str.encode(value, "utf-8", "surrogateescape"))
    except (ValueError, TypeError):  # UnicodeEncodeError is a ValueError
        raise InputError(f"{source!r} has {coded or value!r}, which cannot be the name of a file.") from None
