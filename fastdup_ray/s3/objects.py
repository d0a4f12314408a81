"""Objects in S3: their entries and their bytes.

The token of an object is its ETag; a get asks for that one (`If-Match`), so that what changed under way is told.
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
"""Bytes up to which an object is got at once; of larger ones, and where only parts are wanted, as they are read."""

FIRST_CHUNK, LARGEST_CHUNK = 256 << 10, 8 << 20
"""Bytes that are got at a time: more and more, as long as they are read one after the other."""


def make_ref(uri: str, facts: dict[str, Any]) -> ImageRef:
    """facts: what a listing, or a head, says of an object."""
    return ImageRef(uri, facts.get("Size", facts.get("ContentLength", 0)), facts["ETag"].strip('"'))


def stat(uri: str, access: Access) -> ImageRef:
    """The entry of an object; one that cannot be looked at has size 0 and no token, and says why when it is read."""
    bucket, key = s3.split(uri)
    try:
        return make_ref(uri, s3.get_client(access).head_object(Bucket=bucket, Key=key))
    except s3.get_errors() as error:
        s3.refuse_credentials(error)
        return ImageRef(uri, 0, "")


@contextmanager
def open_entry(ref: ImageRef, access: Access, *, parts: bool = False) -> Iterator[BinaryIO]:
    """A file to read from: the object as it was listed, or as it is now where nothing is known of it.

    parts: only some of it will be read.
    """
    if not ref.mtime_or_etag:
        yield _open_as_is(ref.uri, access, parts=parts)
    elif parts or ref.size > READ_AT_ONCE:
        yield open_stream(ref, access)
    else:
        yield io.BytesIO(_get(ref, access))


def _open_as_is(uri: str, access: Access, *, parts: bool) -> BinaryIO:
    """A get tells why it is refused; a head does not."""
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
    """The object as a file of which only those parts are got that are read; without any hurry to be closed."""
    return _RangedFile(ref, access)  # type: ignore[return-value]


def _get(ref: ImageRef, access: Access, part: tuple[int, int] | None = None) -> bytes:
    """The bytes of an object, or [start, stop) of them, if it is still the one that was listed."""
    from obstore import get
    from obstore.exceptions import BaseError

    bucket, key = s3.split(ref.uri)
    options: dict[str, Any] = {"if_match": f'"{ref.mtime_or_etag}"'} | ({"range": part} if part else {})
    try:
        return bytes(get(s3.get_fast_reader(access, bucket), key, options=options).bytes())  # type: ignore[arg-type]
    except (BaseError, OSError, ValueError):  # a key that obstore cannot say, or any answer but the bytes
        return _get_by_boto3(ref, access, part)


def _get_by_boto3(ref: ImageRef, access: Access, part: tuple[int, int] | None) -> bytes:
    bucket, key = s3.split(ref.uri)
    only = {"Range": f"bytes={part[0]}-{part[1] - 1}"} if part else {}
    try:
        answer = s3.get_client(access).get_object(Bucket=bucket, Key=key, IfMatch=f'"{ref.mtime_or_etag}"', **only)
        return answer["Body"].read()
    except s3.get_errors() as error:
        raise s3.make_bad_image_error(error) from None


class _RangedFile(io.RawIOBase):
    """See `stream`."""

    def __init__(self, ref: ImageRef, access: Access):
        self._ref, self._access, self._place = ref, access, 0
        self._start, self._chunk, self._next = 0, b"", FIRST_CHUNK

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._ref.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        if self._place >= self._ref.size:
            return 0
        inside = self._place - self._start
        if not 0 <= inside < len(self._chunk):
            self._fill()
            inside = 0
        data = self._chunk[inside : inside + len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def _fill(self) -> None:
        follows = self._chunk and self._place == self._start + len(self._chunk)
        self._next = min(2 * self._next, LARGEST_CHUNK) if follows else FIRST_CHUNK
        self._start = self._place
        self._chunk = _get(self._ref, self._access, (self._start, min(self._start + self._next, self._ref.size)))
        if not self._chunk:
            raise BadImageError(ErrorCode.READ_FAILED, "reading failed: S3 sent nothing")

    def read(self, size: int = -1) -> bytes:
        """As many bytes as asked for, fewer only at the end: like a file, unlike a pipe."""
        wanted = self._ref.size - self._place if size is None or size < 0 else size
        data = bytearray()
        while len(data) < wanted and (part := super().read(wanted - len(data))):
            data += part
        return bytes(data)


def is_file(uri: str, access: Access) -> bool:
    """Whether there is an object of exactly this name; one that was there is not asked for again."""
    try:
        return not uri.endswith("/") and bool(s3.split(uri)[1]) and _did_exist(uri, access)
    except FileNotFoundError:
        return False


@lru_cache(maxsize=1024)
def _did_exist(uri: str, access: Access) -> bool:
    if not stat(uri, access).mtime_or_etag:
        raise FileNotFoundError(uri)  # an answer that is not kept
    return True
