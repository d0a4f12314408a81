"""Move images in buckets: the server copies the object, the copy is verified, then the source is deleted."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlencode

from fastdup_ray import s3
from fastdup_ray.common import locations
from fastdup_ray.common.access import Access
from fastdup_ray.common.records import ImageRef
from fastdup_ray.curation.file_ops.identity import FileIdentity, Link
from fastdup_ray.errors import BadImageError, RefusedError
from fastdup_ray.s3 import objects

LARGEST = 5 << 30
"""Size in bytes up to which S3 copies an object in one request; larger ones are copied in parts."""

PART = 512 << 20
"""Bytes of such a part; 10,000 of them make the largest object that S3 allows."""

_UNKNOWN_CONDITION = ("NotImplemented", "501", "InvalidArgument")
"""Error codes of servers that do not support conditions."""

_METADATA = (
    *("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires"),
    *("Metadata", "StorageClass", "WebsiteRedirectLocation"),
)
"""Properties of an object that S3 copies by itself only if it copies the object in one request."""


class S3FileMover:
    """Moves objects of S3; see `fastdup_ray.curation.file_ops.FileMover`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def exists(self, name: str) -> bool:
        return _head_object(name, self._access) is not None

    def list_siblings(self, name: str) -> list[str]:
        folder = name.rpartition("/")[0] + "/"
        bucket, prefix = locations.split(folder)
        with _explain_errors("its folder cannot be listed"):
            pages = (
                s3.get_client(self._access)
                .get_paginator("list_objects_v2")
                .paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
            )
            keys = [facts["Key"] for page in pages for facts in page.get("Contents", ())]
        return sorted(s3.make_uri(bucket, key) for key in keys if not key.endswith("/"))

    def get_identity(self, name: str) -> str:
        return name

    def resolve(self, folder: str) -> str:
        """Return `folder`: a bucket has no links."""
        return folder

    def describe(self, name: str) -> FileIdentity:
        ref = _check_object(name, FileIdentity(), self._access)
        return FileIdentity(ref.size, etag=ref.mtime_or_etag)

    def describe_copy(self, copy: str, known: FileIdentity) -> FileIdentity:
        """Identify a copy by its ETag or, if the server gave it another one, by its digest, where that is known."""
        facts = _head_object(copy, self._access) or {}
        same = known.etag and facts.get("ETag", "").strip('"') == known.etag
        return FileIdentity(known.size, etag=known.etag) if same else FileIdentity(known.size, known.sha256)

    def check(self, name: str, known: FileIdentity) -> None:
        _check_object(name, known, self._access)

    @contextmanager
    def hold(self, name: str, known: FileIdentity) -> Iterator[None]:
        """Check the object only: a bucket cannot hold an object. The quarantine has its own lock."""
        _check_object(name, known, self._access)
        yield

    def move(self, source: str, target: str, known: FileIdentity) -> None:
        ref = _check_object(source, known, self._access)
        _copy(ref, target, known, self._access)
        _delete_source(ref, self._access)

    def link(self, source: str, target: str, kind: Link) -> None:
        if kind != "copy":
            raise RefusedError("buckets have no links: choose copy")
        source_ref = _check_object(source, FileIdentity(), self._access)
        _copy(source_ref, target, FileIdentity(), self._access)

    def remove_empty(self, folder: str) -> None:
        """Do nothing: a bucket has no empty folders."""


def _head_object(name: str, access: Access) -> dict[str, Any] | None:
    """The properties of an object; None if it does not exist."""
    with _explain_errors("it cannot be looked up"):
        try:
            answer: dict[str, Any] = s3.get_client(access).head_object(**_split_name(name))
            return answer
        except Exception as error:
            if s3.is_missing(error):
                return None
            raise


def _check_object(name: str, known: FileIdentity, access: Access) -> ImageRef:
    """Return the object, if it is the expected one by its ETag or, without one, by its digest."""
    facts = _head_object(name, access)
    if facts is None:
        raise RefusedError("it is gone")
    ref = objects.make_ref(name, facts)
    if known.size is not None and ref.size != known.size:
        raise RefusedError(f"it changed: {ref.size:,} bytes, {known.size:,} at the run")
    if known.etag:
        if ref.mtime_or_etag != known.etag:
            raise RefusedError("it changed: another ETag than at the run")
    elif known.sha256 and _hash_object(ref, access) != known.sha256:
        raise RefusedError("it changed: other bytes than at the run")
    return ref


def _copy(ref: ImageRef, target: str, known: FileIdentity, access: Access) -> None:
    """Copy and verify, never over another object; an equal copy that an earlier call left is accepted."""
    found = _head_object(target, access)
    problem = f"{target!r} exists already, and is another object"
    if found is None:
        with _explain_errors(f"it cannot be copied to {target!r}"):
            copied = _copy_if_absent(_copy_in_parts if ref.size > LARGEST else _copy_at_once, ref, target, access)
        found = _head_object(target, access)
        if found is None:
            raise RefusedError("it changed in the meantime" if not copied else "its copy cannot be found")
        if copied:
            problem = f"its copy {target!r} came out different, and was left there"
    if not _is_same(ref, objects.make_ref(target, found), known, access):
        raise RefusedError(problem)


