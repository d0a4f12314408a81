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
    """Look up one path or more, in less time than as many calls of `stat` take."""
    states = [_read_state(path) for path in paths]
    exists = np.array([state is not None for state in states], bool)
    sizes, times, inodes, devices = zip(*(state or (0, None, 0, 0) for state in states), strict=True)
    tokens = pa.array(times, pa.int64()).cast(pa.large_string()).fill_null("")
    identities = np.array([inodes, devices], np.uint64).view(np.int64)[:, exists]  # they use all 64 bits
    return FileStates(pa.table([paths, sizes, tokens], schema=REFS), exists, *identities)


def _read_state(path: bytes) -> tuple[int, int, int, int] | None:
    """Return size, mtime, inode and device; a whole `os.stat_result` takes a kilobyte."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


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
