"""Amazon S3, and what speaks its language: names, clients, and what their errors mean.

Credentials are never ours: each process finds those of its own environment, files or role, as boto3 does. What a run
says of S3 (`Access`) goes to each process that works for it, which calls `use` with it first.
"""

import os
import platform
from dataclasses import dataclass, replace
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from fastdup_ray.common.names import from_utf8, to_utf8
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode, InputError, redact

if TYPE_CHECKING:
    from obstore.store import S3Store

SCHEME = "s3://"

CONNECTIONS = 64
"""That a process holds to S3 at most; whoever works on several threads shares them."""

TRIES = 10
"""Of one request that is throttled, cut off or answered by an error of the server, with growing pauses between."""

PAGE = 1000
"""Keys that one request lists, or deletes, at most: what S3 allows."""


@dataclass(frozen=True, slots=True)
class Access:
    """How S3 is asked. anonymous: unsigned, for public buckets; None: where this process finds no credentials.

    requester_pays: we agree to pay for what we read.
    """

    anonymous: bool | None = None
    requester_pays: bool = False


_requests = 0
_counting = Lock()

USUAL = Access()
_access = USUAL


def use(access: Access) -> None:
    """From now on this process asks S3 so."""
    global _access
    _access = access


def resolve_access() -> Access:
    """The same for those who work for this process: where it signs, they must not go on without credentials."""
    return _resolve(_access) if _resolve.cache_info().currsize else _access


def payer_arguments() -> dict[str, str]:
    """What every request about an object has to say of who pays."""
    return {"RequestPayer": "requester"} if _access.requester_pays else {}


def is_s3(location: str) -> bool:
    return location.startswith(SCHEME)


def split(uri: str) -> tuple[str, str]:
    """Bucket and key; the key stands in a URI as it is, without any escapes. `ConfigError` where there is no bucket."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    if "@" in bucket:
        raise ConfigError(f"{uri!r} has credentials in it, {_ELSEWHERE}")
    if not bucket:
        raise ConfigError(f"{uri!r} names no bucket; write s3://bucket/prefix.")
    return bucket, to_utf8(key)


_ELSEWHERE = "which would stand in every output: name s3://bucket/prefix, and set AWS_PROFILE or AWS_ACCESS_KEY_ID."


def refuse_secrets(location: str) -> None:
    """Raise `ConfigError` where an s3:// URI that the user named carries credentials or a signature."""
    split(location)
    if redact(location) != location:
        raise ConfigError(f"{location!r} is a signed URL, {_ELSEWHERE}")


def to_absolute(location: str) -> str:
    """A path from the root on; a URI as it is."""
    return location if is_s3(location) else os.path.abspath(location)


def make_uri(bucket: str, key: str) -> str:
    return f"{SCHEME}{bucket}/{from_utf8(key)}"


def split_folder(uri: str) -> tuple[str, str]:
    """Bucket, and the prefix of all keys below the folder `uri`: "" or ending in a `/`."""
    bucket, key = split(uri)
    return bucket, key and key.rstrip("/") + "/"


def get_client() -> Any:
    """boto3's client, one for each process: it may be used by several threads."""
    return _client(_resolve(_access))


def get_fast_reader(bucket: str) -> "S3Store":
    """Obstore's reader of a bucket: a get takes it a tenth of the CPU that boto3 needs.

    Its errors do not tell reasons: whoever meets one asks `client` the same again.
    """
    return _fast_reader(_resolve(_access), bucket)


@cache
def _resolve(access: Access) -> Access:
    import boto3  # takes a third of a second: only for who needs it

    if access.anonymous is None:
        return replace(access, anonymous=boto3.Session().get_credentials() is None)
    return access


def make_brief_client(seconds: int) -> Any:
    """boto3's client that asks once, and waits so long: to look whether anybody answers."""
    return _new_client(_resolve(_access), tries=1, connect_timeout=seconds, read_timeout=seconds)


@cache
def _client(access: Access) -> Any:
    made = _new_client(access, tries=TRIES, connect_timeout=10, read_timeout=60)
    made.meta.events.register("before-send.s3", count_request)
    return made


