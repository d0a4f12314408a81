"""Download objects to files: one request for an object of at most `PART` bytes, parts at once for a larger one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdup_ray.clouds.cloud import ObjectStore
from fastdup_ray.common.parts import PART, save_parts
from fastdup_ray.common.requests import count_request


@dataclass(frozen=True)
class Download:
    """An object whose first bytes are about to arrive.

    Attributes:
        etag: Its ETag.
        size: Its bytes.
    """

    etag: str
    size: int
    _store: ObjectStore
    _key: str
    _answer: Any

    def save(self, path: Path) -> None:
        """Write the object to a new file.

        Raises:
            obstore.exceptions.BaseError: Among others, the object was replaced meanwhile.
        """
        if self.size > PART:
            save_parts(path, self.size, self._read)
        else:
            path.write_bytes(self.read())

    def read(self) -> bytes:
        """Return the whole object."""
        return bytes(self._answer.bytes())

    def _read(self, start: int, size: int) -> bytes:
        from obstore import get

        count_request()
        options: Any = {"range": (start, start + size), "if_match": self.etag}
        return bytes(get(self._store, self._key, options=options).bytes())


def request_download(store: ObjectStore, key: str, unless: str | None) -> Download | None:
    """Request an object.

    Args:
        store: The bucket.
        key: The key of the object.
        unless: The ETag of a version that is not wanted.

    Returns:
        The object; None if it is the version that is not wanted. Without a call of `save`, little of it is transferred.

    Raises:
        FileNotFoundError: There is no such object.
        obstore.exceptions.BaseError: It cannot be read.
    """
    from obstore import get
    from obstore.exceptions import NotModifiedError

    count_request()
    options: Any = {"if_none_match": unless} if unless else {}
    try:
        answer = get(store, key, options=options)
    except NotModifiedError:
        return None
    return Download(str(answer.meta["e_tag"]), answer.meta["size"], store, key, answer)
