"""The plan file: which images to keep and to drop, why, and what each file is compared with before it is moved.

The CSV, one row for each image, is for people to read and edit; the JSON, for programs. Both hold the same.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, Final, Literal, TypedDict

import pyarrow as pa

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.names import escape_non_utf8, is_utf8
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.labels import read_by_name
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.csv_files import make_csv_writer
from fastdup_ray.storage.tables import encode_names

Action = Literal["keep", "drop"]
KEEP: Final = "keep"
DROP: Final = "drop"

KEPT_BY_HAND = "kept by hand"
"""Reason of an image that a person decided to keep."""

ROWS_AT_ONCE = 1 << 14
"""Rows that are written at a time."""

_NAMES = ("filename", "keeper")
_RUN = "run"
_REQUIRED = tuple(name for name in csv_columns.PLAN_HEADER if name != _RUN)
"""Columns that each plan has. Those of earlier versions do not say which run they were made from."""

_HEX = "_hex"
"""Suffix of the JSON member with the bytes, in hex, of a name that is not UTF-8."""


class ImageFacts(TypedDict):
    """The fields of a `PlanRow` that come from the run rather than from the plan."""

    size: int | None
    sha256: str
    etag: str
    reference: bool
    run: str


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What a plan says about one image. The fields are the columns of the CSV and the members of the JSON.

    Attributes:
        filename: Absolute path or URI; bytes that are not UTF-8 are surrogates.
        action: `keep` or `drop`.
        group: Number of the group: the lowest `component_id` of its images.
        keeper: For a dropped image, the kept image that it duplicates; else "".
        similarity: For a dropped image, the cosine with its keeper; else None.
        rule: The rule that decided, as in `--keep`; `name`, `direct`, or `csv_columns.BY_HAND`.
        reason: The same in words.
        size: In bytes; None if the run did not read the file.
        sha256: Digest of the content, in hex, or "".
        etag: ETag of an object on S3, or "".
        reference: Whether the image is of a reference input, which is never moved.
        run: `SeenImages.digest` of the run that the row was made from; "" if the plan does not say.
    """

    filename: str
    action: Action
    group: int
    keeper: str
    similarity: float | None
    rule: str
    reason: str
    size: int | None
    sha256: str
    etag: str
    reference: bool
    run: str = ""

    @property
    def is_dropped(self) -> bool:
        return self.action == DROP


def write_plan(store: Store, name: str, rows: Sequence[PlanRow]) -> None:
    """Write a whole plan, as JSON if `name` ends in .json, else as CSV.

    Raises:
        InputError: If the plan contradicts itself.
    """
    with store.create(name) as path, open(path, "wb") as file:
        dump_plan(file, rows, as_json=is_json(name))


def is_json(name: str) -> bool:
    """Return whether a plan of this name is JSON rather than CSV."""
    return name.endswith(".json")


def dump_plan(file: BinaryIO, rows: Sequence[PlanRow], *, as_json: bool) -> None:
    """Write a plan to an open file.

    Raises:
        InputError: If the plan contradicts itself; then nothing is written.
    """
    check_plan(rows)
    dump_suggested_plan(file, rows, as_json=as_json)


def dump_suggested_plan(file: BinaryIO, rows: Iterable[PlanRow], *, as_json: bool) -> None:
    """Write a plan that cannot contradict itself to an open file, `ROWS_AT_ONCE` rows at a time.

    Raises:
        InputError: If a name is not absolute.
    """
    parts = _split_rows(rows)
    if as_json:
        file.writelines(part.encode() for part in _iter_json(parts))
        return
    write = make_csv_writer(file, csv_columns.PLAN_HEADER)
    for part in parts:
        write(_make_columns(part))


def _split_rows(rows: Iterable[PlanRow]) -> Iterator[list[PlanRow]]:
    rows = iter(rows)
    while part := list(islice(rows, ROWS_AT_ONCE)):
        for row in part:
            _check_name(row)
        yield part


def _make_columns(rows: Sequence[PlanRow]) -> list[pa.Array]:
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


