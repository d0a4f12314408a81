"""Records of locks in a bucket: objects that are put on the condition that nobody else has put them."""

import json
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from fastdup_ray.storage.lock import format_record, make_locked_error, make_lost_error, parse_token, refuse_living_owner


class RefusedConditionError(Exception):
    """An object was not put: there is one where none was expected, or another one than expected, or none any more."""


class StoredRecord(NamedTuple):
    """A record; `modified` is when it was put, by the server's clock."""

    text: str
    etag: str
    modified: datetime


class LockObjects(Protocol):
    """The lock records of one kind of bucket. It can be pickled, and compared."""

    @property
    def location(self) -> str:
        """The work_dir, for messages."""

    def read(self, name: str) -> StoredRecord | None:
        """Return a record, None if there is none."""

    def read_clock(self) -> datetime:
        """Return the time by the server's clock."""

    def put(self, name: str, text: str, before: str | None) -> str:
        """Write a record, and return its ETag.

        Args:
            name: Name of the record.
            text: Its content.
            before: The ETag of the record that is replaced; None if there must be none.

        Raises:
            RefusedConditionError: The condition failed.
        """

    def remove(self, name: str, etag: str) -> None:
        """Remove a record, if it has this ETag."""

    def list_below(self, folder: str) -> list[str]:
        """Return the names of the records in a folder."""


@dataclass(frozen=True)
class BucketClaim:
    """The claim to a lock in a bucket; see `fastdup_ray.storage.lock.Claim`."""

    objects: LockObjects
    name: str
    token: str

    def check(self) -> None:
        record = self.objects.read(self.name)
        if record is None or parse_token(record.text) != self.token:
            raise make_lost_error(self.objects.location)


class BucketHandle:
    """A lock of this process in a bucket; see `fastdup_ray.storage.lock.LockHandle`."""

    def __init__(self, claim: BucketClaim, record: dict[str, Any], etag: str) -> None:
        self.claim, self._record, self._etag = claim, record, etag

    def renew(self) -> bool:
        try:
            self._etag = _put(self.claim.objects, self.claim.name, self._record, self._etag)
        except RefusedConditionError:
            return False
        return True

    def release(self) -> None:
        with suppress(Exception):  # else it goes stale
            self.claim.objects.remove(self.claim.name, self._etag)


class BucketRecords:
    """The lock records of a work_dir in a bucket; see `fastdup_ray.storage.lock.LockRecords`."""

    def __init__(self, objects: LockObjects) -> None:
        self._objects, self.location = objects, objects.location

    def take(self, name: str, token: str) -> BucketHandle:
        record = format_record(token)
        return BucketHandle(BucketClaim(self._objects, name, token), record, self._acquire(name, record))

    def _acquire(self, name: str, record: dict[str, Any]) -> str:
        """Put our record, replacing a stale one of another owner; return its ETag."""
        with suppress(RefusedConditionError):
            return _put(self._objects, name, record, None)
        stale = self._get_stale_etag(name)
        try:
            return _put(self._objects, name, record, stale)
        except RefusedConditionError:
            raise make_locked_error(self.location, "it has just started") from None

    def list_below(self, folder: str) -> list[str]:
        return self._objects.list_below(folder)

    def refuse_living(self, name: str) -> None:
        self._get_stale_etag(name)

    def _get_stale_etag(self, name: str) -> str | None:
        """Return the ETag of a stale record, None without a record; raise `LockedError` if its owner is alive."""
        record = self._objects.read(name)
        if record is None:
            return None
        silent = (self._objects.read_clock() - record.modified).total_seconds()
        refuse_living_owner(self.location, record.text, silent)
        return record.etag


def _put(objects: LockObjects, name: str, record: dict[str, Any], before: str | None) -> str:
    text = json.dumps(record | {"beat": uuid.uuid4().hex})  # another ETag each time
    try:
        return objects.put(name, text, before)
    except RefusedConditionError:
        # The first attempt may have succeeded and only its answer been lost: then the record in the way is ours.
        if (current := objects.read(name)) and current.text == text:
            return current.etag
        raise
