"""Upload to a bucket: whole on a condition, or a large file in parts, for which obstore has no conditions."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastdup_ray.clouds.cloud import ObjectStore
from fastdup_ray.common.parts import AT_ONCE
from fastdup_ray.common.requests import count_request

UPLOAD_PART = 8 << 20
"""Bytes of a part of a larger file: small, since a request that takes more than two minutes is given up."""

MAX_PARTS = 10_000
"""The most parts of an object, which grow instead; Azure allows 50,000."""

_MARK = "put"
"""Metadata of an object in parts: which upload it came from."""


def put(store: ObjectStore, key: str, data: bytes, before: str | None) -> str:
    """Put an object.

    Args:
        store: The bucket.
        key: The key of the object.
        data: Its bytes.
        before: The ETag of the object that is replaced; None if there must be none.

    Returns:
        The ETag of the object.

    Raises:
        obstore.exceptions.BaseError: Among others where the condition fails, see `clouds.errors.is_refused_condition`.
    """
    import obstore

    count_request()
    return str(obstore.put(store, key, data, mode={"e_tag": before} if before else "create")["e_tag"])


def put_parts(store: ObjectStore, key: str, path: Path, check: Callable[[], None]) -> str | None:
    """Put a file in parts, without a condition that the server checks.

    Args:
        store: The bucket.
        key: The key of the object.
        path: The file, of more than `UPLOAD_PART` bytes.
        check: Called just before the parts become the object; if it raises, the object does not change.

    Returns:
        The ETag of the object; None if another process has replaced it already.
    """
    import obstore

    mark, size = uuid.uuid4().hex, path.stat().st_size
    part = max(UPLOAD_PART, -(-size // MAX_PARTS))
    # Without `with`, which would publish even what an exception has cut off.
    writer = obstore.open_writer(store, key, attributes={_MARK: mark}, buffer_size=part, max_concurrency=AT_ONCE)
    with open(path, "rb") as file:
        while data := file.read(part):
            count_request()
            writer.write(data)
    check()
    writer.close()
    options: Any = {"head": True}
    count_request()
    current = obstore.get(store, key, options=options)
    return str(current.meta["e_tag"]) if current.attributes.get(_MARK) == mark else None
