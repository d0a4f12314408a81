"""Read ahead: while one image is decoded, the next ones are downloaded."""

import io
from collections import deque
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, TypeAlias

from fastdup_ray.common.access import DEFAULT_ACCESS, Access
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.ranged_file import READ_AT_ONCE
from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs.sources import open_entry
from fastdup_ray.inputs.suffixes import is_video_name
from fastdup_ray.system import background

AT_ONCE = 16
"""Entries that are downloaded at once for one decoding thread."""

MOST_BYTES = 64 << 20
"""Bytes of downloaded entries that wait to be decoded; a single entry may be larger."""

Opened: TypeAlias = AbstractContextManager[BinaryIO]


def read_ahead(
    refs: Iterable[ImageRef], access: Access = DEFAULT_ACCESS, without: Container[ImageRef] = ()
) -> Iterator[tuple[ImageRef, Opened]]:
    """Open entries in order; remote ones are downloaded ahead, in threads.

    Args:
        refs: the entries.
        access: how buckets are accessed.
        without: entries that are not downloaded ahead, as their bytes are not needed.

    Yields:
        Each entry, and its file as `open_entry` opens it.
    """
    waiting: deque[tuple[ImageRef, Future[bytes] | None]] = deque()
    rest, waiting_bytes = iter(refs), 0
    ahead = next(rest, None)
    while ahead is not None or waiting:
        while (
            ahead is not None and len(waiting) < AT_ONCE and (not waiting or waiting_bytes + ahead.size <= MOST_BYTES)
        ):
            wanted = _is_worth_it(ahead) and ahead not in without
            waiting.append((ahead, background.start(_read_bytes, ahead, access) if wanted else None))
            waiting_bytes, ahead = waiting_bytes + (ahead.size if wanted else 0), next(rest, None)
        ref, future = waiting.popleft()
        if future is None:
            yield ref, open_entry(ref, access)
        else:
            waiting_bytes -= ref.size
            yield ref, _get_result(future)


def _is_worth_it(ref: ImageRef) -> bool:
    return is_remote(ref.uri) and ref.size <= READ_AT_ONCE and not is_video_name(ref.uri)


def _read_bytes(ref: ImageRef, access: Access) -> bytes:
    with open_entry(ref, access) as file:
        return file.read()


@contextmanager
def _get_result(future: "Future[bytes]") -> Iterator[BinaryIO]:
    yield io.BytesIO(future.result())
