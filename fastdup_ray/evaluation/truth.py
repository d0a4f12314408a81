"""Truth files: which pictures show the same, and what was done to them."""

import csv
import os
from dataclasses import dataclass

from fastdup_ray.errors import InputError

PATH, GROUP = "path", "group"
EDIT_COLUMNS = ("edit", "transform", "kind")
ORIGINALS = ("", "original", "base")
"""What the column of edits says of a picture that nothing was done to."""


@dataclass(frozen=True)
class Label:
    """What the truth says of a picture. group: pictures of one group show the same; '': like no other.

    edit: what was done to it, None where the truth does not say.
    """

    group: str
    edit: str | None

    @property
    def is_original(self) -> bool:
        return self.edit in ORIGINALS


def read_truth(path: str) -> dict[str, Label]:
    """The labels of a CSV with the columns path, group and maybe edit, by absolute path or URI.

    Relative paths start at the folder of the truth file. Raises `InputError`.
    """
    folder = os.path.dirname(os.path.abspath(path))
    labels: dict[str, Label] = {}
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            header = rows.fieldnames or []
            if missing := [name for name in (PATH, GROUP) if name not in header]:
                raise InputError(f"{path!r} has no column {missing[0]!r}; its first line is {','.join(header)!r}.")
            edit_column = next((name for name in EDIT_COLUMNS if name in header), None)
            for row in rows:
                if row[PATH] is None or row[GROUP] is None or None in row:
                    raise InputError(f"{path!r}, line {rows.line_num}: not as many cells as the header has.")
                name = _absolute(folder, row[PATH])
                if name in labels:
                    raise InputError(f"{path!r}, line {rows.line_num}: {row[PATH]!r} is there twice.")
                labels[name] = Label(row[GROUP], (row[edit_column] or "") if edit_column else None)
    except OSError as error:
        raise InputError(f"Cannot read the truth file {path!r}: {error.strerror}.") from None
    except csv.Error as error:
        raise InputError(f"{path!r} is not a CSV: {error}.") from None
    return labels


def _absolute(folder: str, name: str) -> str:
    return name if "://" in name else os.path.abspath(os.path.join(folder, os.path.expanduser(name)))
