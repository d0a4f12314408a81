"""Upload a file to a bucket on the condition that nobody else has uploaded one of that name in the meantime.

boto3's own transfers have no conditions.
"""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastdup_ray import s3
from fastdup_ray.common.access import Access

PART = 32 << 20
"""Bytes of a part of a larger file; parts grow where there would be more than `MAX_PARTS` of them."""

MAX_PARTS = 10_000
"""The most parts of an object that S3 allows."""

AT_ONCE = 4
"""Parts that are uploaded at once."""

_MARK = "put"
"""Metadata of an object: which upload it came from."""


def upload(path: Path, bucket: str, key: str, before: str | None, access: Access) -> str:
    """Upload a whole file, or nothing.

    Args:
        path: the file to upload.
        bucket: the bucket to upload to.
        key: the key of the object.
        before: the ETag of the object that is replaced; None if there is none.
        access: how the bucket is accessed.

    Returns:
        The ETag of the object.

    Raises:
        botocore.exceptions.ClientError: among others where the condition fails, see `s3.is_refused_condition`.
    """
    mark = uuid.uuid4().hex
    target = {"Bucket": bucket, "Key": key}
    condition = {"IfMatch": before} if before else {"IfNoneMatch": "*"}
    client = s3.get_client(access)
    try:
        if path.stat().st_size > PART:
            return _upload_parts(client, path, target, mark, condition)
        with open(path, "rb") as file:
            return str(client.put_object(**target, Body=file, Metadata={_MARK: mark}, **condition)["ETag"])
    except Exception as error:
        # The first attempt may have succeeded and only its answer been lost: then the object in the way is ours.
        if s3.is_refused_condition(error) or s3.get_error_code(error) == "NoSuchUpload":
            with suppress(Exception):
                current = client.head_object(**target)
                if current["Metadata"].get(_MARK) == mark:
                    return str(current["ETag"])
        raise


def _upload_parts(client: Any, path: Path, target: dict[str, str], mark: str, condition: dict[str, str]) -> str:
    from s3transfer.utils import ReadFileChunk  # brings boto3, which takes a third of a second

    size = path.stat().st_size
    part = max(PART, -(-size // MAX_PARTS))
    upload_id = client.create_multipart_upload(**target, Metadata={_MARK: mark})["UploadId"]
    upload = target | {"UploadId": upload_id}

    def put(number: int) -> dict[str, Any]:
        with ReadFileChunk.from_filename(os.fspath(path), (number - 1) * part, part) as body:
            answer = client.upload_part(**upload, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            parts = list(pool.map(put, range(1, -(-size // part) + 1)))
        return str(client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)["ETag"])
    except BaseException:
        with suppress(Exception):
            client.abort_multipart_upload(**upload)
        raise
