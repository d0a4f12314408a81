"""Labels of images: the name of the folder, a CSV with one line for each image, or a file beside each image."""

import csv
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import csv_columns
from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.formulas import unescape_formula
from fastdup_ray.common.label_sources import FOLDER, parse_label_file
from fastdup_ray.common.names import escape_non_utf8, from_utf8
from fastdup_ray.common.regular_file import open_regular_text
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.label_files import read_label_files
from fastdup_ray.storage.tables import encode_names, escape_names

FILENAME, LABEL = "filename", "label"

Names: TypeAlias = pa.Array | pa.ChunkedArray
"""(n,) paths and URIs as raw bytes."""


def check_labels(labels: str | None) -> None:
    """Raise `InputError` if `labels` names a file that is not one of labels; called before any work."""
    if labels is not None and labels != FOLDER and parse_label_file(labels) is None:
        _read_file(labels)


def read_labels(
    labels: str | None, names: Names, uris: Names | None = None, access: Access = DEFAULT_ACCESS
) -> pa.Array | None:
    r"""Return the labels of images.

    Args:
        labels: the parameter: `FOLDER`, an extension (`label_sources.LabelFile`), a CSV, or None.
        names: (n,) the images.
        uris: (n,) the files that the images come from; the label of a video is used for frames without one.
        access: how buckets are accessed.

    Returns:
        (n,) large_string, null for an image without a label; bytes that are not UTF-8 as `\xNN`. None if `labels` is.

    Raises:
        InputError: where the CSV cannot be read.
    """
    if labels is None:
        return None
    if labels == FOLDER:
        folders = pc.struct_field(pc.extract_regex(names, r"(?P<folder>[^/]+)/+[^/]*$"), "folder")
        return _combine(escape_names(folders.cast(pa.large_binary())))
    if (beside := parse_label_file(labels)) is not None:
        return read_label_files(names, beside, access)
    label_of = _read_file(labels)
    values = pa.array([escape_non_utf8(label) for label in label_of.values()], pa.large_string())
    positions = pc.index_in(names, encode_names(label_of))
    if uris is not None:
        positions = pc.coalesce(positions, pc.index_in(uris, encode_names(label_of)))
    return _combine(values.take(positions))


def _combine(column: Names) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _read_file(path: str) -> dict[str, str]:
    """Name -> label, without the empty ones."""
    rows = read_by_name(path, "the file of labels", FILENAME, (LABEL,))
    return {name: row[LABEL] for name, row in rows if row[LABEL]}


class NamedRow(NamedTuple):
    """A line of a CSV that is about one image.

    Attributes:
        number: of the line.
        written: the name as the line has it.
        name: absolute path or URI.
        cells: by column; those of `csv_columns.TEXT_COLUMNS` are unescaped.
    """

    number: int
    written: str
    name: str
    cells: dict[str, str]


def read_by_name(path: str, what: str, key: str, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the absolute path or URI, and the cells, of each line that `iter_named_rows` does.

    Raises:
        InputError: as `iter_named_rows` does, and where it has a name twice.
    """
    seen: set[str] = set()
    for row in iter_named_rows(path, what, key, needed):
        if row.name in seen:
            raise describe_repeated(path, row)
        seen.add(row.name)
        yield row.name, row.cells


def describe_repeated(path: str, row: NamedRow) -> InputError:
    """Return the error for a line with a name that an earlier one has."""
    return InputError(f"{path!r}, line {row.number}: {row.written!r} is listed twice.")


def iter_named_rows(path: str, what: str, key: str, needed: Sequence[str]) -> Iterator[NamedRow]:
    """Read a CSV that has one line for each image, separated by `,` or `;`, line by line.

    Args:
        path: the CSV.
        what: what it is, for messages.
        key: the column of names. Relative paths start at the folder of the CSV.
        needed: other columns that it must have.

    Raises:
        InputError: where it cannot be read, or lacks a column.
    """
    folder = os.path.dirname(os.path.abspath(path))
    try:
        with open_regular_text(path, "utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            # Spreadsheets write semicolons where a comma is the decimal point.
            delimiter = ";" if first.count(";") > first.count(",") else ","
            rows = csv.DictReader(map(from_utf8, file), strict=True, delimiter=delimiter)
            header = rows.fieldnames or []
            if missing := [name for name in (key, *needed) if name not in header]:
                raise InputError(f"{path!r} has no column {missing[0]!r}; its first line is {','.join(header)!r}.")
            for row in rows:
                if None in row or None in row.values():
                    raise InputError(f"{path!r}, line {rows.line_num}: not as many cells as the header has.")
                cells = {
                    column: unescape_formula(cell) if column in csv_columns.TEXT_COLUMNS else cell
                    for column, cell in row.items()
                }
                yield NamedRow(rows.line_num, row[key], _to_absolute(folder, row[key]), cells)
    except OSError as error:
        raise InputError(f"Cannot read {what} {path!r}: {error.strerror}.") from None
    except csv.Error as error:
        raise InputError(f"{path!r} is not a CSV: {error}.") from None


def _to_absolute(folder: str, name: str) -> str:
    return name if "://" in name else os.path.abspath(os.path.join(folder, os.path.expanduser(name)))
