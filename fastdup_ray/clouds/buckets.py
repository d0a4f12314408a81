"""Objects in the buckets of a cloud: their entries, their bytes and their listing.

The token of an object is its ETag. A get asks for that version, and compares the ETag of the answer, too, since not
every server minds the condition.
"""

import io
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

from fastdup_ray.clouds.cloud import Cloud, ObjectStore
from fastdup_ray.clouds.errors import (
    describe_error,
    get_errors,
    is_bucket_missing,
    make_bad_image_error,
    make_changed_error,
    refuse_credentials,
)
from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import make_uri, split, split_folder
from fastdup_ray.common.ranged_file import READ_AT_ONCE, open_ranges
from fastdup_ray.common.records import ImageRef
from fastdup_ray.common.ref_tables import iter_refs, sort_refs
from fastdup_ray.common.requests import count_request
from fastdup_ray.errors import InputError

_PAGE = 1000
"""Objects of a page of a listing."""


class BucketSource:
    """The objects of one cloud; see `fastdup_ray.inputs.file_source.RemoteSource`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def stat(self, uri: str, access: Access) -> ImageRef:
        from obstore import head

        bucket, key = split(uri)
        try:
            count_request()
            return _make_ref(uri, head(self._open_bucket(bucket, access), key))
        except get_errors() as error:
            refuse_credentials(error, self._cloud, access)
            return ImageRef(uri, 0, "")

    def is_file(self, uri: str, access: Access) -> bool:
        """Return whether there is an object of exactly this name; an object that exists is looked up only once."""
        try:
            return not uri.endswith("/") and bool(split(uri)[1]) and _did_exist(self, uri, access)
        except FileNotFoundError:
            return False

    @contextmanager
    def open_entry(self, ref: ImageRef, access: Access, *, parts: bool = False) -> Iterator[BinaryIO]:
        if not ref.mtime_or_etag:
            ref, data = self._get_current(ref.uri, access, parts=parts)
            yield io.BytesIO(data) if data is not None else self.open_stream(ref, access)
        elif parts or ref.size > READ_AT_ONCE:
            yield self.open_stream(ref, access)
        else:
            yield io.BytesIO(self._get(ref, access))

    def open_stream(self, ref: ImageRef, access: Access) -> BinaryIO:
        return open_ranges(ref.size, lambda start, stop: self._get(ref, access, (start, stop)))

    def check_listing(self, uri: str, access: Access, *, seconds: int | None = None) -> None:
        bucket, prefix = split_folder(uri)
        try:
            next(_iter_pages(self._open_bucket(bucket, access, seconds), prefix), None)
        except get_errors() as error:
            raise self._make_listing_error(uri, error, access) from None

    def list_below(self, uri: str, wanted: Callable[[ImageRef], bool], access: Access) -> Iterator[ImageRef]:
        bucket, prefix = split_folder(uri)
        try:
            pages = _iter_pages(self._open_bucket(bucket, access), prefix)
            return iter_refs(sort_refs(filter(wanted, self._make_refs(bucket, pages))))
        except get_errors() as error:
            raise self._make_listing_error(uri, error, access) from None

    def _open_bucket(self, bucket: str, access: Access, seconds: int | None = None) -> ObjectStore:
        """Return the store of a bucket; raise `InputError` for credentials that are none, whatever they are for."""
        try:
            if seconds is not None:
                return self._cloud.open_briefly(bucket, access, seconds)
            return self._cloud.open_bucket(bucket, access)
        except get_errors() as error:
            raise InputError(
                f"{self._cloud.name} cannot be used on {platform.node()} ({describe_error(error)}): check "
                f"{self._cloud.credentials}."
            ) from None

    def _make_refs(self, bucket: str, pages: Iterable[Sequence[Any]]) -> Iterator[ImageRef]:
        found = (facts for page in pages for facts in page)
        return (_make_ref(make_uri(self._cloud.scheme, bucket, facts["path"]), facts) for facts in found)

    def _get_current(self, uri: str, access: Access, *, parts: bool) -> tuple[ImageRef, bytes | None]:
        """Return the entry of an object as it is now, and its bytes, unless only parts of it are to be read."""
        from obstore import get

        bucket, key = split(uri)
        try:
            answer = get(self._open_bucket(bucket, access), key)
            ref = _make_ref(uri, answer.meta)
            return ref, None if parts or ref.size > READ_AT_ONCE else bytes(answer.bytes())
        except get_errors() as error:
            raise make_bad_image_error(error, self._cloud, access) from None

    def _get(self, ref: ImageRef, access: Access, part: tuple[int, int] | None = None) -> bytes:
        """Return the bytes of an object, or [start, stop) of them, if it is still the version that was listed."""
        from obstore import get

        bucket, key = split(ref.uri)
        options: Any = {"if_match": f'"{ref.mtime_or_etag}"'} | ({"range": part} if part else {})
        try:
            answer = get(self._open_bucket(bucket, access), key, options=options)
            if _make_token(answer.meta) != ref.mtime_or_etag:
                raise make_changed_error()
            return bytes(answer.bytes())
        except get_errors() as error:
            raise make_bad_image_error(error, self._cloud, access) from None

    def _make_listing_error(self, uri: str, error: Exception, access: Access) -> InputError:
        from obstore.exceptions import InvalidPathError

        refuse_credentials(error, self._cloud, access)
        if is_bucket_missing(error):
            return InputError(f"Input {uri!r}: the bucket {split(uri)[0]!r} does not exist.")
        if isinstance(error, (InvalidPathError, ValueError)):
            reason = str(error).splitlines()[0]
            return InputError(f"Input {uri!r} cannot be listed: rename the object with this name ({reason}).")
        return InputError(f"Input {uri!r} cannot be listed ({describe_error(error)}).")


def _iter_pages(store: ObjectStore, prefix: str) -> Iterator[Sequence[Any]]:
    import obstore

    for page in obstore.list(store, prefix.rstrip("/") or None, chunk_size=_PAGE):
        count_request()  # each chunk is about one page
        yield page


def _make_ref(uri: str, facts: Any) -> ImageRef:
    return ImageRef(uri, facts["size"], _make_token(facts))


def _make_token(facts: Any) -> str:
    return str(facts["e_tag"] or facts["version"] or facts["last_modified"].timestamp()).strip('"')


@lru_cache(maxsize=1024)
def _did_exist(source: BucketSource, uri: str, access: Access) -> bool:
    if not source.stat(uri, access).mtime_or_etag:
        raise FileNotFoundError(uri)  # raised, since `lru_cache` keeps what is returned
    return True
