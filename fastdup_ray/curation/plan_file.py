"""The plan file: what is kept and what is dropped, why, and by what each picture is known again.

As CSV, one row a picture, it is made to be read and edited by people; as JSON, by programs. Both hold the same.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.names import escape_non_utf8, is_utf8
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.labels import read_by_name
from fastdup_ray.s3 import DEFAULT_ACCESS, Access
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.tables import encode_names, write_columns

Action = Literal["keep", "drop"]
KEEP, DROP = "keep", "drop"

"""Value of `rule` where a person decided."""

_NAMES = ("filename", "keeper")
_RUN = "run"
_NEEDED = tuple(name for name in layout.PLAN_HEADER if name != _RUN)
"""Plans of earlier versions do not say which run they were made from."""

_HEX = "_hex"
"""Added to the name of a member of the JSON that holds the bytes, in hex, of a name that is not UTF-8."""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What is to become of one picture.

    filename: absolute path or URI; bytes that are not UTF-8 as surrogates. group: pictures that hang together have one
    number. keeper: of a dropped picture the kept one that it is a copy of, else "". similarity: their cosine, None for
    kept ones. rule, reason: why. size: bytes, None where the run did not read the file; sha256: of them, or ""; etag:
    of an object on S3, else "". reference: of a reference input, never to be touched. run: `SeenImages.digest` of the
    run that the row was made from; "" where it does not say.
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
    """Puts the plan whole, as JSON where `name` ends so, else as CSV. Raises `InputError` where it cannot be meant."""
    with store.create(name) as path, open(path, "wb") as file:
        dump_plan(file, rows, as_json=is_json(name))


def is_json(name: str) -> bool:
    """Whether a plan of this name is JSON, not CSV."""
    return name.endswith(".json")


def dump_plan(file: BinaryIO, rows: Sequence[PlanRow], *, as_json: bool) -> None:
    """Write the plan to an open file. Raises `InputError` where it cannot be meant."""
    check_plan(rows)
    if as_json:
        file.write(plan_to_json(rows).encode())
        return
    columns = [
        encode_names(row.filename for row in rows),
        pa.array([row.action for row in rows], pa.string()),
        pa.array([row.group for row in rows], pa.int64()),
        encode_names(row.keeper for row in rows),
        pa.array([row.similarity for row in rows], pa.float64()),
        *(
            pa.array([escape_non_utf8(text) for text in texts], pa.string())
            for texts in (zip(*map(_words, rows), strict=True) if rows else ((), ()))
        ),
        pa.array([row.size for row in rows], pa.int64()),
        pa.array([row.sha256 for row in rows], pa.string()),
        pa.array([row.etag for row in rows], pa.string()),
        pa.array([int(row.reference) for row in rows], pa.int64()),
        pa.array([row.run for row in rows], pa.string()),
    ]
    write_columns(file, layout.PLAN_HEADER, columns)


def read_plan(location: str | os.PathLike[str], access: Access = DEFAULT_ACCESS) -> list[PlanRow]:
    """The rows of a plan, CSV or JSON, a path or a URI; raises `InputError` with one line for what cannot be meant."""
    source = os.path.expanduser(location)
    folder, name = os.path.split(source)
    try:
        path = open_store(folder or os.curdir, access).fetch(name)
        if not is_json(name):
            named = read_by_name(os.fspath(path), "the plan", "filename", _NEEDED)
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
    r"""The plan as JSON: `{"format": …, "pictures": [{"filename": …, "action": …, …}, …]}`, members as in the CSV.

    A name that is not UTF-8 has its bytes as `\xNN`, as in all JSON of ours, and all of it in a member more, in hex
    (`filename_hex`, `keeper_hex`), so that it comes back.
    """
    pictures = [_as_dict(row) for row in rows]
    return json.dumps({"format": layout.PLAN_JSON_FORMAT, "pictures": pictures}, indent=0, ensure_ascii=False) + "\n"


def plan_from_json(text: str, source: str = "the plan") -> list[PlanRow]:
    """The rows of what `plan_to_json` made, or a page; raises `InputError`. source: what the error names."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source!r} is not JSON: {error}.") from None
    if not isinstance(content, dict) or content.get("format") != layout.PLAN_JSON_FORMAT:
        raise InputError(f"{source!r} is no plan: its member format should be {layout.PLAN_JSON_FORMAT!r}.")
    pictures = content.get("pictures")
    if not isinstance(pictures, list) or not all(isinstance(picture, dict) for picture in pictures):
        raise InputError(f"{source!r} is no plan: its member pictures should be a list of objects.")
    rows = []
    for place, picture in enumerate(pictures):
        if missing := [name for name in _NEEDED if name not in picture]:
            raise InputError(f"{source!r}, picture {place}: {missing[0]!r} is missing.")
        rows.append(_parse_cells(_parse_name(picture, "filename", source), _cells(picture, source), source))
    check_plan(rows)
    return rows


