"""Reading ahead: while one picture is decoded, the next ones come over the network."""

import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

from fastdup_ray.inputs.s3 import WHOLE
from fastdup_ray.inputs.sources import opened
from fastdup_ray.inputs.suffixes import is_video_name
from fastdup_ray.records import ImageRef
from fastdup_ray.s3 import is_s3

AT_ONCE = 16
"""Entries that are got at the same time."""

MOST_BYTES = 64 << 20
"""Of entries that were got and wait for their turn, but for one, which may be larger."""

Opened = AbstractContextManager[BinaryIO]


def read_ahead(refs: Iterable[ImageRef], pool: ThreadPoolExecutor) -> Iterator[tuple[ImageRef, Opened]]:
    """Each of `refs`, and its file as `sources.opened` gives it; those of buckets are got by the threads of `pool`."""
    waiting: deque[tuple[ImageRef, Future[bytes] | None]] = deque()
    left, taken = iter(refs), 0
    ahead = next(left, None)
    try:
        while ahead is not None or waiting:
            while ahead is not None and len(waiting) < AT_ONCE and (not waiting or taken + ahead.size <= MOST_BYTES):
                waiting.append((ahead, pool.submit(_bytes, ahead) if _is_worth_it(ahead) else None))
                taken, ahead = taken + ahead.size, next(left, None)
            ref, future = waiting.popleft()
            taken -= ref.size
            yield ref, opened(ref) if future is None else _got(future)
    finally:
        for _, future in waiting:
            if future is not None:
                future.cancel()


def _is_worth_it(ref: ImageRef) -> bool:
    return is_s3(ref.uri) and ref.size <= WHOLE and not is_video_name(ref.uri)


def _bytes(ref: ImageRef) -> bytes:
    with opened(ref) as file:
        return file.read()


@contextmanager
def _got(future: "Future[bytes]") -> Iterator[BinaryIO]:
    yield io.BytesIO(future.result())
