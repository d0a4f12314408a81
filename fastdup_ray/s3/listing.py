"""Objects in S3: listed below a prefix, by many requests side by side.

A prefix is listed by the folders in it; where there are none, or too many, by the next character of the keys. Pages
are taken by obstore, which needs a twentieth of the CPU of boto3; boto3 takes them where a key has a form that obstore
refuses (`a//b`, say), and tells the reason where a listing fails.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

from fastdup_ray import s3
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import InputError
from fastdup_ray.s3 import Access
from fastdup_ray.s3.objects import make_ref

LISTING_THREADS = 16
"""Requests at once that list keys, or look at objects one by one."""

MOST_FOLDERS = 256
"""That are listed one by one: a request each, where a thousand objects take one."""

MOST_COMMON = 64
"""Characters that all keys may have in common before it is no longer tried to share them out by the next one."""

_LAST = "\U0010ffff"
"""No key goes on with a higher one."""


@dataclass(frozen=True, slots=True)
class _Share:
    """The keys below `folder` that come after `after` and begin with `start`: they stand in a row."""

    folder: str
    after: str | None
    start: str

    @classmethod
    def whole(cls, folder: str) -> "_Share":
        return cls(folder, None, folder)


def check_listing(uri: str, access: Access) -> None:
    """`InputError` where what is below `uri` cannot be listed."""
    bucket, prefix = s3.split_folder(uri)
    try:
        s3.get_client(access).list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except s3.get_errors() as error:
        raise _make_error(uri, error) from None


def list_below(uri: str, wanted: Callable[[ImageRef], bool], access: Access) -> Iterator[ImageRef]:
    """The objects below `uri` that are `wanted`, sorted by the bytes of their keys: not every server does that.

    `InputError` where listing fails.
    """
    bucket, prefix = s3.split_folder(uri)

    def refs_of(share: _Share) -> list[ImageRef]:
        return [ref for ref in _list_share(bucket, share, access) if wanted(ref)]

    try:
        shares, beside = _divide(bucket, prefix, access)
        with ThreadPoolExecutor(LISTING_THREADS) as pool:
            refs = [ref for part in pool.map(refs_of, shares) for ref in part]
            refs += [ref for ref in beside if wanted(ref)]
            empty = [ref for ref in refs if ref.size == 0]
            are_markers = pool.map(lambda ref: _is_marker(ref, access), empty)
            markers = {ref.uri for ref, is_marker in zip(empty, are_markers, strict=True) if is_marker}
    except s3.get_errors() as error:
        raise _make_error(uri, error) from None
    refs.sort(key=lambda ref: os.fsencode(ref.uri))
    return (ref for ref in refs if ref.uri not in markers)


def _divide(bucket: str, prefix: str, access: Access) -> tuple[list[_Share], list[ImageRef]]:
    """What to list side by side, and the objects that were seen on the way, which are in none of these."""
    beside: list[ImageRef] = []
    while True:
        pages = list(islice(_iter_pages(access, Bucket=bucket, Prefix=prefix, Delimiter="/"), 2))
        folders = [folder["Prefix"] for page in pages for folder in page.get("CommonPrefixes", ())]
        if len(pages) > 1 or len(folders) > MOST_FOLDERS:
            return _divide_by_next_character(bucket, prefix, access), beside
        beside += _make_refs(bucket, pages)
        if len(folders) != 1:
            return list(map(_Share.whole, folders)), beside
        prefix = folders[0]


def _divide_by_next_character(bucket: str, folder: str, access: Access) -> list[_Share]:
    """By the first character in which the keys differ; all as one share where that cannot be told."""
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
    """With which the keys below `prefix` go on, in order.

    None where a key ends there, or where by the server's order some of those that begin alike come after `_LAST`.
    """
    found: list[str] = []
    after = prefix if prefix.endswith("/") else prefix[:-1]
    while True:
        page = s3.get_client(access).list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=after, MaxKeys=1)
        if not (keys := [facts["Key"] for facts in page.get("Contents", ())]):
            return found
        character = keys[0][len(prefix) :][:1]
        if not character or character in found:
            return []
        found.append(character)
        after = prefix + character + _LAST


def _list_share(bucket: str, share: _Share, access: Access) -> list[ImageRef]:
    from obstore.exceptions import BaseError

    start = s3.make_uri(bucket, share.start)
    try:
        return list(takewhile(lambda ref: ref.uri.startswith(start), _list_by_obstore(bucket, share, access)))
    except (BaseError, OSError, ValueError):  # a key that obstore cannot say, or any answer but a page
        after = {"StartAfter": share.after} if share.after else {}
        refs = _make_refs(bucket, _iter_pages(access, Bucket=bucket, Prefix=share.folder, **after))
        return list(takewhile(lambda ref: ref.uri.startswith(start), refs))


def _list_by_obstore(bucket: str, share: _Share, access: Access) -> Iterator[ImageRef]:
    """`ValueError` where it would tell keys by other names: it takes slashes off, and some servers send U+FFFD for what
    XML cannot hold, as they are not asked for URL encoding.
    """
    import obstore

    if not share.start or (share.after or share.start).startswith("/"):
        raise ValueError(share)
    reader = s3.get_fast_reader(access, bucket)
    for page in obstore.list(reader, share.folder or None, offset=share.after, chunk_size=s3.PAGE):
        s3.count_request()  # a page, or a little more, each
        for facts in page:
            if "\ufffd" in facts["path"]:
                raise ValueError(facts["path"])
            if facts["path"].startswith(share.folder):  # what stands for the folder itself is listed, too
                yield ImageRef(s3.make_uri(bucket, facts["path"]), facts["size"], facts["e_tag"].strip('"'))


def _is_marker(ref: ImageRef, access: Access) -> bool:
    """Whether an empty object is named `ref.uri` and a `/`, as those are that stand for folders: obstore tells neither.

    S3 lists the object without the slash first, if there is one.
    """
    bucket, key = s3.split(ref.uri)
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
    bucket = s3.split(uri)[0]
    if s3.get_error_code(error) == "NoSuchBucket":
        return InputError(f"Input {uri!r}: the bucket {bucket!r} does not exist; is AWS_ENDPOINT_URL right?")
    return InputError(f"Input {uri!r} cannot be listed ({s3.describe_error(error)}).")
