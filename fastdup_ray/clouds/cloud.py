"""What differs between clouds: how a bucket is opened, and where credentials come from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from fastdup_ray.common.access import Access
from fastdup_ray.common.requests import TRIES

ObjectStore: TypeAlias = Any
"""A `GCSStore` or `AzureStore` of obstore."""


@dataclass(frozen=True)
class Cloud:
    """A cloud that keeps objects in buckets.

    Attributes:
        scheme: Of its URIs.
        name: For messages.
        credentials: What to set so that its requests are signed, for messages.
        has_credentials: Returns whether this process finds credentials.
        make_store: Opens a bucket, by its name, `anonymous`, and the options of obstore; sends no request.
    """

    scheme: str
    name: str
    credentials: str
    has_credentials: Callable[[], bool]
    make_store: Callable[..., ObjectStore]

    def is_anonymous(self, access: Access) -> bool:
        """Return whether requests are unsigned."""
        return access.is_anonymous(self.scheme, self.has_credentials)

    def open_bucket(self, bucket: str, access: Access) -> ObjectStore:
        """Return the store of a bucket: one for each process, shared by its threads."""
        return _open_shared(self, bucket, self.is_anonymous(access))

    def open_briefly(self, bucket: str, access: Access, seconds: int) -> ObjectStore:
        """Return a store that sends each request once and waits for `seconds`, to check whether a server answers."""
        return _open(self, bucket, self.is_anonymous(access), retries=0, connect=seconds, total=seconds)


@cache
def _open_shared(cloud: Cloud, bucket: str, anonymous: bool) -> ObjectStore:  # noqa: FBT001 (a part of the key)
    return _open(cloud, bucket, anonymous, retries=TRIES, connect=10, total=120)


def _open(cloud: Cloud, bucket: str, anonymous: bool, *, retries: int, connect: int, total: int) -> ObjectStore:  # noqa: FBT001
    waits = {"allow_http": True, "connect_timeout": f"{connect}s", "timeout": f"{total}s"}
    return cloud.make_store(bucket, anonymous=anonymous, client_options=waits, retry_config={"max_retries": retries})
