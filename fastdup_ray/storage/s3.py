"""A work_dir below a prefix of a bucket.

Files are written to, and read from, a local folder of this process; each is uploaded whole.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from fastdup_ray import s3
from fastdup_ray.common import locations
from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import refuse_secrets
from fastdup_ray.errors import LockedError, MissingFileError, WorkDirError
from fastdup_ray.s3.download import open_download
from fastdup_ray.s3.upload import upload
from fastdup_ray.storage.download_cache import get_cache
from fastdup_ray.storage.local import check_whole
from fastdup_ray.storage.lock import Locks
from fastdup_ray.storage.s3_lock import S3Records

log = logging.getLogger(__name__)


class S3Store:
    """A work_dir in a bucket; see `fastdup_ray.storage.Store`."""

    at_once = 16

    def __init__(self, location: str, access: Access) -> None:
        refuse_secrets(location)
        self._bucket, self._prefix = locations.split_folder(location)
        self.location = s3.make_uri(self._bucket, self._prefix.rstrip("/")).rstrip("/")
        self.access = access
        self._locks = Locks()

    def prepare(self) -> None:
        with self._explain_errors():
            probe = self._make_arguments(f".probe-{os.urandom(8).hex()}")
            self._client.put_object(**probe, Body=b"")
            self._client.delete_object(**probe)

    @contextmanager
    def create(self, name: str, *, new: bool = False) -> Iterator[Path]:
        with get_cache().temporary(name) as path:
            yield path
            with self._explain_errors():
                before = None if new else self._get_etag(name)
                self._locks.check()  # whoever takes the lock over from now on writes after us, or makes our upload fail
                get_cache().keep(path, name, self._upload(path, name, before))

    def _upload(self, path: Path, name: str, before: str | None) -> str:
        try:
            return upload(path, self._bucket, self._prefix + name, before, self.access)
        except Exception as error:
            if s3.is_refused_condition(error):
                raise LockedError(
                    f"{name!r} in {self.location!r} was written by another process in the meantime and was not "
                    "replaced. Run the same command to resume."
                ) from None
            raise

    def scratch(self) -> IO[bytes]:
        return get_cache().scratch()

    def fetch(self, name: str) -> Path:
        with self._explain_errors(name):
            cache = get_cache()
            while True:
                etag = cache.get_etag(name)
                with open_download(self._bucket, self._prefix + name, self.access, etag) as download:
                    if download is None:
                        cached = cache.find(name, etag or "")
                    else:
                        cached = cache.find(name, download.etag) or cache.share(name, download.etag, download.size)
                    if cached is not None:
                        return cached
                    if download is not None:
                        with cache.temporary(name) as path:
                            download.save(path)
                            return cache.keep(path, name, download.etag)

    def read(self, name: str, start: int, size: int) -> bytes:
        return check_whole(self.read_up_to(name, start, size), size, name)

    def read_up_to(self, name: str, start: int, size: int) -> bytes:
        if not size:
            return b""
        with self._explain_errors(name):
            try:
                part = f"bytes={start}-{start + size - 1}"
                return bytes(self._client.get_object(**self._make_arguments(name), Range=part)["Body"].read())
            except Exception as error:
                if s3.get_error_code(error) == "InvalidRange":  # it ends before
                    return b""
                raise

    def exists(self, name: str) -> bool:
        with self._explain_errors():
            return self._get_etag(name) is not None or next(self._list_keys(name + "/"), None) is not None

    def is_file(self, name: str) -> bool:
        with self._explain_errors():
            return self._get_etag(name) is not None

    def is_empty(self) -> bool:
        with self._explain_errors():
            return all(key.removeprefix(self._prefix).startswith(".") for key in self._list_keys(""))

    def names(self, folder: str) -> Iterator[str]:
        with self._explain_errors():
            names = [key.removeprefix(self._prefix) for key in self._list_keys(folder and folder + "/")]
        return iter(sorted(name for name in names if not name.endswith("/")))

    def remove(self, name: str) -> None:
        with self._explain_errors():
            self._locks.check()
            whole = self._prefix + name
            keys = [key for key in self._list_keys(name) if key == whole or key.startswith(whole + "/")]
            for first in range(0, len(keys), s3.PAGE):
                some = [{"Key": key} for key in keys[first : first + s3.PAGE]]
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": some, "Quiet": True})
                for error in answer.get("Errors", ())[:1]:
                    raise WorkDirError(f"Removing {s3.make_uri(self._bucket, error['Key'])!r} failed: {error['Code']}.")

    def remove_if_empty(self, folder: str) -> None:
        """Do nothing: a bucket has no empty folders."""

    def remove_leftovers(self) -> None:
        """Abort unfinished uploads: their parts are invisible, but are paid for."""
        with self._explain_errors():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for upload in (upload for page in pages for upload in page.get("Uploads", ())):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    @contextmanager
    def lock(self, name: str, *, shared: bool = False) -> Iterator[None]:
        """Hold a lock: an object that only one process can create, renewed every few seconds."""
        with (
            self._explain_errors(),
            self._locks.hold(S3Records(self._bucket, self._prefix, self.location, self.access), name, shared=shared),
        ):
            yield

    @property
    def _client(self) -> Any:
        return s3.get_client(self.access)

    def _make_arguments(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}

    def _get_etag(self, name: str) -> str | None:
        try:
            return str(self._client.head_object(**self._make_arguments(name))["ETag"])
        except Exception as error:
            if s3.is_missing(error):
                return None
            raise

    def _list_keys(self, start: str) -> Iterator[str]:
        """All keys that begin with the prefix and `start`, sorted."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix + start)
        return (facts["Key"] for page in pages for facts in page.get("Contents", ()))

    def _explain_errors(self, name: str | None = None) -> AbstractContextManager[None]:
        return _translate_errors(self.location, name)


@contextmanager
def _translate_errors(location: str, name: str | None) -> Iterator[None]:
    """Translate boto3's errors; raise `MissingFileError` if the object `name` does not exist."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        if name is not None and s3.is_missing(error):
            raise MissingFileError(f"{location}/{name} does not exist.") from None
        s3.refuse_credentials(error)
        if s3.get_error_code(error) == "NoSuchBucket":
            raise WorkDirError(f"{location!r}: the bucket does not exist; create it first.") from None
        raise WorkDirError(f"{location!r} cannot be used ({s3.describe_error(error)}).") from None
