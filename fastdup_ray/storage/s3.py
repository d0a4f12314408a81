"""A work_dir below a prefix of a bucket of S3."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from fastdup_ray import s3
from fastdup_ray.common.locations import S3
from fastdup_ray.errors import MissingFileError, WorkDirError
from fastdup_ray.s3.download import Download, open_download
from fastdup_ray.s3.upload import upload
from fastdup_ray.storage.bucket import BucketStore
from fastdup_ray.storage.bucket_lock import RefusedConditionError
from fastdup_ray.storage.s3_lock import S3LockObjects


class S3Store(BucketStore):
    """A work_dir in a bucket of S3; see `fastdup_ray.storage.Store`."""

    scheme = S3

    def _probe(self) -> None:
        probe = self._make_arguments(f".probe-{os.urandom(8).hex()}")
        self._client.put_object(**probe, Body=b"")
        self._client.delete_object(**probe)

    def _get_etag(self, name: str) -> str | None:
        try:
            return str(self._client.head_object(**self._make_arguments(name))["ETag"])
        except Exception as error:
            if s3.is_missing(error):
                return None
            raise

    def _upload(self, path: Path, name: str, before: str | None) -> str:
        try:
            return upload(path, self._bucket, self._prefix + name, before, self.access)
        except Exception as error:
            if s3.is_refused_condition(error):
                raise RefusedConditionError from None
            raise

    def _open_download(self, name: str, unless: str | None) -> AbstractContextManager[Download | None]:
        return open_download(self._bucket, self._prefix + name, self.access, unless)

    def _read_range(self, name: str, start: int, size: int) -> bytes:
        try:
            part = f"bytes={start}-{start + size - 1}"
            return bytes(self._client.get_object(**self._make_arguments(name), Range=part)["Body"].read())
        except Exception as error:
            if s3.get_error_code(error) == "InvalidRange":  # it ends before
                return b""
            raise

    def _list_keys(self, folder: str) -> Iterator[str]:
        return self._list_keys_from(folder and folder + "/")

    def _list_keys_from(self, start: str) -> Iterator[str]:
        """All keys that begin with the prefix and `start`, sorted."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix + start)
        return (facts["Key"] for page in pages for facts in page.get("Contents", ()))

    def _remove_tree(self, name: str) -> None:
        whole = self._prefix + name
        keys = [key for key in self._list_keys_from(name) if key == whole or key.startswith(whole + "/")]
        for first in range(0, len(keys), s3.PAGE):
            some = [{"Key": key} for key in keys[first : first + s3.PAGE]]
            answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": some, "Quiet": True})
            for error in answer.get("Errors", ())[:1]:
                raise WorkDirError(f"Removing {s3.make_uri(self._bucket, error['Key'])!r} failed: {error['Code']}.")

    def _abort_uploads(self) -> None:
        """Abort unfinished uploads: their parts are invisible, but are paid for."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
        for unfinished in (unfinished for page in pages for unfinished in page.get("Uploads", ())):
            self._client.abort_multipart_upload(
                Bucket=self._bucket, Key=unfinished["Key"], UploadId=unfinished["UploadId"]
            )

    @property
    def _lock_objects(self) -> S3LockObjects:
        return S3LockObjects(self._bucket, self._prefix, self.location, self.access)

    @property
    def _client(self) -> Any:
        return s3.get_client(self.access)

    def _make_arguments(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}

    def _explain_errors(self, name: str | None = None) -> AbstractContextManager[None]:
        return _translate_errors(self.location, name)


@contextmanager
def _translate_errors(location: str, name: str | None) -> Iterator[None]:
    """Translate boto3's errors; raise `MissingFileError` if the object `name` does not exist."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        if name is not None and s3.is_missing(error):
            raise MissingFileError(f"{location}/{name} does not exist.") from None
        s3.refuse_credentials(error)
        if s3.get_error_code(error) == "NoSuchBucket":
            raise WorkDirError(f"{location!r}: the bucket does not exist; create it first.") from None
        raise WorkDirError(f"{location!r} cannot be used ({s3.describe_error(error)}).") from None