def _copy_if_absent(copy: Callable[..., None], ref: ImageRef, target: str, access: Access) -> bool:
    """Copy if there is no such object; return False if there is one, also after an attempt whose answer was lost."""
    try:
        copy(ref, target, access, IfNoneMatch="*")
    except Exception as error:
        if s3.is_refused_condition(error):
            return False
        if s3.get_error_code(error) not in _UNKNOWN_CONDITION:
            raise
        copy(ref, target, access)
    return True


def _source_arguments(ref: ImageRef) -> dict[str, Any]:
    """The source of a copy, on the condition that it is the version that was checked."""
    return {"CopySource": _split_name(ref.uri), "CopySourceIfMatch": f'"{ref.mtime_or_etag}"'}


def _copy_at_once(ref: ImageRef, target: str, access: Access, **condition: str) -> None:
    """Copy in one request: the server keeps metadata and tags; the storage class has to be given."""
    storage = (_head_object(ref.uri, access) or {}).get("StorageClass", "STANDARD")
    s3.get_client(access).copy_object(
        **_split_name(target), **_source_arguments(ref), StorageClass=storage, **condition
    )


def _copy_in_parts(ref: ImageRef, target: str, access: Access, **condition: str) -> None:
    facts = {name: value for name, value in (_head_object(ref.uri, access) or {}).items() if name in _METADATA}
    tags = s3.get_client(access).get_object_tagging(**_split_name(ref.uri))["TagSet"]
    if tags:
        facts["Tagging"] = urlencode([(tag["Key"], tag["Value"]) for tag in tags])
    client = s3.get_client(access)
    upload_id = client.create_multipart_upload(**_split_name(target), **facts)["UploadId"]
    upload = {**_split_name(target), "UploadId": upload_id}
    try:
        parts = [
            {"PartNumber": number, "ETag": _copy_part(ref, start, access, **upload, PartNumber=number)}
            for number, start in enumerate(range(0, ref.size, PART), 1)
        ]
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)
    except BaseException:
        with suppress(Exception):  # parts of an unfinished upload are invisible, but are paid for
            client.abort_multipart_upload(**upload)
        raise


def _copy_part(ref: ImageRef, start: int, access: Access, **part: Any) -> str:
    """Copy one part; return its ETag."""
    range_ = f"bytes={start}-{min(start + PART, ref.size) - 1}"
    answer = s3.get_client(access).upload_part_copy(**_source_arguments(ref), CopySourceRange=range_, **part)
    return str(answer["CopyPartResult"]["ETag"])


def _is_same(ref: ImageRef, copy: ImageRef, known: FileIdentity, access: Access) -> bool:
    """Whether an object is a complete copy: by its ETag, if that is a digest of the bytes, else by reading it."""
    if ref.size != copy.size:
        return False
    if ref.mtime_or_etag == copy.mtime_or_etag and "-" not in ref.mtime_or_etag:
        return True
    return _hash_object(copy, access) == (known.sha256 or _hash_object(ref, access))


def _hash_object(ref: ImageRef, access: Access) -> str:
    try:
        with objects.open_entry(ref, access) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants readinto
    except BadImageError as error:
        raise RefusedError(error.message) from None


def _delete_source(ref: ImageRef, access: Access) -> None:
    """Delete an object that has a verified copy, if it is still the version that was copied.

    No version is given: in a versioned bucket the object remains, behind a delete marker.
    """
    # Not every server supports the condition below.
    _check_object(ref.uri, FileIdentity(ref.size, etag=ref.mtime_or_etag), access)
    with _explain_errors("it was copied, but cannot be deleted"):
        try:
            s3.get_client(access).delete_object(**_split_name(ref.uri), IfMatch=f'"{ref.mtime_or_etag}"')
        except Exception as error:
            if (s3.is_missing(error) or s3.is_refused_condition(error)) and _head_object(ref.uri, access) is None:
                return  # the answer to an earlier attempt was lost
            if s3.get_error_code(error) not in _UNKNOWN_CONDITION:
                raise
            s3.get_client(access).delete_object(**_split_name(ref.uri))


def _split_name(name: str) -> dict[str, str]:
    bucket, key = locations.split(name)
    return {"Bucket": bucket, "Key": key}


@contextmanager
def _explain_errors(what: str) -> Iterator[None]:
    """Turn boto3's errors into the reason why one object stays; raise `InputError` for bad credentials."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        s3.refuse_credentials(error)
        if s3.is_refused_condition(error):
            raise RefusedError(f"{what}: it changed, or another object took its name in the meantime") from None
        raise RefusedError(f"{what}: {s3.describe_error(error)}") from None
