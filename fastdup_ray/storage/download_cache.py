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
from weakref import WeakKeyDictionary

PREFIX = "fastdup_ray-"
BUDGET = 4 << 30
"""Bytes that cached files may take. Beyond that, the least recently used are deleted, but not the last of a thread.

A deleted file that is open or mapped stays readable.
"""

SHARED_BYTES = 8 << 20
"""Bytes from which an object is looked for in the caches of other processes before it is downloaded."""


class DownloadCache:
    """Local copies of objects, by name and ETag.

    The process holds a lock on its folder. The next cache that is made on the machine takes over the folders of
    processes that died without removing their own.
    """

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._alive = _lock_folder(self._root)
        self._sizes: OrderedDict[Path, int] = OrderedDict()
        self._etags: dict[str, str] = {}
        self._in_use: WeakKeyDictionary[threading.Thread, Path] = WeakKeyDictionary()
        self._total = 0
        self._guard = threading.Lock()
        atexit.register(self.close)
        self._take_over_abandoned_folders()

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._root, ignore_errors=True)

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        """Give a path for a new file. On exit the file is deleted, unless `keep` moved it into the cache."""
        folder = self._root / f".{uuid.uuid4().hex}"
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
        self._add(path, cached)
        self._etags[name] = etag
        return cached

    def get_etag(self, name: str) -> str | None:
        """Return the ETag of the version of an object that was cached last; None if it is not cached any more."""
        with self._guard:
            etag = self._etags.get(name)
            return etag if etag is not None and self._path(name, etag) in self._sizes else None

    def share(self, name: str, etag: str, size: int) -> Path | None:
        """Return the path of a large object that another process of this user and machine has cached; None if none has.

        Args:
            name: Name of the object.
            etag: ETag of the object.
            size: Its bytes.
        """
        if size < SHARED_BYTES:
            return None
        with self.temporary(name) as path:
            for folder in _list_folders():
                with suppress(OSError):
                    os.link(_locate(folder, name, etag), path)
                    if path.stat().st_size == size:
                        return self.keep(path, name, etag)
                    path.unlink()
        return None

    def find(self, name: str, etag: str) -> Path | None:
        """Return the path of the cached object, None if it is not cached."""
        cached = self._path(name, etag)
        with self._guard:
            if cached not in self._sizes:
                return None
            self._sizes.move_to_end(cached)
            self._in_use[threading.current_thread()] = cached
        return cached

    def _path(self, name: str, etag: str) -> Path:
        return _locate(self._root, name, etag)

    def _take_over_abandoned_folders(self) -> None:
        """Take large objects from the folders of processes that died, such as the step before, and remove these."""
        for folder in _list_folders():
            if (folder / ".alive").exists() and (descriptor := _lock_folder(folder)) is not None:
                for path in folder.glob("[!.]*/**/*"):
                    if path.is_file() and path.stat().st_size >= SHARED_BYTES:
                        self._add(path, self._root / path.relative_to(folder))
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)

    def _add(self, path: Path, cached: Path) -> None:
        """Move a file to its place in the cache, and delete the least recently used ones beyond the budget."""
        with self._guard:
            cached.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, cached)
            self._total -= self._sizes.pop(cached, 0)
            self._sizes[cached] = cached.stat().st_size
            self._total += self._sizes[cached]
            self._in_use[threading.current_thread()] = cached
            while self._total > BUDGET and (oldest := self._find_oldest()):
                self._total -= self._sizes.pop(oldest)
                oldest.unlink(missing_ok=True)
                with suppress(OSError):
                    os.removedirs(oldest.parent)  # stops at the first folder that is not empty

    def _find_oldest(self) -> Path | None:
        in_use = set(self._in_use.values())
        return next((path for path in self._sizes if path not in in_use), None)


@lru_cache(maxsize=1)
def _make_cache(pid: int) -> DownloadCache:  # noqa: ARG001 (the key of lru_cache: a forked process needs its own)
    return DownloadCache()


_making = threading.Lock()


def get_cache() -> DownloadCache:
    """Return the cache of this process; a forked process gets one of its own."""
    with _making:
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


def _list_folders() -> Iterator[Path]:
    """Yield the folders of all caches of this user on this machine."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.geteuid():
                yield folder


def _locate(root: Path, name: str, etag: str) -> Path:
    """Return where a cache has an object."""
    return root / re.sub(r"[^0-9A-Za-z-]", "", etag) / name
