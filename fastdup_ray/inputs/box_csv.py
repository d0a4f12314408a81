"""Boxes of a CSV: one line for each, with the columns filename, x, y, width, height and possibly label."""

import csv
import io
from collections.abc import Sequence
from typing import TextIO

from fastdup_ray.common.formulas import unescape_formula
from fastdup_ray.common.path_lists import find_column, normalize_column
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.box_table import NO_BOX, BoxCollector, BoxTable

BOX_COLUMNS = (("x", "colx", "left"), ("y", "rowy", "top"), ("width", "w"), ("height", "h"))
"""Names of the columns of a box; case, blanks and punctuation are ignored. col_x and row_y are those of fastdup."""

LABEL_COLUMNS = ("label", "category", "categoryname", "class", "classname")


def read_box_csv(path: str, file: TextIO) -> BoxTable:
    """Read the boxes of a CSV, separated by `,` or `;`. Lines without a box are counted and left out.

    Args:
        path: Its path, for messages.
        file: The file, opened with `newline=""`.

    Raises:
        InputError: It is no CSV, or lacks a column.
    """
    first = file.readline()
    delimiter = ";" if first.count(";") > first.count(",") else ","
    header = next(csv.reader(io.StringIO(first), delimiter=delimiter), [])
    name, *edges, label = _find_columns(path, header)
    boxes = BoxCollector()
    rows = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        for position, row in enumerate(row for row in rows if row):
            if len(row) != len(header):
                raise InputError(f"{path!r}, line {rows.line_num + 1}: not as many cells as the header has.")
            cells = [row[column].strip() for column in edges]
            if not any(cells):
                boxes.leave_out(NO_BOX)
                continue
            try:
                box = [float(cell) for cell in cells]
            except ValueError:
                raise InputError(f"{path!r}, line {rows.line_num + 1}: {','.join(cells)!r} is no box.") from None
            category = "" if label is None else unescape_formula(row[label])
            boxes.add(boxes.number_photo(row[name]), box, boxes.number_label(category), position)
    except csv.Error as error:
        raise InputError(f"{path!r} is not a CSV: {error}.") from None
    return boxes.build()


def _find_columns(path: str, header: Sequence[str]) -> tuple[int, int, int, int, int, int | None]:
    """Return the positions of filename, x, y, width, height and label."""
    names = [normalize_column(column) for column in header]

    def find(choices: Sequence[str]) -> int | None:
        return next((names.index(choice) for choice in choices if choice in names), None)

    found = [find(choices) for choices in BOX_COLUMNS]
    try:
        name = header.index(str(find_column(header)))
    except ValueError:
        name = None
    for column, position in zip(("filename", "x", "y", "width", "height"), (name, *found), strict=True):
        if position is None:
            raise InputError(f"{path!r} has no column {column!r}; its first line is {','.join(header)!r}.")
    return name, *found, find(LABEL_COLUMNS)  # type: ignore[return-value]  # none of the first five is None
