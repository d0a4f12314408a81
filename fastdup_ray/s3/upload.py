"""Put a file into a bucket on the condition that nobody else has put one of that name since we looked.

boto3's own transfers know no conditions.
"""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastdup_ray import s3
from fastdup_ray.s3 import Access

PART = 32 << 20
"""Bytes; a larger file is put in such parts, or in larger ones where it would come to more than `MOST_PARTS`."""

MOST_PARTS = 10_000
"""What S3 allows."""

AT_ONCE = 4
"""Parts under way."""

_MARK = "put"
"""Metadata of an object that tells by which put it came."""


def upload(path: Path, bucket: str, key: str, before: str | None, access: Access) -> str:
    """Put a file whole; return its ETag.

    Args:
        path: of the file.
        bucket: to put it to.
        key: of the object.
        before: the ETag of the object that it replaces; None where there was none.

    Raises:
        botocore.exceptions.ClientError: among others where the condition does not hold, see `is_refused_condition`.
    """
    mark = uuid.uuid4().hex
    target = {"Bucket": bucket, "Key": key}
    condition = {"IfMatch": before} if before else {"IfNoneMatch": "*"}
    try:
        if path.stat().st_size > PART:
            return _upload_parts(path, target, mark, condition, access)
        with open(path, "rb") as file:
            return s3.get_client(access).put_object(**target, Body=file, Metadata={_MARK: mark}, **condition)["ETag"]
    except Exception as error:
        # The first try may have succeeded and only its answer been lost: then ours is what is in the way.
        if s3.is_refused_condition(error) or s3.get_error_code(error) == "NoSuchUpload":
            with suppress(Exception):
                there = s3.get_client(access).head_object(**target)
                if there["Metadata"].get(_MARK) == mark:
                    return there["ETag"]
        raise


def _upload_parts(path: Path, target: dict[str, str], mark: str, condition: dict[str, str], access: Access) -> str:
    from s3transfer.utils import ReadFileChunk  # brings boto3, which takes a third of a second

    size = path.stat().st_size
    part = max(PART, -(-size // MOST_PARTS))
    upload = target | {
        "UploadId": s3.get_client(access).create_multipart_upload(**target, Metadata={_MARK: mark})["UploadId"]
    }

    def put(number: int) -> dict[str, Any]:
        with ReadFileChunk.from_filename(os.fspath(path), (number - 1) * part, part) as body:
            answer = s3.get_client(access).upload_part(**upload, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            parts = list(pool.map(put, range(1, -(-size // part) + 1)))
        return s3.get_client(access).complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)[
            "ETag"
        ]
    except BaseException:
        with suppress(Exception):
            s3.get_client(access).abort_multipart_upload(**upload)
        raise