def read_plan(location: str | os.PathLike[str], access: Access = DEFAULT_ACCESS) -> list[PlanRow]:
    """Return the rows of a plan.

    Args:
        location: A CSV or JSON file, a path or a URI.
        access: How buckets are accessed.

    Raises:
        InputError: If there is no such file, or it is not a valid plan.
    """
    source = os.path.expanduser(location)
    folder, name = os.path.split(source)
    try:
        path = open_store(folder or os.curdir, access).fetch(name)
        if not is_json(name):
            named = read_by_name(os.fspath(path), "the plan", "filename", _REQUIRED)
            rows = [_parse_cells(name, cells, source) for name, cells in named]
            check_plan(rows)
            return rows
        return plan_from_json(path.read_text(encoding="utf-8"), source)
    except FileNotFoundError:
        raise InputError(f"Cannot read the plan {source!r}: No such file or directory.") from None
    except OSError as error:
        raise InputError(f"Cannot read the plan {source!r}: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{source!r} is not JSON: {error}.") from None


def plan_to_json(rows: Iterable[PlanRow]) -> str:
    r"""Return a plan as JSON: `{"format": …, "pictures": [{"filename": …, "action": …, …}, …]}`.

    The members are the columns of the CSV. In a name that is not UTF-8, invalid bytes are written as `\xNN`, as in all
    JSON files of a run; one more member (`filename_hex`, `keeper_hex`) has the whole name in hex, to read it back.
    """
    return "".join(_iter_json([list(rows)]))


def _iter_json(parts: Iterable[Sequence[PlanRow]]) -> Iterator[str]:
    """Yield a plan as JSON, part by part: a line for each member, as `json.dumps` writes it without indentation."""
    begin, end = _to_lines({"format": layout.PLAN_JSON_FORMAT, "pictures": []}).split("[]")
    yield f"{begin}["
    separator = "\n"
    for part in parts:
        for row in part:
            yield f"{separator}{_to_lines(_to_members(row))}"
            separator = ",\n"
    yield f"]{end}\n" if separator == "\n" else f"\n]{end}\n"


def _to_lines(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=0, ensure_ascii=False)


def plan_from_json(text: str, source: str = "the plan") -> list[PlanRow]:
    """Return the rows of a plan that `plan_to_json`, or the report, wrote.

    Args:
        text: JSON.
        source: What errors call the plan.

    Raises:
        InputError: If it is not a valid plan.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source!r} is not JSON: {error}.") from None
    if not isinstance(content, dict) or content.get("format") != layout.PLAN_JSON_FORMAT:
        raise InputError(f'{source!r} is not a plan: "format" must be "{layout.PLAN_JSON_FORMAT}".')
    images = content.get("pictures")
    if not isinstance(images, list) or not all(isinstance(members, dict) for members in images):
        raise InputError(f'{source!r} is not a plan: "pictures" must be a list of objects.')
    rows = []
    for number, members in enumerate(images):
        if missing := [name for name in _REQUIRED if name not in members]:
            raise InputError(f'{source!r} is not a plan: item {number} of "pictures" has no "{missing[0]}".')
        rows.append(_parse_cells(_parse_name(members, "filename", source), _to_cells(members, source), source))
    check_plan(rows)
    return rows


def check_plan(rows: Sequence[PlanRow]) -> None:
    """Check that each dropped image has a keeper that the plan keeps, and that no name is there twice.

    Raises:
        InputError: If the plan contradicts itself, drops a reference, or has a name that is not absolute.
    """
    seen: set[str] = set()
    kept = {row.filename for row in rows if not row.is_dropped}
    for row in rows:
        if row.filename in seen:
            raise InputError(f"The plan has {row.filename!r} twice: remove one of the rows.")
        seen.add(row.filename)
        _check_name(row)
        if not row.is_dropped:
            continue
        if row.reference:
            raise InputError(
                f"The plan drops {row.filename!r}, an image of a reference input: change its action to keep."
            )
        if not row.keeper:
            raise InputError(
                f"The plan drops {row.filename!r} without a keeper: name the image that it duplicates, "
                "or change its action to keep."
            )
        if row.keeper not in kept:
            raise InputError(
                f"The plan drops {row.filename!r} but does not keep its keeper {row.keeper!r}: "
                "name a keeper that the plan keeps, or change the action to keep."
            )


def _check_name(row: PlanRow) -> None:
    if "\0" in row.filename or not (os.path.isabs(row.filename) or "://" in row.filename):
        raise InputError(f"The plan has {row.filename!r}, which is neither an absolute path nor a URI.")


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


def _parse_cells(name: str, cells: dict[str, str], source: str) -> PlanRow:
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
