"""Locks in a bucket, by conditional writes (`If-None-Match: *`, `If-Match`).

A lock is an object that its owner creates and puts again every few seconds; one without a sign of life for `STALE`
seconds, or whose owner was a process of this host that is no more, is taken over. Time is the server's, not ours.
An exclusive lock is the object itself; shared ones stand below it, one each. Who wants one puts his own first and then
looks for the other kind: two that meet may both give up, but never both go on.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from fastdup_ray import s3
from fastdup_ray.errors import LockedError
from fastdup_ray.storage.owner import is_dead, owner, told

log = logging.getLogger(__name__)

BEAT = 15.0
"""Seconds between two signs of life."""

STALE = 120.0
"""Seconds without any after which a lock is taken over."""


@contextmanager
def locked(bucket: str, key: str, location: str, *, shared: bool) -> Iterator["Held"]:
    """Held until the exit; raises `LockedError` where another holds it. location: of the work_dir, for messages."""
    place = f"{key}.shared/{uuid.uuid4().hex}" if shared else key
    held = Held(bucket, place, location)
    try:
        for other in [key] if shared else _below(bucket, f"{key}.shared/"):
            _refuse_living(bucket, other, location)
        yield held
    finally:
        held.release()


class Held:
    """A lock that this process holds, and the thread that says so."""

    def __init__(self, bucket: str, key: str, location: str):
        self._bucket, self._key, self._location = bucket, key, location
        self._owner = owner()
        self._etag = self._acquired()
        self._seen, self._lost = time.monotonic(), False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises `LockedError` where somebody else has taken the lock over, or may have."""
        if self._lost or time.monotonic() - self._seen > STALE:
            raise LockedError(
                f"The lock of {self._location!r} was lost: for {STALE:g} seconds this run could give no sign of life. "
                "Nothing more is written; the same call goes on from what is finished."
            )

    def release(self) -> None:
        self._end.set()
        self._thread.join()
        with suppress(Exception):  # it goes stale by itself
            s3.client().delete_object(Bucket=self._bucket, Key=self._key, IfMatch=self._etag)

    def _acquired(self) -> str:
        """The ETag of our object; a stale one of another owner's is replaced."""
        try:
            return self._put(IfNoneMatch="*")
        except Exception as error:
            if not s3.is_refused_condition(error):
                raise
        stale = _refuse_living(self._bucket, self._key, self._location)
        try:
            return self._put(**({"IfMatch": stale} if stale else {"IfNoneMatch": "*"}))
        except Exception as error:
            if s3.is_refused_condition(error) or s3.is_missing(error):
                raise _locked_by_another(self._location, "it has just begun") from None
            raise

    def _put(self, **condition: str) -> str:
        body = json.dumps(self._owner | {"beat": uuid.uuid4().hex})  # another ETag each time
        try:
            return s3.client().put_object(Bucket=self._bucket, Key=self._key, Body=body.encode(), **condition)["ETag"]
        except Exception as error:
            # The first try may have succeeded and only its answer been lost: then ours is what is in the way.
            if s3.is_refused_condition(error) and (there := _read(self._bucket, self._key)) and there.text == body:
                return there.etag
            raise

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            try:
                self._etag = self._put(IfMatch=self._etag)
                self._seen = time.monotonic()
            except Exception as error:
                if s3.is_refused_condition(error) or s3.is_missing(error):
                    self._lost = True
                    return
                log.warning(
                    "The lock of %s could not be renewed (%s); it is tried again.", self._location, s3.told(error)
                )


def _refuse_living(bucket: str, key: str, location: str) -> str | None:
    """Raises `LockedError` where a living owner holds the lock; else the ETag of the stale one, None where none is."""
    there = _read(bucket, key)
    if there is None:
        return None
    if there.silent <= STALE and not is_dead(there.text):
        raise _locked_by_another(
            location,
            f"{told(there.text)}, last sign of life {there.silent:.0f} seconds ago; "
            f"without any for {STALE:g} it is taken over",
        )
    log.info("The lock of %s is stale (%s): it is taken over.", location, told(there.text))
    return there.etag


class _There(NamedTuple):
    """A lock object. silent: seconds since it was put, by the server's clock."""

    text: str
    etag: str
    silent: float


def _read(bucket: str, key: str) -> _There | None:
    try:
        answer: dict[str, Any] = s3.client().get_object(Bucket=bucket, Key=key)
        text = answer["Body"].read().decode(errors="replace")
    except Exception as error:
        if s3.is_missing(error):
            return None
        raise
    return _There(text, answer["ETag"], _seconds_since(answer))


def _locked_by_another(location: str, who: str) -> LockedError:
    return LockedError(f"Another run is writing to {location!r} ({who}); wait for its end or name another work_dir.")


def _seconds_since(answer: dict[str, Any]) -> float:
    """From when an object was put until now, both by the server's clock."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return (now - answer["LastModified"]).total_seconds()


def _below(bucket: str, prefix: str) -> list[str]:
    pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [facts["Key"] for page in pages for facts in page.get("Contents", ())]
