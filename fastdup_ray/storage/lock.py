"""The locks of a work_dir, by one protocol for folders and buckets.

A lock is a record, a file or an object, that names its owner. The owner gives a sign of life every `BEAT` seconds; a
record without one for `STALE` seconds, or whose owner is known to be gone, is taken over. Time is that of the place
that keeps the records, not that of a host. An exclusive lock is the record itself; shared ones stand below it, one
each. Whoever wants one puts a record first and then looks for the other kind: two that meet may both give up, but
never both go on.

A process that was stopped for longer than that has lost its lock without knowing. So every store of the work_dir, in
each process that works for the run, asks its `Claim` before it writes.
"""

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from fastdup_ray.errors import LockedError, redact
from fastdup_ray.storage.owner import describe_owner, describe_this_process, is_dead

log = logging.getLogger(__name__)

BEAT = 15.0
"""Seconds between two signs of life."""

STALE = 120.0
"""Seconds without any after which a lock is taken over."""


class Claim(Protocol):
    """What a process has to know of a lock to see that it still holds; it can be pickled."""

    def check(self) -> None:
        """Raise `LockedError` where the lock is another owner's by now, or nobody's."""


class LockHandle(Protocol):
    """A lock of this process."""

    @property
    def claim(self) -> Claim: ...

    def renew(self) -> bool:
        """Give a sign of life; False where the lock was lost."""

    def release(self) -> None: ...


class LockRecords(Protocol):
    """Where the records of locks are kept."""

    location: str
    """Of the work_dir, for messages."""

    def take(self, name: str, token: str) -> LockHandle:
        """Put a record with this token; raise `LockedError` where a living owner has one of that name."""

    def list_below(self, folder: str) -> list[str]:
        """The names of the records below a folder."""

    def refuse_living(self, name: str) -> None:
        """Raise `LockedError` where a living owner has a record of that name."""


class Locks:
    """The locks that a store holds. A copy of the store in another process asks for the same ones."""

    def __init__(self) -> None:
        self._claims: tuple[Claim, ...] = ()

    def check(self) -> None:
        """Raise `LockedError` where one of them was lost: nothing may be written then."""
        for claim in self._claims:
            claim.check()

    @contextmanager
    def hold(self, records: LockRecords, name: str, *, shared: bool) -> Iterator[None]:
        """Hold one more until the exit; raise `LockedError` where another process does."""
        with _hold(records, name, shared=shared) as claim:
            self._claims += (claim,)
            try:
                yield
            finally:
                self._claims = tuple(one for one in self._claims if one != claim)


@contextmanager
def _hold(records: LockRecords, name: str, *, shared: bool) -> Iterator[Claim]:
    token = uuid.uuid4().hex
    handle = records.take(f"{name}.shared/{token}" if shared else name, token)
    end = threading.Event()
    pulse = threading.Thread(target=_renew_until, args=(handle, end, records.location), daemon=True)
    pulse.start()
    try:
        for other in [name] if shared else records.list_below(f"{name}.shared"):
            records.refuse_living(other)
        yield handle.claim
    finally:
        end.set()
        pulse.join()
        handle.release()


def _renew_until(handle: LockHandle, end: threading.Event, location: str) -> None:
    while not end.wait(BEAT):
        try:
            if not handle.renew():
                return
        except Exception as error:
            log.warning("The lock of %s could not be renewed (%s); trying again.", location, redact(str(error)))


def format_record(token: str) -> dict[str, Any]:
    """What a record says."""
    return describe_this_process() | {"token": token}


def parse_token(text: str) -> str | None:
    """The token of a record; None where it has none."""
    try:
        return json.loads(text)["token"]
    except (ValueError, TypeError, KeyError):
        return None


def refuse_living_owner(location: str, text: str, silent: float) -> None:
    """Raise `LockedError` unless the owner of a record is gone, or silent for too long.

    silent: seconds since its last sign of life, by the clock of the place.
    """
    if silent <= STALE and not is_dead(text):
        since = f"{describe_owner(text)}, last sign of life {max(silent, 0):.0f} seconds ago"
        raise make_locked_error(location, f"{since}; without any for {STALE:g} it is taken over")
    log.info("The lock of %s is stale (%s): it is taken over.", location, describe_owner(text))


def make_locked_error(location: str, who: str) -> LockedError:
    return LockedError(f"Another run is writing to {location!r} ({who}); wait for its end or name another work_dir.")


def make_lost_error(location: str) -> LockedError:
    return LockedError(
        f"The lock of {location!r} was lost: this run gave no sign of life for so long that another took over. "
        "Nothing more is written; the same call goes on from what is finished."
    )
