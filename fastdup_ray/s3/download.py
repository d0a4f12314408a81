"""Download objects to files: one request for an object of at most `PART` bytes, parts at once for a larger one."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdup_ray import s3
from fastdup_ray.common.access import Access
from fastdup_ray.common.parts import PART, save_parts

ATTEMPTS = 5
"""Attempts at the bytes of a part, if the connection breaks after the answer has begun; boto3 repeats the rest."""

_EMPTY, _NOT_MODIFIED = ("416", "InvalidRange"), ("304", "NotModified")


@dataclass(frozen=True)
class Download:
    """An object whose first part is about to arrive.

    Attributes:
        etag: Its ETag.
        size: Its bytes.
    """

    etag: str
    size: int
    _answer: dict[str, Any]
    _get: Callable[..., dict[str, Any]]

    def save(self, path: Path) -> None:
        """Write the object to a new file.

        Raises:
            botocore.exceptions.ClientError: Among others, the object was replaced meanwhile.
        """
        save_parts(path, self.size, lambda start, size: self._read(start, size, None if start else self._answer))

    def _read(self, start: int, size: int, answer: dict[str, Any] | None) -> bytes:
        from s3transfer.utils import S3_RETRYABLE_DOWNLOAD_ERRORS  # brings boto3, which takes a third of a second

        for attempt in range(1, ATTEMPTS + 1):
            answer = answer or self._get(Range=f"bytes={start}-{start + size - 1}", IfMatch=self.etag)
            try:
                return bytes(answer["Body"].read())
            except S3_RETRYABLE_DOWNLOAD_ERRORS:
                if attempt == ATTEMPTS:
                    raise
                answer = None
        raise AssertionError


@contextmanager
def open_download(bucket: str, key: str, access: Access, unless: str | None) -> Iterator[Download | None]:
    """Request an object.

    Args:
        bucket: The bucket.
        key: The key of the object.
        access: How the bucket is accessed.
        unless: The ETag of a version that is not wanted.

    Yields:
        The object; None if it is the version that is not wanted. Without a call of `save`, little of it is transferred.

    Raises:
        botocore.exceptions.ClientError: There is no such object, or it cannot be read.
    """
    client = s3.get_client(access)

    def get(**options: str) -> dict[str, Any]:
        answer: dict[str, Any] = client.get_object(Bucket=bucket, Key=key, **options)
        return answer

    condition = {"IfNoneMatch": unless} if unless else {}
    try:
        answer = get(Range=f"bytes=0-{PART - 1}", **condition)
    except Exception as error:
        if s3.get_error_code(error) in _EMPTY:
            answer = get()
        elif s3.get_error_code(error) in _NOT_MODIFIED:
            answer = None
        else:
            raise
    if answer is None:
        yield None
        return
    with closing(answer["Body"]):
        size = int(answer.get("ContentRange", "").rpartition("/")[2] or answer["ContentLength"])
        yield Download(answer["ETag"], size, answer, get)
