"""Lists of paths as Python programs hold them: iterables, arrays, and columns of data frames.

pandas, polars and NumPy are not imported: their objects are recognized by what they offer.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from fastdup_ray.common.formatting import format_value
from fastdup_ray.common.paths import StrPath, to_path_text

COLUMNS = (
    *("filename", "filepath", "fullpath", "path", "sourcefile"),
    *("imagepath", "imgpath", "imagefilename", "imagefile", "imgfile", "imagename", "image", "img", "file"),
    *("uri", "imageuri", "s3uri", "url", "imageurl", "location", "src"),
)
"""Names of a column of paths, the most likely first; case, blanks and punctuation are ignored (`File Name`)."""

_SHOWN = 10
"""Columns of a data frame that a message names."""


class DataFrame(Protocol):
    """A table of pandas or polars."""

    @property
    def columns(self) -> Any:
        """The names of its columns."""

    def __getitem__(self, name: Any, /) -> Any:
        """Return a column."""


Paths: TypeAlias = StrPath | Iterable[StrPath] | DataFrame
"""A path, or any list of them."""


def list_paths(value: object) -> str | list[str]:
    """Return a path as text, or many of them as a list.

    Args:
        value: A path, an iterable of paths (list, set, generator, array, Series), or a data frame with a column of
            paths. Sets are sorted, since they have no order.

    Raises:
        ValueError: It is none of these, or one of its items is no path; the message says why.
    """
    if isinstance(value, (str, os.PathLike, bytes, Mapping)):
        return to_path_text(value)
    names = getattr(value, "column_names", None) or getattr(value, "columns", None)
    column = None if names is None else find_column(list(names))
    items: Any = value if column is None else _read_column(value, column)
    if hasattr(items, "to_pylist"):  # pyarrow
        items = items.to_pylist()
    if column is not None:
        _refuse_images(items, column)
    if not isinstance(items, Iterable) or getattr(items, "shape", None) == ():
        return to_path_text(value)
    paths = [_convert_item(number, item) for number, item in enumerate(items)]
    return sorted(paths, key=os.fsencode) if isinstance(items, (set, frozenset)) else paths


def find_column(names: Sequence[object]) -> object:
    """Return the column of paths, by its name or because it is the only one.

    Raises:
        ValueError: There is none.
    """
    if len(names) == 1:
        return names[0]
    normalized = [normalize_column(str(name)) for name in names]
    if position := next((normalized.index(known) + 1 for known in COLUMNS if known in normalized), 0):
        return names[position - 1]
    more = ", …" if len(names) > _SHOWN else ""
    shown = ", ".join(map(str, names[:_SHOWN])) + more
    raise ValueError(f"must have a column filename; it has {shown or 'no columns'}")


def _read_column(table: Any, name: object) -> Any:
    try:
        return table[name]
    except TypeError:  # a query that polars has not run yet
        raise ValueError(f"is no table, though it has a column {name}: read it first, as with collect()") from None


def _refuse_images(items: Any, column: object) -> None:
    """Raise `ValueError` if a column of a table has images: a run reads images more than once, by their names."""
    first = next(iter(items), None) if isinstance(items, Iterable) else None
    is_array = hasattr(first, "tobytes") and not isinstance(first, str)  # of NumPy or Pillow
    if isinstance(first, bytes) or is_array or (isinstance(first, Mapping) and "bytes" in first):
        raise ValueError(f"has images in its column {column}, not paths: write it to a Parquet file, and name that")


def normalize_column(name: str) -> str:
    """Return the name of a column as `COLUMNS` has it: without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _convert_item(number: int, item: object) -> str:
    try:
        return to_path_text(item)
    except ValueError as error:
        raise ValueError(f"item {number:,} is {format_value(item)}, but {error}") from None
