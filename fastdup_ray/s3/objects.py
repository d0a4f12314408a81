"""Objects in S3: their entries and their bytes.

The token of an object is its ETag. A get asks for that version (`If-Match`), so that an object that changed since it
was listed is noticed.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

from fastdup_ray import s3
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.s3 import Access

READ_AT_ONCE = 64 << 20
"""Bytes up to which an object is read whole; larger ones, and parts of an object, are read in ranges."""

FIRST_CHUNK, LARGEST_CHUNK = 256 << 10, 8 << 20
"""Bytes of a range: each is twice as large as the one before, as long as the object is read in order."""


def make_ref(uri: str, facts: dict[str, Any]) -> ImageRef:
    """Return the entry of an object from its item of a listing, or from the answer to a head or get."""
    return ImageRef(uri, facts.get("Size", facts.get("ContentLength", 0)), facts["ETag"].strip('"'))


def stat(uri: str, access: Access) -> ImageRef:
    """Return the entry of an object; with size 0 and no token if the request fails: reading it gives the reason."""
    bucket, key = s3.split(uri)
    try:
        return make_ref(uri, s3.get_client(access).head_object(Bucket=bucket, Key=key))
    except s3.get_errors() as error:
        s3.refuse_credentials(error)
        return ImageRef(uri, 0, "")


@contextmanager
def open_entry(ref: ImageRef, access: Access, *, parts: bool = False) -> Iterator[BinaryIO]:
    """Open an object in the version that was listed, or in the current one if the entry has no token.

    Args:
        ref: the entry.
        access: how the bucket is accessed.
        parts: only parts of it will be read.

    Raises:
        BadImageError: where it cannot be read.
    """
    if not ref.mtime_or_etag:
        yield _open_as_is(ref.uri, access, parts=parts)
    elif parts or ref.size > READ_AT_ONCE:
        yield open_stream(ref, access)
    else:
        yield io.BytesIO(_get(ref, access))


def _open_as_is(uri: str, access: Access, *, parts: bool) -> BinaryIO:
    """A get gives the reason if it is refused; a head does not."""
    bucket, key = s3.split(uri)
    try:
        answer = s3.get_client(access).get_object(Bucket=bucket, Key=key)
        ref = make_ref(uri, answer)
        if not parts and ref.size <= READ_AT_ONCE:
            return io.BytesIO(answer["Body"].read())
        answer["Body"].close()
    except s3.get_errors() as error:
        raise s3.make_bad_image_error(error) from None
    return open_stream(ref, access)


def open_stream(ref: ImageRef, access: Access) -> BinaryIO:
    """Return the object as a seekable file that gets only the ranges that are read; it need not be closed."""
    return _RangedFile(ref, access)  # type: ignore[return-value]  # io.RawIOBase has all of BinaryIO that is used


def _get(ref: ImageRef, access: Access, part: tuple[int, int] | None = None) -> bytes:
    """Return the bytes of an object, or [start, stop) of them, if it is still the version that was listed."""
    from obstore import get
    from obstore.exceptions import BaseError

    bucket, key = s3.split(ref.uri)
    options: dict[str, Any] = {"if_match": f'"{ref.mtime_or_etag}"'} | ({"range": part} if part else {})
    try:
        return bytes(get(s3.get_fast_reader(access, bucket), key, options=options).bytes())  # type: ignore[arg-type]  # a TypedDict
    except (BaseError, OSError, ValueError):  # a key that obstore cannot write, or any answer but the bytes
        return _get_by_boto3(ref, access, part)


def _get_by_boto3(ref: ImageRef, access: Access, part: tuple[int, int] | None) -> bytes:
    bucket, key = s3.split(ref.uri)
    only = {"Range": f"bytes={part[0]}-{part[1] - 1}"} if part else {}
    try:
        answer = s3.get_client(access).get_object(Bucket=bucket, Key=key, IfMatch=f'"{ref.mtime_or_etag}"', **only)
        return bytes(answer["Body"].read())
    except s3.get_errors() as error:
        raise s3.make_bad_image_error(error) from None


class _RangedFile(io.RawIOBase):
    """See `open_stream`."""

    def __init__(self, ref: ImageRef, access: Access) -> None:
        self._ref, self._access, self._position = ref, access, 0
        self._start, self._chunk, self._next = 0, b"", FIRST_CHUNK

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ref.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._ref.size:
            return 0
        inside = self._position - self._start
        if not 0 <= inside < len(self._chunk):
            self._fill()
            inside = 0
        data = self._chunk[inside : inside + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _fill(self) -> None:
        follows = self._chunk and self._position == self._start + len(self._chunk)
        self._next = min(2 * self._next, LARGEST_CHUNK) if follows else FIRST_CHUNK
        self._start = self._position
        self._chunk = _get(self._ref, self._access, (self._start, min(self._start + self._next, self._ref.size)))
        if not self._chunk:
            raise BadImageError(ErrorCode.READ_FAILED, "reading failed: S3 sent nothing")

    def read(self, size: int = -1) -> bytes:
        """Return as many bytes as asked for, fewer only at the end, as a file does and a pipe does not."""
        wanted = self._ref.size - self._position if size is None or size < 0 else size
        data = bytearray()
        while len(data) < wanted and (part := super().read(wanted - len(data))):
            data += part
        return bytes(data)


def is_file(uri: str, access: Access) -> bool:
    """Return whether there is an object of exactly this name; an object that exists is looked up only once."""
    try:
        return not uri.endswith("/") and bool(s3.split(uri)[1]) and _did_exist(uri, access)
    except FileNotFoundError:
        return False


@lru_cache(maxsize=1024)
def _did_exist(uri: str, access: Access) -> bool:
    if not stat(uri, access).mtime_or_etag:
        raise FileNotFoundError(uri)  # raised, since `lru_cache` keeps what is returned
    return True