def check_plan(rows: Sequence[PlanRow]) -> None:
    """`InputError` where a plan contradicts itself: nothing is dropped without a kept picture that it is a copy of."""
    seen: set[str] = set()
    kept = {row.filename for row in rows if not row.is_dropped}
    for row in rows:
        if row.filename in seen:
            raise InputError(f"The plan has {row.filename!r} twice; take one of its rows away.")
        seen.add(row.filename)
        if "\0" in row.filename or not (os.path.isabs(row.filename) or "://" in row.filename):
            raise InputError(f"The plan names {row.filename!r}, which is no absolute path and no URI.")
        if not row.is_dropped:
            continue
        if row.reference:
            raise InputError(f"The plan drops {row.filename!r}, a picture of a reference input: write keep there.")
        if not row.keeper:
            raise InputError(f"The plan drops {row.filename!r} and names no keeper: name the kept copy, or write keep.")
        if row.keeper not in kept:
            raise InputError(
                f"The plan drops {row.filename!r} as a copy of {row.keeper!r}, which it does not keep: "
                "name a keeper that has a row with keep, or write keep here, too."
            )


def _words(row: PlanRow) -> tuple[str, str]:
    return row.rule, row.reason


def _as_dict(row: PlanRow) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name in layout.PLAN_HEADER:
        value = getattr(row, name)
        members[name] = escape_non_utf8(value) if isinstance(value, str) else value
        if name in _NAMES and not is_utf8(value):
            members[name + _HEX] = os.fsencode(value).hex()
    return members


def _cells(picture: dict[str, Any], source: str) -> dict[str, str]:
    """A picture of the JSON as the cells of a row of the CSV."""
    cells = {name: "" if picture.get(name) is None else str(picture[name]) for name in layout.PLAN_HEADER}
    cells["reference"] = (
        str(int(picture["reference"])) if isinstance(picture["reference"], bool) else cells["reference"]
    )
    return cells | {name: _parse_name(picture, name, source) for name in _NAMES}


def _parse_name(picture: dict[str, Any], member: str, source: str) -> str:
    value, coded = picture[member] or "", picture.get(member + _HEX)
    try:
        return os.fsdecode(bytes.fromhex(coded) if coded else str.encode(value, "utf-8", "surrogateescape"))
    except (ValueError, TypeError):  # UnicodeEncodeError is a ValueError
        raise InputError(f"{source!r}: {coded or value!r} is no name of a file.") from None


def _parse_cells(name: str, cells: dict[str, str], source: str) -> PlanRow:
    def checked(column: str, pattern: str, allowed: str) -> str:
        text = cells[column].strip().lower()
        if re.fullmatch(pattern, text) is None:
            raise InputError(
                f"{source!r}: {column}={cells[column]!r} of {name!r} is not possible: it should be {allowed}."
            )
        return text

    size = checked("size", r"\d{0,18}", "a number of bytes")
    similarity = checked("similarity", r"|-?\d(?:[.,]\d*)?(?:e-\d+)?", "a cosine").replace(",", ".")
    return PlanRow(
        filename=name,
        action=KEEP if checked("action", f"{KEEP}|{DROP}", f"{KEEP} or {DROP}") == KEEP else DROP,
        group=int(checked("group", r"\d{0,18}", "a whole number") or 0),
        keeper=cells["keeper"],
        similarity=float(similarity) if similarity else None,
        rule=cells["rule"],
        reason=cells["reason"],
        size=int(size) if size else None,
        sha256=checked("sha256", r"|[0-9a-f]{64}", "64 hex digits"),
        etag=cells["etag"].strip(),
        reference=checked("reference", r"|0|1", "0 or 1") == "1",
        run=cells.get(_RUN, "").strip().lower(),
    )
