"""Lance datasets: folders such as `x.lance`, on disk, read by pylance.

The token of one is its version, whose rows never change.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, ErrorCode

_ROWS_IN_GROUP = 1024
"""Rows that one scan reads at most."""

_VERSIONS = "_versions"
"""The folder in a dataset by which it is known."""


class LanceTable:
    """One version of a Lance dataset; see `tables.Table`.

    Args:
        path: The folder.
        version: The number of the version.
    """

    def __init__(self, path: str, version: int) -> None:
        self._dataset = _import_lance().dataset(path, version=version)
        count: int = self._dataset.count_rows()
        self.schema: pa.Schema = self._dataset.schema
        self.starts: Sequence[int] = [*range(0, count, _ROWS_IN_GROUP), count]

    def iter_batches(self, group: int, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """See `tables.Table`."""
        start, end = self.starts[group : group + 2]
        scanner = self._dataset.scanner(
            list(columns),
            offset=start,
            limit=end - start,
            batch_size=size,
            scan_in_order=True,
            blob_handling="all_binary",
        )
        batches: Iterator[pa.RecordBatch] = scanner.to_batches()
        return batches


def exists(path: str, _: Access) -> bool:
    """Return whether there is a dataset of this name."""
    return not is_remote(path) and os.path.isdir(os.path.join(path, _VERSIONS))


def stat(path: str, _: Access) -> ImageRef:
    """Return the entry of the newest version of a dataset; without a token if it cannot be opened."""
    try:
        return ImageRef(path, 0, str(_import_lance().dataset(path).version))
    except (BadImageError, OSError, ValueError):
        return ImageRef(path, 0, "")


def is_unchanged(_: ImageRef) -> bool:
    """Return True: versions do not change."""
    return True


def open_table(file: ImageRef, _: Access) -> LanceTable:
    """Open the version of a dataset that an entry names.

    Raises:
        BadImageError: pylance is not installed.
        OSError, ValueError: It is damaged, or has no such version any more.
    """
    _import_lance()
    return LanceTable(file.uri, int(file.mtime_or_etag))


def _import_lance() -> Any:
    try:
        import lance
    except ImportError:
        message = "a Lance dataset: to read it, pip install 'fastdup-ray[lance]'"
        raise BadImageError(ErrorCode.UNSUPPORTED, message) from None
    return lance