def _new_client(access: Access, *, tries: int, **timeouts: int) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    session = boto3.Session()
    options: dict[str, Any] = {
        "retries": {"mode": "adaptive", "total_max_attempts": tries},
        "max_pool_connections": CONNECTIONS,
        **timeouts,
    }
    if access.anonymous:
        options["signature_version"] = UNSIGNED
    try:
        made = session.client("s3", config=Config(**options))
        if not _is_amazon(made):  # servers of one's own seldom have a host name for each bucket
            made = session.client("s3", config=Config(**options, s3={"addressing_style": "path"}))
    except ValueError:  # it quotes the address, which may have a password and need not look like a URL
        raise ConfigError("AWS_ENDPOINT_URL is not a URL: write one such as http://host:9000.") from None
    return made


def count_request(**_: Any) -> None:
    """boto3 calls it; who asks by another client does so, too."""
    global _requests
    with _counting:
        _requests += 1


def count_requests_made() -> int:
    """By this process, repeated ones too; without the gets of `fast_reader`."""
    return _requests


def _is_amazon(made: Any) -> bool:
    return ".amazonaws." in made.meta.endpoint_url


@cache
def _fast_reader(access: Access, bucket: str) -> "S3Store":
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    of_boto3 = _client(access)
    options: dict[str, Any] = {"region": _find_region(of_boto3, bucket), "request_payer": access.requester_pays}
    if access.anonymous:
        options["skip_signature"] = True
    else:
        options["credential_provider"] = Boto3CredentialProvider(boto3.Session())
    if not _is_amazon(of_boto3):
        options["endpoint"] = of_boto3.meta.endpoint_url
    waits = {"allow_http": True, "connect_timeout": "10s", "timeout": "120s"}
    return S3Store(bucket, **options, client_options=waits, retry_config={"max_retries": TRIES})


def _find_region(of_boto3: Any, bucket: str) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = of_boto3.head_bucket(Bucket=bucket).get("BucketRegion")
    except (ClientError, BotoCoreError):
        found = None
    region = found or of_boto3.meta.region_name
    return region if region not in (None, "aws-global") else "us-east-1"


# What went wrong

_REFUSED = (
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
"""Codes that tell of the credentials, or the clock, rather than of an object."""

_GONE = ("404", "NoSuchKey", "NotFound")
_DENIED = ("401", "403", "AccessDenied", "AllAccessDisabled", "Forbidden")


def get_errors() -> tuple[type[Exception], ...]:
    """What a request of `client` may raise."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, OSError


def get_error_code(error: Exception) -> str:
    """S3's own word for an error of boto3; "" where the server did not answer."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def is_missing(error: Exception) -> bool:
    return get_error_code(error) in _GONE


def is_refused_condition(error: Exception) -> bool:
    """Whether an If-Match or If-None-Match did not hold, or two of them met."""
    return get_error_code(error) in ("412", "PreconditionFailed", "ConditionalRequestConflict")


def make_bad_image_error(error: Exception) -> BadImageError:
    """Why an object cannot be read, for the bad list; raises `InputError` where no object could be."""
    code = get_error_code(error)
    refuse_credentials(error)
    if is_missing(error):
        return BadImageError(ErrorCode.MISSING, "the object does not exist")
    if code == "NoSuchBucket":
        return BadImageError(ErrorCode.MISSING, "the bucket does not exist")
    if is_refused_condition(error):
        return BadImageError(ErrorCode.CHANGED, "the object changed after it was listed")
    if code == "InvalidObjectState":
        tier = error.response["Error"].get("StorageClass", "an archive")  # type: ignore[attr-defined]
        return BadImageError(ErrorCode.UNREADABLE, f"the object is in {tier} (Glacier): restore it first")
    if code in _DENIED or code.startswith("KMS."):
        return BadImageError(ErrorCode.UNREADABLE, f"no permission to read the object ({describe_error(error)})")
    return BadImageError(ErrorCode.READ_FAILED, f"reading failed: {describe_error(error)}")


def refuse_credentials(error: Exception) -> None:
    """Raises `InputError` for an error that would meet every request of this process."""
    if get_error_code(error) in _REFUSED or type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        raise InputError(
            f"S3 refuses the credentials of {platform.node()} ({describe_error(error)}): renew them (AWS_PROFILE, "
            "AWS_ACCESS_KEY_ID …) and call again; what is finished is kept."
        ) from None


def describe_error(error: Exception) -> str:
    """An error of boto3 in a few words."""
    code = get_error_code(error)
    if not code:
        return redact(str(error).split("?")[0].replace('"', "").rstrip("."))
    message = error.response["Error"].get("Message", "").rstrip(".")  # type: ignore[attr-defined]
    return redact(f"{code}: {message}") if message and message != code else code
