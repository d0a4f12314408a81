"""List files: a path or URI in each row, or a table with a column of them. `list_format` detects the format."""

import csv
import io
import os
import re
import shutil
import stat as stat_module
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import BinaryIO
from urllib.parse import unquote

from PIL import Image, UnidentifiedImageError

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import SCHEMES, SUPPORTED, is_remote
from fastdup_ray.common.names import from_utf8
from fastdup_ray.common.records import ImageRef
from fastdup_ray.common.regular_file import open_regular
from fastdup_ray.common.requests import LISTING_THREADS
from fastdup_ray.errors import BadImageError, InputError
from fastdup_ray.inputs import archive
from fastdup_ray.inputs.list_format import HEAD, ListFormat, detect_format, is_comment, is_text, refuse_other_format
from fastdup_ray.inputs.skipped import SkippedFiles
from fastdup_ray.inputs.sources import open_entry, stat
from fastdup_ray.inputs.suffixes import is_archive_name, is_image_name

_AT_ONCE = 4096
"""Names that are looked up at once, if each takes a request."""

_SAMPLE = 20
"""Names that are looked up in a text with the suffix of an image."""

_CHUNK = 1 << 20
"""Bytes that are read at a time from a list whose names end with a NUL."""

_IN_MEMORY = 64 << 20
"""Bytes of a pipe that are kept in memory; a longer list goes to a temporary file."""

_AROUND = frozenset(" \t\r\n\v\f\"'~")
"""Characters at either end of a row for which it may not be the literal name."""

