"""Labels of images: the name of the folder, a CSV with one line for each image, or a file beside each image."""

import csv
import os
from collections.abc import Iterator, Sequence
from typing import TypeAlias

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


def read_by_name(path: str, what: str, key: str, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a CSV that has one line for each image, separated by `,` or `;`.

    Args:
        path: the CSV.
        what: what it is, for messages.
        key: the column of names. Relative paths start at the folder of the CSV.
        needed: other columns that it must have.

    Yields:
        The absolute path or URI of each line, and its cells by column. Cells of `csv_columns.TEXT_COLUMNS` are
        unescaped.

    Raises:
        InputError: where it cannot be read, lacks a column, or has a name twice.
    """
    folder = os.path.dirname(os.path.abspath(path))
    seen: set[str] = set()
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
                name = _to_absolute(folder, row[key])
                if name in seen:
                    raise InputError(f"{path!r}, line {rows.line_num}: {row[key]!r} is listed twice.")
                seen.add(name)
                yield (
                    name,
                    {
                        column: unescape_formula(cell) if column in csv_columns.TEXT_COLUMNS else cell
                        for column, cell in row.items()
                    },
                )
    except OSError as error:
        raise InputError(f"Cannot read {what} {path!r}: {error.strerror}.") from None
    except csv.Error as error:
        raise InputError(f"{path!r} is not a CSV: {error}.") from None


def _to_absolute(folder: str, name: str) -> str:
    return name if "://" in name else os.path.abspath(os.path.join(folder, os.path.expanduser(name)))
