"""Records of locks in Azure: blobs that are put with `If-None-Match: *` or `If-Match`."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from fastdup_ray.clouds.azure import azure_cloud
from fastdup_ray.clouds.cloud import ObjectStore
from fastdup_ray.clouds.errors import is_bucket_missing, is_refused_condition
from fastdup_ray.clouds.upload import put
from fastdup_ray.common.access import Access
from fastdup_ray.common.requests import count_request
from fastdup_ray.storage.bucket_lock import RefusedConditionError, StoredRecord


@dataclass(frozen=True)
class AzureLockObjects:
    """The lock records of a work_dir in Azure; see `fastdup_ray.storage.bucket_lock.LockObjects`."""

    container: str
    prefix: str
    location: str
    access: Access

    def read(self, name: str) -> StoredRecord | None:
        from obstore import get

        count_request()
        try:
            answer = get(self._blobs, self.prefix + name)
            text = bytes(answer.bytes()).decode(errors="replace")
        except FileNotFoundError as error:
            if is_bucket_missing(error):
                raise
            return None
        return StoredRecord(text, str(answer.meta["e_tag"]), answer.meta["last_modified"])

    def read_clock(self) -> datetime:
        """Return when a blob was put that is put for this: obstore does not give the date of an answer."""
        from obstore import delete, head

        probe = f"{self.prefix}.clock-{uuid.uuid4().hex}"
        put(self._blobs, probe, b"", None)
        try:
            count_request()
            now: datetime = head(self._blobs, probe)["last_modified"]
        finally:
            count_request()
            delete(self._blobs, probe)
        return now

    def put(self, name: str, text: str, before: str | None) -> str:
        try:
            return put(self._blobs, self.prefix + name, text.encode(), before)
        except Exception as error:
            is_gone = isinstance(error, FileNotFoundError) and not is_bucket_missing(error)
            if is_refused_condition(error) or (before and is_gone):
                raise RefusedConditionError from None
            raise

    def remove(self, name: str, etag: str) -> None:
        """Remove a record, if it has this ETag: obstore knows no conditions for this, so look first.

        If this process is paused between the two requests until another has taken the lock over, that one finds its
        lock lost before its next write, and ends.
        """
        from obstore import delete

        current = self.read(name)
        if current is not None and current.etag == etag:
            count_request()
            delete(self._blobs, self.prefix + name)

    def list_below(self, folder: str) -> list[str]:
        import obstore

        count_request()
        pages = obstore.list(self._blobs, f"{self.prefix}{folder}")
        return [str(facts["path"]).removeprefix(self.prefix) for page in pages for facts in page]

    @property
    def _blobs(self) -> ObjectStore:
        return azure_cloud.open_bucket(self.container, self.access)
