"""Where something is: a path on disk, or a URI of one of the remote schemes."""

import os

from fastdup_ray.common.names import from_utf8, to_utf8
from fastdup_ray.errors import ConfigError, redact

S3, GOOGLE, AZURE, HTTPS = "s3", "gs", "az", "https"
"""The schemes: Amazon S3 and servers like it, Google Cloud Storage, Azure Blob Storage, and web servers."""

BUCKETS = (S3, GOOGLE, AZURE)
"""Schemes of buckets, which can be listed. Azure calls a bucket a container."""

WRITABLE = (S3, AZURE)
"""Schemes of buckets that can be written to, and locked by conditional writes."""

SCHEMES = (*BUCKETS, HTTPS)

SUPPORTED = "only s3://, gs://, az:// and https:// are supported"
"""For messages about URIs that are not."""

_PREFIXES = tuple(f"{scheme}://" for scheme in SCHEMES)

_CREDENTIALS = {
    S3: "AWS_PROFILE or AWS_ACCESS_KEY_ID",
    GOOGLE: "GOOGLE_APPLICATION_CREDENTIALS",
    AZURE: "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}
"""Where credentials belong instead of a URI."""


def is_remote(location: str) -> bool:
    """Return whether a path or URI starts with one of the remote schemes."""
    return location.startswith(_PREFIXES)


def get_scheme(location: str) -> str:
    """Return the remote scheme of a URI, such as `s3`; "" for a path."""
    return location.partition("://")[0] if is_remote(location) else ""


def to_absolute(location: str) -> str:
    """Return a path as an absolute one, and a URI unchanged."""
    return location if is_remote(location) else os.path.abspath(location)


def split(uri: str) -> tuple[str, str]:
    """Split the URI of an object, in which a key is written without any escapes, into bucket and key.

    Raises:
        ConfigError: There is no bucket, or credentials are in its place.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        raise ConfigError(f"{uri!r} contains credentials, {_explain_credentials(scheme)}")
    if not bucket:
        raise ConfigError(f"{uri!r} names no bucket; write {scheme}://bucket/prefix.")
    return bucket, to_utf8(key)


def split_folder(uri: str) -> tuple[str, str]:
    """Return the bucket, and the prefix of all keys below the folder `uri`: "" or a string ending in `/`."""
    bucket, key = split(uri)
    return bucket, key and key.rstrip("/") + "/"


def make_uri(scheme: str, bucket: str, key: str) -> str:
    """Return the URI of an object."""
    return f"{scheme}://{bucket}/{from_utf8(key)}"


def refuse_secrets(uri: str) -> None:
    """Raise `ConfigError` if a remote URI of the user's contains credentials or a signature."""
    scheme = get_scheme(uri)
    if scheme == HTTPS:
        refuse_password(uri)
        return
    split(uri)
    if redact(uri) != uri:
        raise ConfigError(f"{uri!r} is a signed URL, {_explain_credentials(scheme)}")


def refuse_password(address: str) -> None:
    """Raise `ConfigError` if an https:// address contains a user name or a password."""
    if "@" in address.removeprefix("https://").partition("/")[0].partition("?")[0]:
        raise ConfigError(f"{address!r} contains credentials, which would appear in every output: remove them.")


def refuse_read_only(location: str) -> None:
    """Raise `ConfigError` for a URI of a scheme that images are read from, and nothing is written to."""
    scheme = get_scheme(location)
    if scheme and scheme not in WRITABLE:
        raise ConfigError(
            f"{location!r}: {scheme}:// is for images only; name a folder, s3://bucket/prefix or az://container/prefix."
        )


def _explain_credentials(scheme: str) -> str:
    return f"which would appear in every output: use {scheme}://bucket/prefix, and set {_CREDENTIALS[scheme]}."
