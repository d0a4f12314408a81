"""Records of locks in a folder: files that their owners hold by flock(2), too.

Within one kernel flock tells at once whether an owner lives. Hosts that share the folder may not see each other's, or
lose them while they cannot reach the server: between these the signs of life count, the times of the files.
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
"""Seconds between tries: who looks at a record holds its flock for a moment."""


@dataclass(frozen=True)
class LocalClaim:
    """See `fastdup_ray.storage.lock.Claim`."""

    path: Path
    token: str
    location: str

    def is_ours(self) -> bool:
        try:
            return parse_token(self.path.read_text(encoding="utf-8", errors="replace")) == self.token
        except FileNotFoundError:
            return False

    def check(self) -> None:
        if not self.is_ours():
            raise make_lost_error(self.location)


class LocalHandle:
    """See `fastdup_ray.storage.lock.LockHandle`."""

    def __init__(self, claim: LocalClaim, descriptor: int):
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
        _remove_empty(Path(self.claim.location))  # a work_dir in which nothing came to stand


class LocalRecords:
    """See `fastdup_ray.storage.lock.Records`."""

    def __init__(self, root: Path):
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
                self._refuse_living_owner(descriptor, _flock(descriptor, fcntl.LOCK_SH))
                path.unlink()
                _remove_empty(path.parent)
            finally:
                os.close(descriptor)

    def _open(self, path: Path) -> int:
        """A descriptor of the record, with its flock where there is such a thing; no living owner has it."""
        pauses = iter(_PAUSES)
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:
                continue  # the folder of shared records went with the last of them
            try:
                flock = _flock(descriptor, fcntl.LOCK_EX)
                pause = next(pauses, None) if flock is False else None
                if pause is None:
                    self._refuse_living_owner(descriptor, flock)
                    # The owner before us unlinks its record as it goes: who locks that locks nobody out.
                    if _is_at(path, descriptor):
                        return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            time.sleep(pause or 0)

    def _refuse_living_owner(self, descriptor: int, flock: bool | None) -> None:
        """Raise `LockedError` where the owner of the record lives; flock: see `_flock`."""
        text = os.pread(descriptor, 4096, 0).decode(errors="replace")
        if flock is False:
            raise make_locked_error(self.location, describe_owner(text))
        if names_owner(text) and not (flock and is_of_this_kernel(text)):
            refuse_living_owner(self.location, text, self._read_time() - os.fstat(descriptor).st_mtime)

    def _read_time(self) -> float:
        """The time of who keeps the folder: a server's, where it is shared."""
        probe = self._root / f"{TEMPORARY}{uuid.uuid4().hex}"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _flock(descriptor: int, kind: int) -> bool | None:
    """Whether this process has it now; None where the folder knows no such locks."""
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
