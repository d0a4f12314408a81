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
from fastdup_ray.common import locations
from fastdup_ray.common.access import Access
from fastdup_ray.common.ranged_file import READ_AT_ONCE, open_ranges
from fastdup_ray.common.records import ImageRef


def make_ref(uri: str, facts: dict[str, Any]) -> ImageRef:
    """Return the entry of an object from its item of a listing, or from the answer to a head or get."""
    return ImageRef(uri, facts.get("Size", facts.get("ContentLength", 0)), facts["ETag"].strip('"'))


def stat(uri: str, access: Access) -> ImageRef:
    """Return the entry of an object; with size 0 and no token if the request fails: reading it gives the reason."""
    bucket, key = locations.split(uri)
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
    bucket, key = locations.split(uri)
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
    return open_ranges(ref.size, lambda start, stop: _get(ref, access, (start, stop)))


def _get(ref: ImageRef, access: Access, part: tuple[int, int] | None = None) -> bytes:
    """Return the bytes of an object, or [start, stop) of them, if it is still the version that was listed."""
    from obstore import get
    from obstore.exceptions import BaseError

    bucket, key = locations.split(ref.uri)
    options: dict[str, Any] = {"if_match": f'"{ref.mtime_or_etag}"'} | ({"range": part} if part else {})
    try:
        return bytes(get(s3.get_fast_reader(access, bucket), key, options=options).bytes())  # type: ignore[arg-type]  # a TypedDict
    except (BaseError, OSError, ValueError):  # a key that obstore cannot write, or any answer but the bytes
        return _get_by_boto3(ref, access, part)


def _get_by_boto3(ref: ImageRef, access: Access, part: tuple[int, int] | None) -> bytes:
    bucket, key = locations.split(ref.uri)
    only = {"Range": f"bytes={part[0]}-{part[1] - 1}"} if part else {}
    try:
        answer = s3.get_client(access).get_object(Bucket=bucket, Key=key, IfMatch=f'"{ref.mtime_or_etag}"', **only)
        return bytes(answer["Body"].read())
    except s3.get_errors() as error:
        raise s3.make_bad_image_error(error) from None


def is_file(uri: str, access: Access) -> bool:
    """Return whether there is an object of exactly this name; an object that exists is looked up only once."""
    try:
        return not uri.endswith("/") and bool(locations.split(uri)[1]) and _did_exist(uri, access)
    except FileNotFoundError:
        return False


@lru_cache(maxsize=1024)
def _did_exist(uri: str, access: Access) -> bool:
    if not stat(uri, access).mtime_or_etag:
        raise FileNotFoundError(uri)  # raised, since `lru_cache` keeps what is returned
    return True
