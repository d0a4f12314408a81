"""What people say of pictures: the name of the folder as a label, or a CSV with a line for each picture."""

import csv
import os
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.common import layout
from fastdup_ray.common.formulas import unescape_formula
from fastdup_ray.common.names import escape_non_utf8, from_utf8
from fastdup_ray.common.regular_file import open_regular_text
from fastdup_ray.errors import InputError
from fastdup_ray.storage.tables import encode_names, escape_names

FOLDER = "folder"
"""Value of the parameter `labels`: the label of a picture is the name of the folder that it is in."""

FILENAME, LABEL = "filename", "label"

Names = pa.Array | pa.ChunkedArray
"""(n,) paths and URIs as raw bytes."""


def check_labels(labels: str | None) -> None:
    """`InputError` where `labels` is a file that has none: told before any work."""
    if labels not in (None, FOLDER):
        _read_file(labels)


def read_labels(labels: str | None, names: Names, uris: Names | None = None) -> pa.Array | None:
    r"""(n,) large_string, null where a picture has no label; None where no labels were given.

    uris: (n,) of the files that the pictures come from, which may be labelled in their place: a video for its frames.
    Bytes that are not UTF-8 are written as `\xNN`.
    """
    if labels is None:
        return None
    if labels == FOLDER:
        folders = pc.struct_field(pc.extract_regex(names, r"(?P<folder>[^/]+)/+[^/]*$"), "folder")
        found = escape_names(folders.cast(pa.large_binary()))
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    known = _read_file(labels)
    values = pa.array([escape_non_utf8(label) for label in known.values()], pa.large_string())
    places = pc.index_in(names, encode_names(known))
    if uris is not None:
        places = pc.coalesce(places, pc.index_in(uris, encode_names(known)))
    found = values.take(places)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _read_file(path: str) -> dict[str, str]:
    """Name -> label, without the empty ones."""
    rows = read_by_name(path, "the file of labels", FILENAME, (LABEL,))
    return {name: row[LABEL] for name, row in rows if row[LABEL]}


def read_by_name(path: str, what: str, key: str, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV that has the columns `key` and `needed`, each with the absolute path or URI that `key` says.

    Relative paths start at the folder of the CSV. Cells of `layout.TEXT_COLUMNS` come as they were before they were
    escaped. Raises `InputError`, also where a name is there twice.
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
                    raise InputError(f"{path!r}, line {rows.line_num}: {row[key]!r} is there twice.")
                seen.add(name)
                yield (
                    name,
                    {
                        column: unescape_formula(cell) if column in layout.TEXT_COLUMNS else cell
                        for column, cell in row.items()
                    },
                )
    except OSError as error:
        raise InputError(f"Cannot read {what} {path!r}: {error.strerror}.") from None
    except csv.Error as error:
        raise InputError(f"{path!r} is not a CSV: {error}.") from None


def _to_absolute(folder: str, name: str) -> str:
    return name if "://" in name else os.path.abspath(os.path.join(folder, os.path.expanduser(name)))
