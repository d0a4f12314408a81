"""Records of locks in a bucket: objects that are put with conditions (`If-None-Match: *`, `If-Match`)."""

import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from fastdup_ray import s3
from fastdup_ray.common.access import Access
from fastdup_ray.storage.lock import format_record, make_locked_error, make_lost_error, parse_token, refuse_living_owner


@dataclass(frozen=True)
class S3Claim:
    """The claim to a lock in a bucket; see `fastdup_ray.storage.lock.Claim`."""

    bucket: str
    key: str
    token: str
    location: str
    access: Access

    def check(self) -> None:
        record = _read(self.bucket, self.key, self.access)
        if record is None or parse_token(record.text) != self.token:
            raise make_lost_error(self.location)


class S3Handle:
    """A lock of this process in a bucket; see `fastdup_ray.storage.lock.LockHandle`."""

    def __init__(self, claim: S3Claim, put: Callable[..., str], etag: str) -> None:
        self.claim, self._put, self._etag = claim, put, etag

    def renew(self) -> bool:
        try:
            self._etag = self._put(IfMatch=self._etag)
        except Exception as error:
            if s3.is_refused_condition(error) or s3.is_missing(error):
                return False
            raise
        return True

    def release(self) -> None:
        with suppress(Exception):  # else it goes stale
            s3.get_client(self.claim.access).delete_object(
                Bucket=self.claim.bucket, Key=self.claim.key, IfMatch=self._etag
            )


class S3Records:
    """The lock records of a work_dir in a bucket; see `fastdup_ray.storage.lock.LockRecords`."""

    def __init__(self, bucket: str, prefix: str, location: str, access: Access) -> None:
        self._bucket, self._prefix, self.location, self._access = bucket, prefix, location, access

    def take(self, name: str, token: str) -> S3Handle:
        claim = S3Claim(self._bucket, self._prefix + name, token, self.location, self._access)
        record = format_record(token)

        def put(**condition: str) -> str:
            return _put(claim, record, condition)

        return S3Handle(claim, put, self._acquire(put, name))

    def _acquire(self, put: Callable[..., str], name: str) -> str:
        """Put our record, replacing a stale one of another owner; return its ETag."""
        try:
            return put(IfNoneMatch="*")
        except Exception as error:
            if not s3.is_refused_condition(error):
                raise
        stale = self._get_stale_etag(name)
        try:
            return put(**({"IfMatch": stale} if stale else {"IfNoneMatch": "*"}))
        except Exception as error:
            if s3.is_refused_condition(error) or s3.is_missing(error):
                raise make_locked_error(self.location, "it has just started") from None
            raise

    def list_below(self, folder: str) -> list[str]:
        pages = s3.get_client(self._access).get_paginator("list_objects_v2")
        answers = pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/")
        return [facts["Key"].removeprefix(self._prefix) for page in answers for facts in page.get("Contents", ())]

    def refuse_living(self, name: str) -> None:
        self._get_stale_etag(name)

    def _get_stale_etag(self, name: str) -> str | None:
        """Return the ETag of a stale record, None without a record; raise `LockedError` if its owner is alive."""
        record = _read(self._bucket, self._prefix + name, self._access)
        if record is None:
            return None
        refuse_living_owner(self.location, record.text, record.silent)
        return record.etag


def _put(claim: S3Claim, record: dict[str, Any], condition: dict[str, str]) -> str:
    body = json.dumps(record | {"beat": uuid.uuid4().hex})  # another ETag each time
    try:
        answer = s3.get_client(claim.access).put_object(
            Bucket=claim.bucket, Key=claim.key, Body=body.encode(), **condition
        )
    except Exception as error:
        # The first attempt may have succeeded and only its answer been lost: then the record in the way is ours.
        if (
            s3.is_refused_condition(error)
            and (current := _read(claim.bucket, claim.key, claim.access))
            and current.text == body
        ):
            return current.etag
        raise
    return str(answer["ETag"])


class _StoredRecord(NamedTuple):
    """A record; `silent` is the number of seconds since it was put, by the server's clock."""

    text: str
    etag: str
    silent: float


def _read(bucket: str, key: str, access: Access) -> _StoredRecord | None:
    try:
        answer: dict[str, Any] = s3.get_client(access).get_object(Bucket=bucket, Key=key)
        text = answer["Body"].read().decode(errors="replace")
    except Exception as error:
        if s3.is_missing(error):
            return None
        raise
    return _StoredRecord(text, answer["ETag"], _measure_silence(answer))


def _measure_silence(answer: dict[str, Any]) -> float:
    """Return the seconds since an object was put, by the server's clock."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    last_modified: datetime = answer["LastModified"]
    return (now - last_modified).total_seconds()
