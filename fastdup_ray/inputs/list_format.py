"""Detect the format of a list file: its encoding, its line ends, and the column of the paths.

All of it is detected from the beginning of the file. A text is a table if its header names a column of paths, or if one
of its columns, and no whole line, holds names that exist. Otherwise each line is a name, even with commas, semicolons
or tabs in it.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from fastdup_ray.common.path_lists import COLUMNS, normalize_column
from fastdup_ray.errors import InputError
from fastdup_ray.inputs.suffixes import is_archive_name, is_image_name, is_video_name

HEAD = 1 << 16
"""Bytes at the beginning of a file from which the format is detected. No name is that long."""

_SAMPLE = 20
"""Rows whose names are looked up to distinguish a table from a list of names with commas in them."""

_DELIMITERS = ",;\t|"

_BOMS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_LIST_START = re.compile(r"\s*(?:/|\.{1,2}/|~/|\w+:/|(?:[^\r\n]*,)?filename[,\r\n])")
"""The beginning of a list, which no image has; it is one even if names contain control characters."""

_COMMENT = re.compile(r"#(?:\s.*)?", re.DOTALL)
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)
"""The first line of a CSV that gives Excel the delimiter."""

_OTHER_FORMATS = (
    (b"PAR1", "an Apache Parquet file"),
    (b"ARROW1", "an Apache Arrow file"),
    (b"ORC", "an Apache ORC file"),
    (b"Obj\x01", "an Apache Avro file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF-", "a PDF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
_OFFICE = re.compile(rb"\[Content_Types\]\.xml|_rels/|docProps/|(?:xl|word|ppt)/|mimetypeapplication/vnd\.oasis")
_PICKLE = re.compile(rb"\x80[\x02-\x05](?:\x95.{8}|[}\](cX])", re.DOTALL)
_JSON = re.compile(r'\s*(?:\{\s*["}]|\[\s*(?:["\[{\]]|-?\d+(?:\.\d+)?\s*[,\]]))')
_MARKUP = re.compile(r"\s*<(?:\?xml|!doctype|html|svg|plist)\b", re.IGNORECASE)

_SUPPORTED = "only folders, images, videos, archives and lists (a path per line, or a CSV with paths) are supported"

Exists: TypeAlias = Callable[[str], bool]
"""Returns whether a row, or a cell of it, is the name of something that exists."""


@dataclass(frozen=True)
class ListFormat:
    """How a list file is written.

    Attributes:
        encoding: As for `open`.
        errors: As for `open`.
        separator: The end of a row, unless it is a table.
        delimiter: Of a table; None if each row is a name.
        column: The column of the paths, from 0.
        skip: Rows of a table before the first one with a path.
        columns: The number of columns.
    """

    encoding: str
    errors: str
    separator: str = "\n"
    delimiter: str | None = None
    column: int = 0
    skip: int = 0
    columns: int = 1


def refuse_other_format(path: str, head: bytes) -> None:
    """Raise `InputError` if the beginning of a file shows that it is neither an image nor a list."""
    kind = next((name for signature, name in _OTHER_FORMATS if head.startswith(signature)), None)
    advice = _SUPPORTED
    if head.startswith(b"PK\x03\x04"):
        kind = "an Office document" if _OFFICE.match(head, 30) else "a zip archive"
        advice = _SUPPORTED if _OFFICE.match(head, 30) else "rename it to *.zip"
    elif head.startswith(_COMPRESSED):
        advice = "unpack it, or if it is a tar archive, rename it to *.tar.gz, *.tar.bz2 or *.tar.xz"
    elif _PICKLE.match(head):
        kind = "a Python pickle"
    if kind:
        raise InputError(f"{path!r} is {kind}; {advice}.")


def is_text(head: bytes, exists: Exists) -> bool:
    """Return whether a file that begins with `head` is text, or a list whose names end with a NUL."""
    if _detect_wide_encoding(head) or _ends_names_with_nul(head, exists):
        return True
    text = _decode_head(head, "utf-8-sig")
    return "\0" not in text and (not _CONTROL.search(text) or bool(_LIST_START.match(text)))


def detect_format(path: str, head: bytes, exists: Exists) -> ListFormat:
    """Detect the format of a list.

    Args:
        path: its name, for messages.
        head: its first `HEAD` bytes, or all.
        exists: looks up names.

    Raises:
        InputError: where it is text, but not a list.
    """
    encoding = _detect_wide_encoding(head)
    if not encoding and b"\0" in head:
        return ListFormat("utf-8", "surrogateescape", separator="\0")
    # Names in UTF-16 and UTF-32 are characters, not bytes: invalid ones cannot be names of files.
    encoding, errors = (encoding, "replace") if encoding else ("utf-8-sig", "surrogateescape")
    text, whole = _decode_head(head, encoding), len(head) < HEAD
    separator = "\n" if "\n" in text else "\r" if "\r" in text else "\n"
    if separator not in text and not whole:
        _refuse_other_text(path, text)
        raise InputError(f"{path!r} is not a list: its first line has more than {HEAD:,} bytes.")
    if not whole:
        text = text[: text.rindex(separator) + 1]
    if separator == "\n" and text.count("\r\n") == text.count("\n"):
        separator = "\r\n"
    if table := _detect_table(path, text, exists):
        delimiter, column, skip, columns = table
        return ListFormat(encoding, errors, separator, delimiter, column, skip, columns)
    return ListFormat(encoding, errors, separator)


def is_comment(row: str) -> bool:
    """Return whether a row looks like a comment: `#`, alone or followed by a blank."""
    return bool(_COMMENT.fullmatch(row))


# --- encoding ---------------------------------------------------------------------------------------------------------


def _detect_wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by its byte order mark or by the position of zeros; None for any other encoding."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding if encoding != "utf-8-sig" and not _CONTROL.search(_decode_head(head, encoding)) else None
    if b"\0" in head:
        for encoding, unit in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
            text = _decode_head(head, encoding)
            # Most characters of names are ASCII: in UTF-16, unlike in lists with NULs, half of the bytes are zero.
            if text and not _CONTROL.search(text) and sum(c < "\x80" for c in text) > len(head) / unit / 2:
                return encoding
    return None


def _decode_head(head: bytes, encoding: str) -> str:
    """Decode whole characters; invalid ones become U+FFFD in wide encodings, else surrogates."""
    wide = encoding.startswith(("utf-16", "utf-32"))
    return codecs.getincrementaldecoder(encoding)("replace" if wide else "surrogateescape").decode(head)


def _ends_names_with_nul(head: bytes, exists: Exists) -> bool:
    """Whether it looks like output of `find -print0`; images have zeros, too, but also bytes that no name has."""
    if b"\0" not in head or head.startswith(b"\0") or b"\0\0" in head:
        return False
    text = _decode_head(head, "utf-8")
    first = text.partition("\0")[0]
    return bool(_LIST_START.match(text)) or not _CONTROL.search(text.replace("\0", "")) or exists(first)


# --- tables -----------------------------------------------------------------------------------------------------------


def _detect_table(path: str, text: str, exists: Exists) -> tuple[str, int, int, int] | None:
    """The delimiter, column of the paths, rows to skip and number of columns; None if each line is a name."""
    lines = [line for line in re.split(r"\r\n|\n|\r", text) if line.strip() and not is_comment(line)]
    if not lines:
        return None
    declared = _SEPARATOR_LINE.fullmatch(lines[0])
    tables = [
        (delimiter, *_sample_rows(text, delimiter, 1 if declared else 0))
        for delimiter in (declared[1] if declared else _DELIMITERS)
    ]
    for delimiter, skip, rows in tables:
        if rows and (column := _find_column_by_name(rows, exists)) is not None:
            return None if exists(lines[0]) else (delimiter, column, skip + 1, len(rows[0]))
    tables = [table for table in tables if _is_even(table[2])]
    blanks = _sample_rows(text, " ", 0)
    if not declared and _is_labeled(blanks[1]):
        tables.append((" ", *blanks))
    if not (tables or _detect_other_text(text)) or any(exists(line) for line in lines[:_SAMPLE]):
        return None
    if _is_json(text):  # the cells of a CSV in it may be names that exist
        _refuse_other_text(path, text)
    for delimiter, skip, rows in tables:
        if (column := _find_column_by_data(rows, exists)) is not None:
            return delimiter, column, skip + (not _may_be_name(rows[0][column], exists)), len(rows[0])
    _refuse_other_text(path, text)
    for _, _, rows in tables:
        if not any(_may_be_name(cell, exists) for cell in rows[0]):
            columns = ", ".join(cell.strip() for cell in rows[0])
            raise InputError(
                f"{path!r} looks like a CSV with the columns {columns[:200]}; name the column of paths 'filename'."
            )
    return None


def _sample_rows(text: str, delimiter: str, after: int) -> tuple[int, list[list[str]]]:
    """The number of rows before the first that is neither blank nor a comment, and the first rows from there on.

    after: the number of rows that are skipped in any case.
    """
    skip = 0
    rows: list[list[str]] = []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        for number, row in enumerate(islice(reader, 10 * _SAMPLE)):
            if number < after or (not rows and (not any(row) or is_comment(delimiter.join(row)))):
                skip = number + 1
            elif any(row):
                rows.append(row)
    except csv.Error:
        return 0, []
    return skip, rows[:_SAMPLE]


def _find_column_by_name(rows: Sequence[list[str]], exists: Exists) -> int | None:
    """The column that the header names; of several, the first with a name that exists."""
    header = [normalize_column(cell) for cell in rows[0]]
    named = [header.index(name) for name in COLUMNS if name in header]
    existing = (column for column in named if len(named) > 1 and any(_read_cells(rows[1:], column, exists)))
    return next(existing, named[0] if named else None)


def _find_column_by_data(rows: Sequence[list[str]], exists: Exists) -> int | None:
    return next((column for column in range(len(rows[0])) if any(_read_cells(rows, column, exists))), None)


def _read_cells(rows: Sequence[list[str]], column: int, exists: Exists) -> Iterator[bool]:
    return (exists(row[column]) for row in rows if len(row) > column and row[column].strip())


def _is_even(rows: Sequence[list[str]]) -> bool:
    return bool(rows) and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1


def _is_labeled(rows: Sequence[list[str]]) -> bool:
    """Whether each row has the name of an image, a blank, and words that are no such names: `cat.jpg 7`."""
    return _is_even(rows) and all(is_image_name(row[0]) and not any(map(is_image_name, row[1:])) for row in rows)


def _may_be_name(cell: str, exists: Exists) -> bool:
    known = is_image_name(cell) or is_video_name(cell) or is_archive_name(cell)
    return known or "/" in cell or "\\" in cell or cell.strip().isdecimal() or exists(cell)


def _is_json(text: str) -> bool:
    """Return whether it is a whole JSON list or object."""
    if not _JSON.match(text):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _detect_other_text(text: str) -> str | None:
    return "JSON" if _JSON.match(text) else "XML or HTML" if _MARKUP.match(text) else None


def _refuse_other_text(path: str, text: str) -> None:
    if kind := _detect_other_text(text):
        raise InputError(f"{path!r} looks like {kind}: {_SUPPORTED}.")
