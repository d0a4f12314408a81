"""A cache of downloaded objects in a temporary folder of this process.

A file that this process has just uploaded or downloaded is not downloaded again.
"""

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
"""Bytes that cached files may take. Beyond that, the least recently used are deleted.

A deleted file that is open or mapped stays readable.
"""


class DownloadCache:
    """Local copies of objects, by name and ETag.

    The process holds a lock on its folder. The next cache that is made on the machine removes the folders of processes
    that died without removing their own.
    """

    def __init__(self) -> None:
        _remove_abandoned_folders()
        self._root = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._alive = _lock_folder(self._root)
        self._sizes: OrderedDict[Path, int] = OrderedDict()
        self._total = 0
        self._guard = threading.Lock()
        atexit.register(self.close)

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._root, ignore_errors=True)

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        """Give a path for a new file. On exit the file is deleted, unless `keep` moved it into the cache."""
        folder = self._root / uuid.uuid4().hex
        path = folder / name
        path.parent.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def scratch(self) -> IO[bytes]:
        """Open an empty, unnamed file, which is deleted when it is closed."""
        return tempfile.TemporaryFile(dir=self._root)

    def keep(self, path: Path, name: str, etag: str) -> Path:
        """Move a temporary file into the cache.

        Args:
            path: A file that `temporary` gave.
            name: Name of the object.
            etag: ETag of the object with this content.

        Returns:
            The path of the file in the cache.
        """
        cached = self._path(name, etag)
        with self._guard:
            cached.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, cached)
            self._total -= self._sizes.pop(cached, 0)
            self._sizes[cached] = cached.stat().st_size
            self._total += self._sizes[cached]
            while self._total > BUDGET and len(self._sizes) > 1:
                oldest, size = self._sizes.popitem(last=False)
                self._total -= size
                oldest.unlink(missing_ok=True)
                with suppress(OSError):
                    os.removedirs(oldest.parent)  # stops at the first folder that is not empty
        return cached

    def find(self, name: str, etag: str) -> Path | None:
        """Return the path of the cached object, None if it is not cached."""
        cached = self._path(name, etag)
        with self._guard:
            if cached not in self._sizes:
                return None
            self._sizes.move_to_end(cached)
        return cached

    def _path(self, name: str, etag: str) -> Path:
        return self._root / re.sub(r"[^0-9A-Za-z-]", "", etag) / name


@lru_cache(maxsize=1)
def _make_cache(pid: int) -> DownloadCache:  # noqa: ARG001 (the key of lru_cache: a forked process needs its own)
    return DownloadCache()


def get_cache() -> DownloadCache:
    """Return the cache of this process; a forked process gets one of its own."""
    return _make_cache(os.getpid())


def _lock_folder(folder: Path) -> int | None:
    """Return a descriptor that holds the folder's lock, None if another process holds it."""
    with suppress(OSError):
        descriptor = os.open(folder / ".alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            os.close(descriptor)
    return None


def _remove_abandoned_folders() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (folder / ".alive").exists() and (descriptor := _lock_folder(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
