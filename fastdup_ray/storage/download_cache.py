"""Copies of remote files in a folder of this process: what was just put or got is not got again."""

import atexit
import fcntl
import os
import re
import shutil
import tempfile
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO

PREFIX = "fastdup_ray-"
BUDGET = 4 << 30
"""Bytes that copies may take; beyond it the oldest go. Who has one open or mapped keeps it."""


class DownloadCache:
    """Files by (name, etag). A folder with a lock that its process holds: what a dead one left, the next takes away."""

    def __init__(self) -> None:
        _sweep()
        self._root = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._alive = _lock_folder(self._root)
        self._sizes: OrderedDict[Path, int] = OrderedDict()
        self._total = 0
        self._guard = threading.Lock()
        atexit.register(self.close)

    def close(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        """A path for a new file, which is gone afterwards unless `keep` took it."""
        folder = self._root / uuid.uuid4().hex
        path = folder / name
        path.parent.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def scratch(self) -> IO[bytes]:
        """An empty file without a name."""
        return tempfile.TemporaryFile(dir=self._root)

    def keep(self, path: Path, name: str, etag: str) -> Path:
        """Takes a temporary file in as the copy of `name` with that ETag; returns its path from now on."""
        kept = self._path(name, etag)
        with self._guard:
            kept.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, kept)
            self._total -= self._sizes.pop(kept, 0)
            self._sizes[kept] = kept.stat().st_size
            self._total += self._sizes[kept]
            while self._total > BUDGET and len(self._sizes) > 1:
                oldest, size = self._sizes.popitem(last=False)
                self._total -= size
                oldest.unlink(missing_ok=True)
                with suppress(OSError):
                    os.removedirs(oldest.parent)  # as far up as nothing else is in it
        return kept

    def find(self, name: str, etag: str) -> Path | None:
        kept = self._path(name, etag)
        with self._guard:
            if kept not in self._sizes:
                return None
            self._sizes.move_to_end(kept)
        return kept

    def _path(self, name: str, etag: str) -> Path:
        return self._root / re.sub(r"[^0-9A-Za-z-]", "", etag) / name


@lru_cache(maxsize=1)
def _get_of_process(pid: int) -> DownloadCache:
    return DownloadCache()


def get_cache() -> DownloadCache:
    """That of this process, forked ones too."""
    return _get_of_process(os.getpid())


def _lock_folder(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None where another does."""
    with suppress(OSError):
        descriptor = os.open(folder / ".alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            os.close(descriptor)
    return None


def _sweep() -> None:
    """Takes away the folders of processes that are no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (folder / ".alive").exists() and (descriptor := _lock_folder(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
