"""Reading ahead: while one picture is decoded, the next ones come over the network."""

import io
from collections import deque
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

from fastdup_ray.common.records import ImageRef
from fastdup_ray.inputs.sources import open_entry
from fastdup_ray.inputs.suffixes import is_video_name
from fastdup_ray.s3 import DEFAULT_ACCESS, Access, is_s3
from fastdup_ray.s3.objects import READ_AT_ONCE
from fastdup_ray.system import background

AT_ONCE = 16
"""Entries that are got at the same time, for one thread that decodes them."""

MOST_BYTES = 64 << 20
"""Of entries that were got and wait for their turn, but for one, which may be larger."""

Opened = AbstractContextManager[BinaryIO]


def read_ahead(
    refs: Iterable[ImageRef], access: Access = DEFAULT_ACCESS, without: Container[ImageRef] = ()
) -> Iterator[tuple[ImageRef, Opened]]:
    """Give each of `refs`, and its file as `sources.opened` does; those of buckets are got ahead, in threads.

    without: of these no bytes are wanted.
    """
    waiting: deque[tuple[ImageRef, Future[bytes] | None]] = deque()
    left, taken = iter(refs), 0
    ahead = next(left, None)
    while ahead is not None or waiting:
        while ahead is not None and len(waiting) < AT_ONCE and (not waiting or taken + ahead.size <= MOST_BYTES):
            wanted = _is_worth_it(ahead) and ahead not in without
            waiting.append((ahead, background.start(_read_bytes, ahead, access) if wanted else None))
            taken, ahead = taken + ahead.size, next(left, None)
        ref, future = waiting.popleft()
        taken -= ref.size
        yield ref, open_entry(ref, access) if future is None else _get_result(future)


def _is_worth_it(ref: ImageRef) -> bool:
    return is_s3(ref.uri) and ref.size <= READ_AT_ONCE and not is_video_name(ref.uri)


def _read_bytes(ref: ImageRef, access: Access) -> bytes:
    with open_entry(ref, access) as file:
        return file.read()


@contextmanager
def _get_result(future: "Future[bytes]") -> Iterator[BinaryIO]:
    yield io.BytesIO(future.result())
