"""A work_dir below a prefix of a container of Azure."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from fastdup_ray.clouds.azure import azure_cloud
from fastdup_ray.clouds.cloud import ObjectStore
from fastdup_ray.clouds.download import request_download
from fastdup_ray.clouds.errors import describe_error, is_bucket_missing, is_refused_condition, refuse_credentials
from fastdup_ray.clouds.upload import put, put_parts
from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import AZURE
from fastdup_ray.common.parts import PART
from fastdup_ray.common.requests import count_request
from fastdup_ray.errors import FastdupError, MissingFileError, WorkDirError
from fastdup_ray.storage.azure_lock import AzureLockObjects
from fastdup_ray.storage.bucket import BucketStore, Download
from fastdup_ray.storage.bucket_lock import RefusedConditionError

_PAGE = 1000
"""Blobs of a page of a listing."""


class AzureStore(BucketStore):
    """A work_dir in a container of Azure; see `fastdup_ray.storage.Store`."""

    scheme = AZURE

    def _make_cached_name(self, name: str) -> str:
        """Return the name of a file in the cache: ETags of Azure are times, which two work_dirs may have in common."""
        return f"{hashlib.sha256(os.fsencode(self.location)).hexdigest()[:16]}/{name}"

    def _probe(self) -> None:
        from obstore import delete

        probe = f"{self._prefix}.probe-{uuid.uuid4().hex}"
        put(self._blobs, probe, b"", None)
        count_request()
        delete(self._blobs, probe)

    def _get_etag(self, name: str) -> str | None:
        from obstore import head

        count_request()
        try:
            return str(head(self._blobs, self._prefix + name)["e_tag"])
        except FileNotFoundError:
            return None

    def _upload(self, path: Path, name: str, before: str | None) -> str:
        """Upload a file: on a condition, or if it is large, after a look just before all parts become the blob."""

        def check() -> None:
            self._locks.check()
            if self._get_etag(name) != before:
                raise RefusedConditionError

        if path.stat().st_size > PART:
            etag = put_parts(self._blobs, self._prefix + name, path, check)
            if etag is None:
                raise RefusedConditionError
            return etag
        data = path.read_bytes()
        try:
            return put(self._blobs, self._prefix + name, data, before)
        except Exception as error:
            if not is_refused_condition(error):
                raise
        # The first attempt may have succeeded and only its answer been lost: then the blob in the way is ours.
        with suppress(FileNotFoundError):
            current = request_download(self._blobs, self._prefix + name, None)
            if current is not None and current.size == len(data) and current.read() == data:
                return current.etag
        raise RefusedConditionError

    def _open_download(self, name: str, unless: str | None) -> AbstractContextManager[Download | None]:
        return nullcontext(request_download(self._blobs, self._prefix + name, unless))

    def _read_range(self, name: str, start: int, size: int) -> bytes:
        from obstore import get, head
        from obstore.exceptions import BaseError

        options: Any = {"range": (start, start + size)}
        count_request()
        try:
            return bytes(get(self._blobs, self._prefix + name, options=options).bytes())
        except BaseError:
            count_request()
            if head(self._blobs, self._prefix + name)["size"] <= start:  # it ends before
                return b""
            raise

    def _list_keys(self, folder: str) -> Iterator[str]:
        import obstore

        for page in obstore.list(self._blobs, (self._prefix + folder).rstrip("/") or None, chunk_size=_PAGE):
            count_request()
            yield from (str(facts["path"]) for facts in page)

    def _remove_tree(self, name: str) -> None:
        from obstore import delete

        while below := list(self._list_keys(name)):
            count_request()
            with suppress(FileNotFoundError):  # somebody else has removed one of them; the others are listed again
                delete(self._blobs, below)
        count_request()
        with suppress(FileNotFoundError):
            delete(self._blobs, self._prefix + name)

    def _abort_uploads(self) -> None:
        """Do nothing: Azure removes parts that became no blob within a week."""

    @property
    def _lock_objects(self) -> AzureLockObjects:
        return AzureLockObjects(self._bucket, self._prefix, self.location, self.access)

    @property
    def _blobs(self) -> ObjectStore:
        return azure_cloud.open_bucket(self._bucket, self.access)

    def _explain_errors(self, name: str | None = None) -> AbstractContextManager[None]:
        return _translate_errors(self.location, name, self.access)


@contextmanager
def _translate_errors(location: str, name: str | None, access: Access) -> Iterator[None]:
    """Translate obstore's errors; raise `MissingFileError` if the blob `name` does not exist."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FastdupError:
        raise
    except (BaseError, FileNotFoundError, ValueError) as error:
        if is_bucket_missing(error):
            raise WorkDirError(f"{location!r}: the container does not exist; create it first.") from None
        if name is not None and isinstance(error, FileNotFoundError):
            raise MissingFileError(f"{location}/{name} does not exist.") from None
        refuse_credentials(error, azure_cloud, access)
        raise WorkDirError(f"{location!r} cannot be used ({describe_error(error)}).") from None