_REMOTE = re.compile("(s3[an]?|gs|az|https)://", re.IGNORECASE)

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""Bytes that are not UTF-8."""


class ListFile:
    """An open list, read row by row: it may be larger than memory."""

    def __init__(self, path: str, file: BinaryIO, access: Access) -> None:
        self._path, self._file, self._access = path, file, access

    def refs(self, skipped: SkippedFiles) -> Iterator[ImageRef]:
        """Yield the entries of the list in order; archives are replaced by their members.

        Args:
            skipped: counts the files in archives that are left out because of their suffix.
        """
        with ThreadPoolExecutor(LISTING_THREADS) as pool:
            yield from _stat_all(self._names(pool), skipped, self._access, pool)

    def names(self) -> Iterator[str]:
        """Yield the absolute paths and URIs in the list.

        Relative paths start at the current folder, as `find` writes them. A row is taken literally if a file of that
        name exists. Otherwise these variants are tried: without surrounding blanks and quotation marks, with the
        backslashes of a Windows path as slashes, with bytes that are not UTF-8 decoded as Windows code page 1252. In
        lists whose names end with a NUL, names are always literal.
        """
        with ThreadPoolExecutor(LISTING_THREADS) as pool:
            yield from self._names(pool)

    def _names(self, pool: ThreadPoolExecutor) -> Iterator[str]:
        self._file.seek(0)
        head = self._file.read(HEAD)
        self._file.seek(0)
        exists = partial(_is_name_of_file, access=self._access)
        form = detect_format(self._path, head, exists) if head else ListFormat("utf-8", "strict")
        if form.separator == "\0":
            yield from map(_to_absolute, self._split_by_nul())
            return
        text = io.TextIOWrapper(self._file, form.encoding, form.errors, newline="")
        try:
            rows = self._rows(text, form)
            while batch := list(islice(rows, _AT_ONCE)):
                resolve = partial(_resolve_name, access=self._access)
                yield from pool.map(resolve, batch) if any(map(_takes_request, batch)) else map(resolve, batch)
        finally:
            text.detach()

    def _rows(self, text: io.TextIOWrapper, form: ListFormat) -> Iterator[str]:
        if form.delimiter is not None:
            rows = self._cells(text, form, form.delimiter)
        else:
            if form.separator != "\r":  # a carriage return may be part of a name
                text.reconfigure(newline="\n")
            rows = (from_utf8(line.removesuffix("\n")) for line in text)
            rows = (row.removesuffix("\r") for row in rows) if form.separator != "\n" else rows
            rows = (row for row in rows if not is_comment(row) or _exists(row, self._access))
        return (row for row in rows if row.strip())

    def _cells(self, text: io.TextIOWrapper, form: ListFormat, delimiter: str) -> Iterator[str]:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            for row in islice(reader, form.skip, None):
                if form.columns == 1:
                    yield from_utf8(delimiter.join(row))
                elif len(row) > form.column:
                    yield from_utf8(row[form.column])
        except csv.Error as error:
            raise InputError(
                f"{self._path!r}, line {reader.line_num}, is not valid CSV: {error}. Is a quotation mark missing?"
            ) from None

    def _split_by_nul(self) -> Iterator[str]:
        rest = b""
        while chunk := self._file.read(_CHUNK):
            *whole, rest = (rest + chunk).split(b"\0")
            if len(rest) > HEAD:
                raise InputError(f"{self._path!r} is not a list: a name in it has more than {HEAD:,} bytes.")
            yield from (os.fsdecode(name) for name in whole if name)
        if rest:
            yield os.fsdecode(rest)


def stat_names(names: Iterable[str], skipped: SkippedFiles, access: Access) -> Iterator[ImageRef]:
    """Yield the entries of absolute paths and URIs in order, as those of a list; objects are looked up many at a time.

    Args:
        names: the paths and URIs.
        skipped: counts the files in archives that are left out because of their suffix.
        access: how buckets are accessed.
    """
    with ThreadPoolExecutor(LISTING_THREADS) as pool:
        yield from _stat_all(iter(names), skipped, access, pool)


def _stat_all(
    names: Iterator[str], skipped: SkippedFiles, access: Access, pool: ThreadPoolExecutor
) -> Iterator[ImageRef]:
    def stat_object(name: str) -> ImageRef | None:
        return stat(name, access) if is_remote(name) and not is_archive_name(name) else None

    while batch := list(islice(names, _AT_ONCE)):
        refs = pool.map(stat_object, batch) if any(map(is_remote, batch)) else [None] * len(batch)
        for name, ref in zip(batch, refs, strict=True):
            if is_archive_name(name):
                yield from archive.list_members(name, skipped, access)
            else:
                yield ref or stat(name, access)


@contextmanager
def open_list(path: str, access: Access) -> Iterator[ListFile | None]:
    """Open the list at a path or URI; its content decides whether it is one, not its name.

    A pipe, which can be read only once, is copied first.

    Yields:
        The list, or None if the file is an image.

    Raises:
        InputError: where it is neither a list nor an image, or cannot be read.
    """
    with open_path(path, access) as file:
        yield ListFile(path, file, access) if _is_list(path, file, access) else None


def is_pipe(path: str) -> bool:
    """Return whether a path is a pipe, such as `<(find …)` of a shell."""
    try:
        return not is_remote(path) and stat_module.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _is_list(path: str, file: BinaryIO, access: Access) -> bool:
    head = file.read(HEAD)
    file.seek(0)
    if not head:
        return not is_image_name(path)
    text = is_text(head, partial(_is_name_of_file, access=access))
    if not is_image_name(path) and (not text or head.startswith(b"%PDF-")):
        refuse_other_format(path, head)
    if not text or b"\0" in head:
        return text  # images in text formats have no NULs
    try:
        with Image.open(file):
            return False
    except UnidentifiedImageError:
        return not is_image_name(path) or _names_files(path, file, access)
    except Exception:
        return False  # Pillow recognized an image, and failed to read it
    finally:
        file.seek(0)


def _names_files(path: str, file: BinaryIO, access: Access) -> bool:
    """Return whether a text, if read as a list, begins with names of which one exists, or is that of an image."""
    try:
        names = list(islice(ListFile(path, file, access).names(), _SAMPLE))
    except InputError:
        return False
    return any(is_image_name(name) or stat(name, access).mtime_or_etag for name in names)


@contextmanager
def open_path(path: str, access: Access) -> Iterator[BinaryIO]:
    """Open a file that the user named, at a path or URI; a pipe is copied first.

    Raises:
        InputError: where it cannot be read.
    """
    try:
        if is_pipe(path):
            with open(path, "rb") as pipe, tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
                shutil.copyfileobj(pipe, copy)
                copy.seek(0)
                yield copy  # type: ignore[misc]  # typeshed does not count it as a BinaryIO
        else:
            with open_entry(ImageRef(path, 0, ""), access) if is_remote(path) else open_regular(path) as file:
                yield file
    except OSError as error:
        raise InputError(f"Cannot read {path!r}: {error.strerror}.") from None
    except BadImageError as error:
        raise InputError(f"Cannot read {path!r}: {error.message}.") from None


# --- names of rows ----------------------------------------------------------------------------------------------------


def _is_name_of_file(text: str, access: Access) -> bool:
    """Whether a row, decoded as UTF-8, is the name of something that exists."""
    return _exists(from_utf8(text), access)


def _exists(row: str, access: Access) -> bool:
    """Whether the file, or object, that a row refers to exists."""
    try:
        name = _resolve_name(row, access)
    except InputError:  # an unsupported URI
        return False
    return bool(stat(name, access).mtime_or_etag) and (is_remote(name) or not os.path.isdir(name))


def _is_unusual(row: str) -> bool:
    """Whether a row may not be the literal name, so that variants have to be tried."""
    if row[:1] in _AROUND or row[-1:] in _AROUND or "\\" in row or (not row.isascii() and _NOT_UTF8.search(row)):
        return True
    return ":/" in (row.partition("://")[2] if is_remote(row) else row)


def _takes_request(row: str) -> bool:
    return _REMOTE.search(row) is not None and _is_unusual(row)


def _resolve_name(row: str, access: Access) -> str:
    """The absolute path, or the URI, that a row of a list refers to."""
    if not _is_unusual(row):
        return _to_absolute(row)
    names: list[str] = []
    for variant in _list_variants(row):
        try:
            names.append(_to_absolute(variant))
        except InputError as error:
            refusal = error
    if not names:
        raise refusal
    names = list(dict.fromkeys(names))
    existing = (name for name in names if stat(name, access).mtime_or_etag) if len(names) > 1 else iter(names)
    return next(existing, names[0])


def _list_variants(row: str) -> Iterator[str]:
    """The names that a row may stand for, the most likely first."""
    bare = row.strip()
    quoted = len(bare) > 2 and bare[0] == bare[-1] and bare[0] in "\"'"
    plain = [row, bare, *([bare[1:-1].replace('""', '"')] if quoted else [])]
    yield from plain
    for name in plain:
        if "\\" in name:
            yield name.replace("\\", "/")
    for name in plain:
        if _NOT_UTF8.search(name):
            yield os.fsencode(name).decode("cp1252", "replace")


def _to_absolute(name: str) -> str:
    scheme, colon, rest = name.partition(":")
    scheme = scheme.lower() if colon and rest.startswith("/") else ""
    if scheme in ("s3", "s3a", "s3n") and rest.startswith("//"):
        return f"s3:{rest}"
    if scheme in SCHEMES and rest.startswith("//"):
        return f"{scheme}:{rest}"
    if scheme and os.path.lexists(name):
        return os.path.abspath(name)
    if scheme == "file":
        return _parse_file_uri(rest)
    if "://" in name:
        raise InputError(f"Cannot read {name!r} in the list: unsupported URI; {SUPPORTED}, and file://.")
    if name.startswith("~") and not os.path.lexists(name):
        return os.path.abspath(os.path.expanduser(name))
    return os.path.abspath(name)


def _parse_file_uri(rest: str) -> str:
    """The path of the URI `file:` + `rest`; some programs write it without escapes."""
    if rest.startswith("//"):
        rest = rest[2:] if rest.startswith("///") else "/" + rest[2:].partition("/")[2]
    path = os.path.abspath(unquote(rest, errors="surrogateescape"))
    return rest if not os.path.lexists(path) and os.path.lexists(rest) else path
