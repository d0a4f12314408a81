"""A work_dir below a prefix of a bucket, whatever the kind of bucket.

Files are written to, and read from, a local folder of this process; each is uploaded whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, ClassVar, Protocol

from fastdup_ray.common import locations
from fastdup_ray.common.access import Access
from fastdup_ray.errors import LockedError
from fastdup_ray.storage.bucket_lock import BucketRecords, LockObjects, RefusedConditionError
from fastdup_ray.storage.download_cache import get_cache
from fastdup_ray.storage.local import check_whole
from fastdup_ray.storage.lock import Locks


class Download(Protocol):
    """An object whose first part is about to arrive."""

    @property
    def etag(self) -> str:
        """Its ETag."""

    @property
    def size(self) -> int:
        """Its bytes."""

    def save(self, path: Path) -> None:
        """Write the object to a new file."""


class BucketStore(ABC):
    """A work_dir in a bucket; see `fastdup_ray.storage.Store`.

    A subclass sends the requests of one kind of bucket. Its errors are translated by `_explain_errors`.

    Attributes:
        scheme: Of its URIs.
    """

    at_once = 16
    scheme: ClassVar[str]

    def __init__(self, location: str, access: Access) -> None:
        locations.refuse_secrets(location)
        self._bucket, self._prefix = locations.split_folder(location)
        self.location = locations.make_uri(self.scheme, self._bucket, self._prefix.rstrip("/")).rstrip("/")
        self.access = access
        self._locks = Locks()

    def prepare(self) -> None:
        with self._explain_errors():
            self._probe()

    @contextmanager
    def create(self, name: str, *, new: bool = False) -> Iterator[Path]:
        cached = self._make_cached_name(name)
        with get_cache().temporary(cached) as path:
            yield path
            with self._explain_errors():
                before = None if new else self._get_etag(name)
                self._locks.check()  # whoever takes the lock over from now on writes after us, or makes our upload fail
                try:
                    etag = self._upload(path, name, before)
                except RefusedConditionError:
                    raise LockedError(
                        f"{name!r} in {self.location!r} was written by another process in the meantime and was not "
                        "replaced. Run the same command to resume."
                    ) from None
                get_cache().keep(path, cached, etag)

    def scratch(self) -> IO[bytes]:
        return get_cache().scratch()

    def fetch(self, name: str) -> Path:
        cache, cached_name = get_cache(), self._make_cached_name(name)
        with self._explain_errors(name):
            while True:
                etag = cache.get_etag(cached_name)
                with self._open_download(name, etag) as download:
                    if download is None:
                        cached = cache.find(cached_name, etag or "")
                    else:
                        cached = cache.find(cached_name, download.etag)
                        cached = cached or cache.share(cached_name, download.etag, download.size)
                    if cached is not None:
                        return cached
                    if download is not None:
                        with cache.temporary(cached_name) as path:
                            download.save(path)
                            return cache.keep(path, cached_name, download.etag)

    def read(self, name: str, start: int, size: int) -> bytes:
        return check_whole(self.read_up_to(name, start, size), size, name)

    def read_up_to(self, name: str, start: int, size: int) -> bytes:
        if not size:
            return b""
        with self._explain_errors(name):
            return self._read_range(name, start, size)

    def exists(self, name: str) -> bool:
        with self._explain_errors():
            return self._get_etag(name) is not None or next(iter(self._list_keys(name)), None) is not None

    def is_file(self, name: str) -> bool:
        with self._explain_errors():
            return self._get_etag(name) is not None

    def is_empty(self) -> bool:
        with self._explain_errors():
            return all(key.removeprefix(self._prefix).startswith(".") for key in self._list_keys(""))

    def names(self, folder: str) -> Iterator[str]:
        with self._explain_errors():
            names = [key.removeprefix(self._prefix) for key in self._list_keys(folder)]
        return iter(sorted(name for name in names if not name.endswith("/")))

    def remove(self, name: str) -> None:
        with self._explain_errors():
            self._locks.check()
            self._remove_tree(name)

    def remove_if_empty(self, folder: str) -> None:  # noqa: B027
        """Do nothing: a bucket has no empty folders."""

    def remove_leftovers(self) -> None:
        with self._explain_errors():
            self._abort_uploads()

    @contextmanager
    def lock(self, name: str, *, shared: bool = False) -> Iterator[None]:
        """Hold a lock: an object that only one process can create, renewed every few seconds."""
        with ExitStack() as held:
            with self._explain_errors():
                held.enter_context(self._locks.hold(BucketRecords(self._lock_objects), name, shared=shared))
            yield

    def _make_cached_name(self, name: str) -> str:
        """Return the name of a file in the cache: objects with one such name and one ETag have the same content."""
        return name

    @abstractmethod
    def _probe(self) -> None:
        """Put an object, and remove it."""

    @abstractmethod
    def _get_etag(self, name: str) -> str | None:
        """Return the ETag of an object, None if there is none."""

    @abstractmethod
    def _upload(self, path: Path, name: str, before: str | None) -> str:
        """Upload a whole file, or nothing.

        Args:
            path: The file.
            name: Name of the object.
            before: The ETag of the object that is replaced; None if there must be none.

        Returns:
            The ETag of the object.

        Raises:
            RefusedConditionError: Another process has put the object.
        """

    @abstractmethod
    def _open_download(self, name: str, unless: str | None) -> AbstractContextManager[Download | None]:
        """Request an object; give None if it has the ETag `unless`."""

    @abstractmethod
    def _read_range(self, name: str, start: int, size: int) -> bytes:
        """Return up to `size` bytes of an object from `start` on."""

    @abstractmethod
    def _list_keys(self, folder: str) -> Iterable[str]:
        """Return the keys below a folder; "" is the work_dir itself."""

    @abstractmethod
    def _remove_tree(self, name: str) -> None:
        """Remove the object `name`, and all below the folder of this name."""

    @abstractmethod
    def _abort_uploads(self) -> None:
        """Remove what unfinished uploads have left."""

    @property
    @abstractmethod
    def _lock_objects(self) -> LockObjects:
        """The lock records."""

    @abstractmethod
    def _explain_errors(self, name: str | None = None) -> AbstractContextManager[None]:
        """Translate errors of requests; raise `MissingFileError` if the object `name` does not exist."""
