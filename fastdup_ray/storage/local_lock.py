"""Lock records in a local or shared folder: files on which their owners also hold a flock(2).

Within one kernel, flock shows at once whether an owner is alive. Hosts that share a folder may not see each other's
flocks, or lose them while the server cannot be reached; between hosts the modification time of the record counts.
"""

import fcntl
import json
import os
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastdup_ray.storage.lock import format_record, make_locked_error, make_lost_error, parse_token, refuse_living_owner
from fastdup_ray.storage.owner import describe_owner, is_of_this_kernel, names_owner

TEMPORARY = ".tmp-"

_PAUSES = (0.05,) * 4
"""Seconds between attempts: a process that only reads a record holds its flock for a moment."""


@dataclass(frozen=True)
class LocalClaim:
    """A `fastdup_ray.storage.lock.Claim` on a record in a folder.

    Attributes:
        path: The record.
        token: The token that it contains while the lock is held.
        location: The work_dir, for messages.
    """

    path: Path
    token: str
    location: str

    def is_ours(self) -> bool:
        """Return whether the record still has our token."""
        try:
            return parse_token(self.path.read_text(encoding="utf-8", errors="replace")) == self.token
        except FileNotFoundError:
            return False

    def check(self) -> None:
        if not self.is_ours():
            raise make_lost_error(self.location)


class LocalHandle:
    """A `fastdup_ray.storage.lock.LockHandle` on a record in a folder.

    Args:
        claim: The claim on the record.
        descriptor: The open record, with its flock.
    """

    def __init__(self, claim: LocalClaim, descriptor: int) -> None:
        self.claim, self._descriptor = claim, descriptor

    def renew(self) -> bool:
        if not self.claim.is_ours():
            return False
        os.utime(self._descriptor)
        return True

    def release(self) -> None:
        with suppress(OSError):
            if self.claim.is_ours():
                self.claim.path.unlink()
        os.close(self._descriptor)
        _remove_empty(self.claim.path.parent)
        _remove_empty(Path(self.claim.location))  # a work_dir to which nothing was written


class LocalRecords:
    """`fastdup_ray.storage.lock.LockRecords` in a folder.

    Args:
        root: The work_dir.
    """

    def __init__(self, root: Path) -> None:
        self._root, self.location = root, str(root)

    def take(self, name: str, token: str) -> LocalHandle:
        path = self._root / name
        descriptor = self._open(path)
        try:
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(format_record(token)).encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return LocalHandle(LocalClaim(path, token, self.location), descriptor)

    def list_below(self, folder: str) -> list[str]:
        with suppress(FileNotFoundError):
            return [f"{folder}/{name}" for name in os.listdir(self._root / folder)]
        return []

    def refuse_living(self, name: str) -> None:
        path = self._root / name
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._refuse_living_owner(descriptor, has_flock=_try_flock(descriptor, fcntl.LOCK_SH))
                path.unlink()
                _remove_empty(path.parent)
            finally:
                os.close(descriptor)

    def _open(self, path: Path) -> int:
        """Open a record that has no living owner, with its flock where the file system supports it."""
        pauses = iter(_PAUSES)
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:
                continue  # the folder of shared records was removed with the last of them
            try:
                has_flock = _try_flock(descriptor, fcntl.LOCK_EX)
                pause = next(pauses, None) if has_flock is False else None
                if pause is None:
                    self._refuse_living_owner(descriptor, has_flock=has_flock)
                    # The previous owner deletes its record when it ends: a lock on a deleted file excludes nobody.
                    if _is_at(path, descriptor):
                        return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            time.sleep(pause or 0)

    def _refuse_living_owner(self, descriptor: int, *, has_flock: bool | None) -> None:
        """Raise `LockedError` if the owner of the record is alive; `has_flock` is the result of `_try_flock`."""
        text = os.pread(descriptor, 4096, 0).decode(errors="replace")
        if has_flock is False:
            raise make_locked_error(self.location, describe_owner(text))
        if names_owner(text) and not (has_flock and is_of_this_kernel(text)):
            refuse_living_owner(self.location, text, self._read_time() - os.fstat(descriptor).st_mtime)

    def _read_time(self) -> float:
        """Return the time of the file system, which is the server's if the folder is shared."""
        probe = self._root / f"{TEMPORARY}{uuid.uuid4().hex}"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _try_flock(descriptor: int, kind: int) -> bool | None:
    """Return whether this process got the flock; None if the file system does not support it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    return False
