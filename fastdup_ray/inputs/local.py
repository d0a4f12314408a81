"""Local files: their entries and their bytes.

The token of a file is its modification time in nanoseconds. The functions take an `Access`, as those of each source do,
and ignore it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.common.records import ImageRef
from fastdup_ray.common.ref_tables import REFS
from fastdup_ray.common.regular_file import NotRegularError, open_regular
from fastdup_ray.errors import BadImageError, ErrorCode


def make_ref(uri: str, status: os.stat_result) -> ImageRef:
    """Return the entry of a path from its `os.stat`."""
    return ImageRef(uri, status.st_size, str(status.st_mtime_ns))


def stat(uri: str, _: Access = DEFAULT_ACCESS) -> ImageRef:
    """Return the entry of a path; with size 0 and no token if `os.stat` fails: reading it then gives the reason."""
    try:
        return make_ref(uri, os.stat(uri))
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return ImageRef(uri, 0, "")


@dataclass(frozen=True)
class FileStates:
    """What `os.stat` says of n paths.

    Attributes:
        refs: Table `REFS`, as `stat` makes the entries.
        exists: (n,) whether `os.stat` succeeded.
        inodes: Inodes of the m files that exist.
        devices: Devices of these.
    """

    refs: pa.Table
    exists: BoolArray
    inodes: IntArray
    devices: IntArray


def stat_files(paths: Sequence[bytes]) -> FileStates:
    """Look up many paths: a third of the time of as many calls of `stat`."""
    states = list(map(_try_stat, paths))
    found = [state for state in states if state is not None]
    times = pa.array([None if state is None else state.st_mtime_ns for state in states], pa.int64())
    sizes = [0 if state is None else state.st_size for state in states]
    # Inodes have 64 bits without a sign.
    inodes, devices = (
        np.array(numbers, np.uint64).view(np.int64)
        for numbers in ([state.st_ino for state in found], [state.st_dev for state in found])
    )
    exists = np.array([state is not None for state in states], bool)
    table = pa.table([paths, sizes, times.cast(pa.large_string()).fill_null("")], schema=REFS)
    return FileStates(table, exists, inodes, devices)


def _try_stat(path: bytes) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def is_file(uri: str, _: Access = DEFAULT_ACCESS) -> bool:
    """Return whether a path is a regular file."""
    return os.path.isfile(uri)


def open_stream(ref: ImageRef, _: Access = DEFAULT_ACCESS) -> BinaryIO:
    """Open a file, even if it changed since it was listed; the caller closes it."""
    return open_regular(ref.uri)


@contextmanager
def open_entry(ref: ImageRef, _: Access = DEFAULT_ACCESS, *, parts: bool = False) -> Iterator[BinaryIO]:  # noqa: ARG001 (as in other sources)
    """Open a file, if it is the one that was listed, and remains so until the context ends.

    Args:
        ref: the entry; without a token, the file is opened as it is now.
        parts: ignored; sources read over the network use it.

    Raises:
        BadImageError: where it cannot be read, or changed.
    """
    if "\0" in ref.uri:
        raise BadImageError(ErrorCode.MISSING, "no file can have this name")
    try:
        with open_regular(ref.uri) as file:
            before = os.fstat(file.fileno())
            if ref.mtime_or_etag and make_ref(ref.uri, before) != ref:
                raise BadImageError(ErrorCode.CHANGED, "the file changed after it was listed")
            yield file
            if make_ref(ref.uri, os.fstat(file.fileno())) != make_ref(ref.uri, before):
                raise BadImageError(ErrorCode.CHANGED, "the file changed while it was read")
    except (FileNotFoundError, NotADirectoryError):
        raise BadImageError(ErrorCode.MISSING, "the file does not exist") from None
    except PermissionError:
        raise BadImageError(ErrorCode.UNREADABLE, "no permission to read the file") from None
    except IsADirectoryError:
        raise BadImageError(ErrorCode.NOT_AN_IMAGE, "this is a folder") from None
    except NotRegularError:
        raise BadImageError(ErrorCode.NOT_AN_IMAGE, "this is not a regular file") from None
    except OSError as error:
        raise BadImageError(ErrorCode.READ_FAILED, f"reading failed: {error.strerror or error}") from None
