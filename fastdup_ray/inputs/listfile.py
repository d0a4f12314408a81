"""List files: a path or URI in each row, or a CSV with a column `filename`."""

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from PIL import Image, UnidentifiedImageError

from fastdup_ray.errors import BadImageError, InputError
from fastdup_ray.inputs import archive
from fastdup_ray.inputs.s3_listing import LISTERS
from fastdup_ray.inputs.sources import opened, stat
from fastdup_ray.inputs.suffixes import is_archive_name, is_image_name
from fastdup_ray.names import from_utf8
from fastdup_ray.records import ImageRef
from fastdup_ray.s3 import is_s3

_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_PLAINLY_A_LIST = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:/|\.{1,2}/|~/|\w+://|(?:[^\r\n]*,)?filename[,\r\n])")
"""How lists begin in which a name may have control characters; no picture begins so."""


def is_list(path: str) -> bool:
    """Whether `path` is a list rather than a picture: its content decides, whatever its name says."""
    with _opened(path) as file:
        head = file.read(8192)
        if not head:
            return not is_image_name(path)
        if b"\0" in head or (_BINARY.search(head) and not _PLAINLY_A_LIST.match(head)):
            return False
        file.seek(0)
        try:
            with Image.open(file):
                return False
        except UnidentifiedImageError:
            return True
        except Exception:
            return False  # something that Pillow took for a picture, and then choked on


def read(path: str) -> Iterator[ImageRef]:
    """The entries of a list, in its order; an archive stands for what is in it.

    Relative paths start at the current folder, as `find` writes them.
    """
    with ThreadPoolExecutor(LISTERS) as pool:
        waiting = names(path)
        while some := list(islice(waiting, _AT_ONCE)):
            yield from _entries(some, pool)


def names(path: str) -> Iterator[str]:
    """The absolute paths and URIs that a list has."""
    with _opened(path) as binary, io.TextIOWrapper(binary, "utf-8-sig", "surrogateescape", newline="") as file:
        header = next(csv.reader([file.readline()]), [])
        if ("filename" in header and len(header) > 1) or header == ["filename"]:
            column = header.index("filename")
            rows = (row[column] for row in csv.reader(file) if len(row) > column)
        else:
            file.seek(0)
            rows = (line.rstrip("\r\n") for line in file)
        yield from (_absolute(from_utf8(name)) for name in rows if name.strip())


_AT_ONCE = 4096
"""Names that are looked at side by side, where that takes a request each."""


def _entries(some: list[str], pool: ThreadPoolExecutor) -> Iterator[ImageRef]:
    asked: Iterable[ImageRef | None] = pool.map(_object, some) if any(map(is_s3, some)) else [None] * len(some)
    for name, ref in zip(some, asked, strict=True):
        if is_archive_name(name):
            yield from archive.listed(name)
        else:
            yield ref or stat(name)


def _object(name: str) -> ImageRef | None:
    return stat(name) if is_s3(name) and not is_archive_name(name) else None


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        with opened(ImageRef(path, 0, "")) if is_s3(path) else open(path, "rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"Cannot read {path!r}: {error.strerror}.") from None
    except BadImageError as error:
        raise InputError(f"Cannot read {path!r}: {error.message}.") from None


def _absolute(name: str) -> str:
    if name.startswith("file://"):
        return unquote(urlsplit(name).path, errors="surrogateescape")
    if is_s3(name):
        return name
    if "://" in name:
        raise InputError(f"{name!r} in the list: of URIs, file:// and s3:// are known.")
    return os.path.abspath(os.path.expanduser(name))
