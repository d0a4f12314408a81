"""Records of locks in S3: objects that are put with `If-None-Match: *` or `If-Match`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from fastdup_ray import s3
from fastdup_ray.common.access import Access
from fastdup_ray.storage.bucket_lock import RefusedConditionError, StoredRecord


@dataclass(frozen=True)
class S3LockObjects:
    """The lock records of a work_dir in S3; see `fastdup_ray.storage.bucket_lock.LockObjects`."""

    bucket: str
    prefix: str
    location: str
    access: Access

    def read(self, name: str) -> StoredRecord | None:
        try:
            answer = self._client.get_object(**self._make_arguments(name))
            text = answer["Body"].read().decode(errors="replace")
        except Exception as error:
            if s3.is_missing(error):
                return None
            raise
        return StoredRecord(text, answer["ETag"], answer["LastModified"])

    def read_clock(self) -> datetime:
        answer = self._client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(date) if date else datetime.now(UTC)

    def put(self, name: str, text: str, before: str | None) -> str:
        condition = {"IfMatch": before} if before else {"IfNoneMatch": "*"}
        try:
            answer = self._client.put_object(**self._make_arguments(name), Body=text.encode(), **condition)
        except Exception as error:
            if s3.is_refused_condition(error) or (before and s3.is_missing(error)):
                raise RefusedConditionError from None
            raise
        return str(answer["ETag"])

    def remove(self, name: str, etag: str) -> None:
        self._client.delete_object(**self._make_arguments(name), IfMatch=etag)

    def list_below(self, folder: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2")
        answers = pages.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}{folder}/")
        return [facts["Key"].removeprefix(self.prefix) for page in answers for facts in page.get("Contents", ())]

    @property
    def _client(self) -> Any:
        return s3.get_client(self.access)

    def _make_arguments(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + name}
