"""Locks of a work_dir, by one protocol for folders and buckets.

A lock is a record, a file or an object, that names its owner. The owner renews the record every `BEAT` seconds. A
record that was not renewed for `STALE` seconds, or whose owner is known to have ended, is taken over. Time is the clock
of the file server or bucket that keeps the records, never that of a host.

An exclusive lock is the record itself; shared locks are records below it, one each. To take a lock, a process writes
its record first and then looks for locks of the other kind: two processes that start at once may both give up, but
never both continue.

A process that was paused for longer than `STALE` has lost its lock without noticing. So every store of the work_dir, in
each process that works for the run, checks its `Claim` before it writes.
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
"""Seconds between two renewals of a record."""

STALE = 120.0
"""Seconds without a renewal after which a lock is taken over."""


class Claim(Protocol):
    """Proof that a process works under a lock. It can be pickled, and checked in any process of the run."""

    def check(self) -> None:
        """Check that the lock is still held.

        Raises:
            LockedError: The lock was lost: its record is gone, or another owner's.
        """


class LockHandle(Protocol):
    """A lock that this process holds."""

    @property
    def claim(self) -> Claim:
        """The claim to check before each write."""

    def renew(self) -> bool:
        """Renew the record; return False if the lock was lost."""

    def release(self) -> None:
        """Give the lock up and remove its record, unless it was lost."""


class LockRecords(Protocol):
    """The lock records of a work_dir.

    Attributes:
        location: The work_dir, for messages.
    """

    location: str

    def take(self, name: str, token: str) -> LockHandle:
        """Write a record, or take over one whose owner has ended.

        Args:
            name: Name of the record.
            token: Unique text that distinguishes this record from all others.

        Raises:
            LockedError: A living owner has the record.
        """

    def list_below(self, folder: str) -> list[str]:
        """Return the names of the records in a folder."""

    def refuse_living(self, name: str) -> None:
        """Check that a record has no living owner.

        Raises:
            LockedError: It has one.
        """


class Locks:
    """The locks that a store holds. A pickled copy of the store, in another process, checks the same ones."""

    def __init__(self) -> None:
        self._claims: tuple[Claim, ...] = ()

    def check(self) -> None:
        """Check all locks before a write.

        Raises:
            LockedError: One of them was lost.
        """
        for claim in self._claims:
            claim.check()

    @contextmanager
    def hold(self, records: LockRecords, name: str, *, shared: bool) -> Iterator[None]:
        """Hold a lock while the context lasts.

        Args:
            records: Where its record is kept.
            name: Name of the record.
            shared: Allow other shared locks of this name at the same time.

        Raises:
            LockedError: Another process holds the lock.
        """
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
    """Return the content of a record: a description of this process, and the token."""
    return describe_this_process() | {"token": token}


def parse_token(text: str) -> str | None:
    """Return the token in the text of a record; None if there is none."""
    try:
        token = json.loads(text)["token"]
    except (ValueError, TypeError, KeyError):
        return None
    return token if isinstance(token, str) else None


def refuse_living_owner(location: str, text: str, silent: float) -> None:
    """Check that the owner of a record has ended, or has not renewed it for too long.

    Args:
        location: The work_dir, for messages.
        text: Content of the record.
        silent: Seconds since the record was renewed, by the clock of the file server or bucket.

    Raises:
        LockedError: The owner is alive, as far as can be known.
    """
    if silent <= STALE and not is_dead(text):
        raise make_locked_error(
            location,
            f"{describe_owner(text)}, last active {max(silent, 0):.0f} seconds ago; "
            f"the lock expires after {STALE:g} seconds without activity",
        )
    log.info("Taking over the stale lock of %s (%s).", location, describe_owner(text))


def make_locked_error(location: str, owner: str) -> LockedError:
    """Return the error for a work_dir that another run holds; `owner` describes that run."""
    return LockedError(
        f"Another run is writing to {location!r} ({owner}). Wait until it ends, or choose another work_dir."
    )


def make_lost_error(location: str) -> LockedError:
    """Return the error for a run whose lock was taken over."""
    return LockedError(
        f"The lock of {location!r} was lost: this run was inactive for so long that another run may have taken over. "
        "Nothing more was written. Run the same command to resume."
    )
