"""Pictures in buckets: what is moved is copied by the server, compared, and only then taken from its place."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlencode

from fastdup_ray import s3
from fastdup_ray.common.records import ImageRef
from fastdup_ray.curation.file_ops.identity import Known, Link
from fastdup_ray.errors import BadImageError, RefusedError
from fastdup_ray.s3 import objects

LARGEST = 5 << 30
"""Bytes of an object that S3 copies in one request; of a larger one it takes parts."""

PART = 512 << 20
"""Bytes of such a part: 10,000 of them are the largest object there is."""

_UNKNOWN_CONDITION = ("NotImplemented", "501", "InvalidArgument")
"""What servers answer that do not know a condition."""

_CARRIED = (
    *("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires"),
    *("Metadata", "StorageClass", "WebsiteRedirectLocation"),
)
"""What S3 says of an object, and carries over by itself only where it copies it in one request."""


class S3Place:
    """See `fastdup_ray.curation.file_ops.Place`."""

    def exists(self, name: str) -> bool:
        return _head(name) is not None

    def neighbours(self, name: str) -> list[str]:
        folder = name.rpartition("/")[0] + "/"
        bucket, prefix = s3.split(folder)
        with _told("its folder cannot be listed"):
            pages = (
                s3.client()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=bucket, Prefix=prefix, Delimiter="/", **s3.payer())
            )
            keys = [facts["Key"] for page in pages for facts in page.get("Contents", ())]
        return sorted(s3.uri_of(bucket, key) for key in keys if not key.endswith("/"))

    def identity(self, name: str) -> str:
        return name

    def real(self, folder: str) -> str:
        """A bucket has no links."""
        return folder

    def describe(self, name: str) -> Known:
        ref = _checked(name, Known())
        return Known(ref.size, etag=ref.mtime_or_etag)

    def known_as_copy(self, copy: str, known: Known) -> Known:
        """By its ETag; the server may have given the copy another one, then by its bytes, as far as they are known."""
        facts = _head(copy) or {}
        same = known.etag and facts.get("ETag", "").strip('"') == known.etag
        return Known(known.size, etag=known.etag) if same else Known(known.size, known.sha256)

    def check(self, name: str, known: Known) -> None:
        _checked(name, known)

    @contextmanager
    def held(self, name: str, known: Known) -> Iterator[None]:
        """Nothing can be held in a bucket; that of the quarantine has its lock."""
        _checked(name, known)
        yield

    def move(self, source: str, target: str, known: Known) -> None:
        ref = _checked(source, known)
        _copy(ref, target, known)
        _take_away(ref)

    def link(self, source: str, target: str, kind: Link) -> None:
        if kind != "copy":
            raise RefusedError("buckets have no links: use --link copy")
        _copy(_checked(source, Known()), target, Known())

    def remove_empty(self, folder: str) -> None:
        """A folder of a bucket is not there where nothing is in it."""


def _head(name: str) -> dict[str, Any] | None:
    """What S3 says of an object; None where there is none."""
    with _told("it cannot be looked at"):
        try:
            return s3.client().head_object(**_object(name), **s3.payer())
        except Exception as error:
            if s3.is_missing(error):
                return None
            raise


def _checked(name: str, known: Known) -> ImageRef:
    """The object, if it is the one that is known; by its ETag, else by its bytes."""
    facts = _head(name)
    if facts is None:
        raise RefusedError("it is gone")
    ref = objects.ref_of(name, facts)
    if known.size is not None and ref.size != known.size:
        raise RefusedError(f"it changed: {ref.size:,} bytes, {known.size:,} at the run")
    if known.etag:
        if ref.mtime_or_etag != known.etag:
            raise RefusedError("it changed: another ETag than at the run")
    elif known.sha256 and _sha256(ref) != known.sha256:
        raise RefusedError("it changed: other bytes than at the run")
    return ref


def _copy(ref: ImageRef, target: str, known: Known) -> None:
    """A copy that is proven; an equal one that an earlier call left will do. Never over another object."""
    there = _head(target)
    wrong = f"{target!r} exists already, and is another object"
    if there is None:
        with _told(f"it cannot be copied to {target!r}"):
            copied = _conditional(_copy_in_parts if ref.size > LARGEST else _copy_at_once, ref, target)
        there = _head(target)
        if there is None:
            raise RefusedError("it changed meanwhile" if not copied else "its copy cannot be found")
        if copied:
            wrong = f"its copy {target!r} came out different, and was left there"
    if not _is_same(ref, objects.ref_of(target, there), known):
        raise RefusedError(wrong)


def _conditional(copy: Callable[..., None], ref: ImageRef, target: str) -> bool:
    """Copies where nothing is; False where the server found otherwise, as it does of a try whose answer was lost."""
    try:
        copy(ref, target, IfNoneMatch="*")
    except Exception as error:
        if s3.is_refused_condition(error):
            return False
        if s3.code_of(error) not in _UNKNOWN_CONDITION:
            raise
        copy(ref, target)
    return True


def _source(ref: ImageRef) -> dict[str, Any]:
    """The object that is to be copied, and only as it was checked."""
    return {"CopySource": _object(ref.uri), "CopySourceIfMatch": f'"{ref.mtime_or_etag}"'}


def _copy_at_once(ref: ImageRef, target: str, **condition: str) -> None:
    """The server carries over what it knows of the object, and its tags; the storage class has to be said."""
    storage = (_head(ref.uri) or {}).get("StorageClass", "STANDARD")
    s3.client().copy_object(**_object(target), **_source(ref), StorageClass=storage, **condition, **s3.payer())


def _copy_in_parts(ref: ImageRef, target: str, **condition: str) -> None:
    facts = {name: value for name, value in (_head(ref.uri) or {}).items() if name in _CARRIED}
    tags = s3.client().get_object_tagging(**_object(ref.uri), **s3.payer())["TagSet"]
    if tags:
        facts["Tagging"] = urlencode([(tag["Key"], tag["Value"]) for tag in tags])
    upload = s3.client().create_multipart_upload(**_object(target), **facts, **s3.payer())
    place = {**_object(target), "UploadId": upload["UploadId"], **s3.payer()}
    try:
        parts = [
            {"PartNumber": number, "ETag": _copy_part(ref, start, **place, PartNumber=number)}
            for number, start in enumerate(range(0, ref.size, PART), 1)
        ]
        s3.client().complete_multipart_upload(**place, MultipartUpload={"Parts": parts}, **condition)
    except BaseException:
        with suppress(Exception):  # what is not completed is not seen, but paid for
            s3.client().abort_multipart_upload(**place)
        raise


def _copy_part(ref: ImageRef, start: int, **part: Any) -> str:
    """Returns the ETag."""
    range_ = f"bytes={start}-{min(start + PART, ref.size) - 1}"
    answer = s3.client().upload_part_copy(**_source(ref), CopySourceRange=range_, **part)
    return answer["CopyPartResult"]["ETag"]


def _is_same(ref: ImageRef, copy: ImageRef, known: Known) -> bool:
    """Whether an object is a whole copy: by the ETag where that is one of the bytes, else by reading it."""
    if ref.size != copy.size:
        return False
    if ref.mtime_or_etag == copy.mtime_or_etag and "-" not in ref.mtime_or_etag:
        return True
    return _sha256(copy) == (known.sha256 or _sha256(ref))


def _sha256(ref: ImageRef) -> str:
    try:
        with objects.opened(ref) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except BadImageError as error:
        raise RefusedError(error.message) from None


def _take_away(ref: ImageRef) -> None:
    """Deletes an object of which there is a proven copy, if it is still the one that was copied.

    No version is named: in a bucket with versions the object stays, under a delete marker.
    """
    _checked(ref.uri, Known(ref.size, etag=ref.mtime_or_etag))  # not every server minds the condition
    with _told("it was copied, and cannot be taken from its place"):
        try:
            s3.client().delete_object(**_object(ref.uri), IfMatch=f'"{ref.mtime_or_etag}"', **s3.payer())
        except Exception as error:
            if (s3.is_missing(error) or s3.is_refused_condition(error)) and _head(ref.uri) is None:
                return  # the answer of an earlier try was lost
            if s3.code_of(error) not in _UNKNOWN_CONDITION:
                raise
            s3.client().delete_object(**_object(ref.uri), **s3.payer())


def _object(name: str) -> dict[str, str]:
    bucket, key = s3.split(name)
    return {"Bucket": bucket, "Key": key}


@contextmanager
def _told(what: str) -> Iterator[None]:
    """boto3's errors as a reason why one object stays; `InputError` where the credentials are the reason."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        s3.refuse_credentials(error)
        if s3.is_refused_condition(error):
            raise RefusedError(f"{what}: it changed, or another object took the name, meanwhile") from None
        raise RefusedError(f"{what}: {s3.told(error)}") from None
