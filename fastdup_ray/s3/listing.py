"""List the objects below a prefix of a bucket, by many requests at once.

The listing is divided by the folders in the prefix; if there are none, or too many, by the next character of the keys.
Pages are requested by obstore, which needs a twentieth of the CPU time of boto3. boto3 is used for keys that obstore
refuses (such as `a//b`), and to find the reason if a listing fails.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from heapq import merge
from itertools import chain, islice, takewhile
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray import s3
from fastdup_ray.common import locations
from fastdup_ray.common.access import Access
from fastdup_ray.common.records import ImageRef
from fastdup_ray.common.ref_tables import iter_refs, make_ref_table, sort_refs
from fastdup_ray.common.requests import LISTING_THREADS, count_request
from fastdup_ray.errors import InputError
from fastdup_ray.s3.objects import make_ref

MOST_FOLDERS = 256
"""Folders that are listed separately, at a request each; one request lists a thousand objects."""

MOST_COMMON = 64
"""Characters that all keys may have in common; after these, the listing is not divided by the next character."""

_LAST = "\U0010ffff"
"""The highest character that a key can contain."""


@dataclass(frozen=True, slots=True)
class _Share:
    """A range of keys: those below `folder` that come after `after` and begin with `start`."""

    folder: str
    after: str | None
    start: str

    @classmethod
    def whole(cls, folder: str) -> "_Share":
        return cls(folder, None, folder)


def check_listing(uri: str, access: Access, *, seconds: int | None = None) -> None:
    """Raise `InputError` if the objects below `uri` cannot be listed.

    Args:
        uri: The bucket and prefix.
        access: How the bucket is accessed.
        seconds: Send one request, and wait this long; None: repeat it as a run does.
    """
    bucket, prefix = locations.split_folder(uri)
    client = s3.get_client(access) if seconds is None else s3.make_brief_client(access, seconds)
    try:
        client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except s3.get_errors() as error:
        raise _make_error(uri, error) from None


def list_below(uri: str, wanted: Callable[[ImageRef], bool], access: Access) -> Iterator[ImageRef]:
    """List the objects below a prefix, sorted by the bytes of their keys (not every server sorts them).

    Args:
        uri: the bucket and prefix.
        wanted: which objects to include; called in threads.
        access: how the bucket is accessed.

    Raises:
        InputError: where listing fails.
    """
    bucket, prefix = locations.split_folder(uri)

    def list_share(share: _Share) -> pa.Table:
        return sort_refs(filter(wanted, iter_refs(_list_share(bucket, share, access))))

    try:
        shares, others = _divide(bucket, prefix, access)
        shares.sort(key=lambda share: os.fsencode(share.start))  # no key of one is between those of another
        with ThreadPoolExecutor(LISTING_THREADS) as pool:
            tables = [sort_refs(filter(wanted, others)), *pool.map(list_share, shares)]
            empty = [ref for table in tables for ref in iter_refs(table.filter(pc.equal(table["size"], 0)))]
            are_markers = pool.map(lambda ref: _is_marker(ref, access), empty)
            markers = {ref.uri for ref, is_marker in zip(empty, are_markers, strict=True) if is_marker}
    except s3.get_errors() as error:
        raise _make_error(uri, error) from None
    first, rest = iter_refs(tables[0]), chain.from_iterable(map(iter_refs, tables[1:]))
    refs = merge(first, rest, key=lambda ref: os.fsencode(ref.uri)) if len(tables[0]) else rest
    return (ref for ref in refs if ref.uri not in markers)


def _divide(bucket: str, prefix: str, access: Access) -> tuple[list[_Share], list[ImageRef]]:
    """Return ranges to list at once, and the objects that were seen on the way, which are in none of these."""
    others: list[ImageRef] = []
    while True:
        pages = list(islice(_iter_pages(access, Bucket=bucket, Prefix=prefix, Delimiter="/"), 2))
        folders = [folder["Prefix"] for page in pages for folder in page.get("CommonPrefixes", ())]
        if len(pages) > 1 or len(folders) > MOST_FOLDERS:
            return _divide_by_next_character(bucket, prefix, access), others
        others += _make_refs(bucket, pages)
        if len(folders) != 1:
            return list(map(_Share.whole, folders)), others
        prefix = folders[0]


def _divide_by_next_character(bucket: str, folder: str, access: Access) -> list[_Share]:
    """Divide the keys by the first character in which they differ; if there is no such character, return one range."""
    common = folder
    for _ in range(MOST_COMMON):
        characters = _find_next_characters(bucket, common, access)
        if len(characters) > 1:
            after = [None, *(common + character + _LAST for character in characters)]
            return [_Share(folder, start, common + c) for start, c in zip(after, characters, strict=False)]
        if not characters:
            break
        common += characters[0]
    return [_Share.whole(folder)]


def _find_next_characters(bucket: str, prefix: str, access: Access) -> list[str]:
    """Return the characters that follow `prefix` in the keys, in order.

    The list is empty if a key ends there, or if the server sorts some keys with the same beginning after `_LAST`.
    """
    characters: list[str] = []
    after = prefix if prefix.endswith("/") else prefix[:-1]
    while True:
        page = s3.get_client(access).list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=after, MaxKeys=1)
        if not (keys := [facts["Key"] for facts in page.get("Contents", ())]):
            return characters
        character = keys[0][len(prefix) :][:1]
        if not character or character in characters:
            return []
        characters.append(character)
        after = prefix + character + _LAST


def _list_share(bucket: str, share: _Share, access: Access) -> pa.Table:
    from obstore.exceptions import BaseError

    start = s3.make_uri(bucket, share.start)
    try:
        refs = _list_by_obstore(bucket, share, access)
        return make_ref_table(takewhile(lambda ref: ref.uri.startswith(start), refs))
    except (BaseError, OSError, ValueError):  # a key that obstore cannot write, or any answer but a page
        after = {"StartAfter": share.after} if share.after else {}
        refs = _make_refs(bucket, _iter_pages(access, Bucket=bucket, Prefix=share.folder, **after))
        return make_ref_table(takewhile(lambda ref: ref.uri.startswith(start), refs))


def _list_by_obstore(bucket: str, share: _Share, access: Access) -> Iterator[ImageRef]:
    """List a range by obstore; raise `ValueError` if keys would come out changed.

    obstore removes slashes. It does not ask for URL encoding, so some servers send U+FFFD for what XML cannot hold.
    """
    import obstore

    if not share.start or (share.after or share.start).startswith("/"):
        raise ValueError(share)
    reader = s3.get_fast_reader(access, bucket)
    for page in obstore.list(reader, share.folder or None, offset=share.after, chunk_size=s3.PAGE):
        count_request()  # each chunk is about one page
        for facts in page:
            if "\ufffd" in facts["path"]:
                raise ValueError(facts["path"])
            if facts["path"].startswith(share.folder):  # the marker of the folder itself is listed, too
                yield ImageRef(s3.make_uri(bucket, facts["path"]), facts["size"], (facts["e_tag"] or "").strip('"'))


def _is_marker(ref: ImageRef, access: Access) -> bool:
    """Return whether an empty object is in truth named `ref.uri` + `/`, as the markers of folders are.

    obstore lists both under the same name. S3 lists the object without the slash first, if there is one.
    """
    bucket, key = locations.split(ref.uri)
    page = s3.get_client(access).list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    return [facts["Key"] for facts in page.get("Contents", ())] == [key + "/"]


def _make_refs(bucket: str, pages: Iterable[dict[str, Any]]) -> Iterator[ImageRef]:
    found = (facts for page in pages for facts in page.get("Contents", ()))
    return (make_ref(s3.make_uri(bucket, facts["Key"]), facts) for facts in found if not facts["Key"].endswith("/"))


def _iter_pages(access: Access, **request: Any) -> Iterator[dict[str, Any]]:
    page = {"PageSize": s3.PAGE}
    return iter(s3.get_client(access).get_paginator("list_objects_v2").paginate(**request, PaginationConfig=page))


def _make_error(uri: str, error: Exception) -> InputError:
    s3.refuse_credentials(error)
    bucket = locations.split(uri)[0]
    if s3.get_error_code(error) == "NoSuchBucket":
        return InputError(f"Input {uri!r}: the bucket {bucket!r} does not exist; is AWS_ENDPOINT_URL right?")
    return InputError(f"Input {uri!r} cannot be listed ({s3.describe_error(error)}).")
