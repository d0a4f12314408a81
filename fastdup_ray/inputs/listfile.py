"""List files: a path or URI in each row, or a CSV with a column `filename`."""

import csv
import os
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from PIL import Image, UnidentifiedImageError

from fastdup_ray.errors import InputError
from fastdup_ray.inputs import archive
from fastdup_ray.inputs.sources import stat
from fastdup_ray.inputs.suffixes import is_archive_name, is_image_name
from fastdup_ray.records import ImageRef

_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_PLAINLY_A_LIST = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:/|\.{1,2}/|~/|\w+://|(?:[^\r\n]*,)?filename[,\r\n])")
"""How lists begin in which a name may have control characters; no picture begins so."""


def is_list(path: str) -> bool:
    """Whether `path` is a list rather than a picture: its content decides, whatever its name says."""
    try:
        with open(path, "rb") as file:
            head = file.read(8192)
    except OSError as error:
        raise InputError(f"Cannot read {path!r}: {error.strerror}.") from None
    if not head:
        return not is_image_name(path)
    if b"\0" in head or (_BINARY.search(head) and not _PLAINLY_A_LIST.match(head)):
        return False
    try:
        with Image.open(path):
            return False
    except UnidentifiedImageError:
        return True
    except Exception:
        return False  # something that Pillow took for a picture, and then choked on


def read(path: str) -> Iterator[ImageRef]:
    """The entries of a list, in its order; an archive stands for what is in it.

    Relative paths start at the current folder, as `find` writes them.
    """
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header = next(csv.reader([file.readline()]), [])
        if ("filename" in header and len(header) > 1) or header == ["filename"]:
            column = header.index("filename")
            names = (row[column] for row in csv.reader(file) if len(row) > column)
        else:
            file.seek(0)
            names = (line.rstrip("\r\n") for line in file)
        for name in names:
            if name.strip():
                path = _local_path(name)
                if is_archive_name(path):
                    yield from archive.listed(path)
                else:
                    yield stat(path)


def _local_path(name: str) -> str:
    if name.startswith("file://"):
        return unquote(urlsplit(name).path, errors="surrogateescape")
    if "://" in name:
        raise InputError(f"{name!r} in the list: URIs are not there yet; so far: local files.")
    return os.path.abspath(os.path.expanduser(name))
