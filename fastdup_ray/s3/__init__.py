"""Amazon S3 and servers that speak its protocol: clients, and what their errors mean.

Credentials are those that boto3 finds.
"""

import platform
from functools import cache
from typing import TYPE_CHECKING, Any

from fastdup_ray.common import locations
from fastdup_ray.common.access import Access
from fastdup_ray.common.requests import TRIES, count_request
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode, InputError, redact

if TYPE_CHECKING:
    from obstore.store import S3Store

CONNECTIONS = 64
"""Connections of one client, which all threads of the process share."""

PAGE = 1000
"""Keys listed, or deleted, by one request: the most that S3 allows."""


def is_s3(location: str) -> bool:
    """Return whether a path or URI starts with `s3://`."""
    return location.startswith("s3://")


def make_uri(bucket: str, key: str) -> str:
    """Return the s3:// URI of an object."""
    return locations.make_uri(locations.S3, bucket, key)


def get_client(access: Access) -> Any:
    """Return boto3's client for `access`: one for each process, shared by its threads."""
    return _make_shared_client(_resolve(access))


def get_fast_reader(access: Access, bucket: str) -> "S3Store":
    """Return obstore's reader of a bucket, whose gets take a tenth of the CPU time of boto3's.

    Its errors give no reasons: on one, repeat the request with `get_client`.
    """
    return _make_fast_reader(_resolve(access), bucket)


def make_brief_client(access: Access, seconds: int) -> Any:
    """Return a client that sends each request once and waits for `seconds`, to check whether a server answers."""
    return _new_client(_resolve(access), tries=1, connect_timeout=seconds, read_timeout=seconds)


def _resolve(access: Access) -> Access:
    return Access(access.is_anonymous(locations.S3, _can_sign), access.requester_pays)


@cache
def _can_sign() -> bool:
    import boto3  # takes a third of a second: only if it is needed

    return boto3.Session().get_credentials() is not None


@cache
def _make_shared_client(access: Access) -> Any:
    client = _new_client(access, tries=TRIES, connect_timeout=10, read_timeout=60)
    client.meta.events.register("before-send.s3", count_request)
    return client


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
        client = session.client("s3", config=Config(**options))
        if not _is_amazon(client):  # other servers seldom have a host name for each bucket
            client = session.client("s3", config=Config(**options, s3={"addressing_style": "path"}))
    except ValueError:  # its text quotes the address, which may contain a password and need not look like a URL
        raise ConfigError("AWS_ENDPOINT_URL is not a URL: write one such as http://host:9000.") from None
    if access.requester_pays:
        client.meta.events.register("before-call.s3", _agree_to_pay)
    return client


def _agree_to_pay(params: dict[str, Any], **_: Any) -> None:
    """Add the header to a request of boto3 before it is signed."""
    params["headers"]["x-amz-request-payer"] = "requester"


def _is_amazon(client: Any) -> bool:
    return ".amazonaws." in client.meta.endpoint_url


@cache
def _make_fast_reader(access: Access, bucket: str) -> "S3Store":
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    client = _make_shared_client(access)
    options: dict[str, Any] = {"region": _find_region(client, bucket), "request_payer": access.requester_pays}
    if access.anonymous:
        options["skip_signature"] = True
    else:
        options["credential_provider"] = Boto3CredentialProvider(boto3.Session())
    if not _is_amazon(client):
        options["endpoint"] = client.meta.endpoint_url
    waits: Any = {"allow_http": True, "connect_timeout": "10s", "timeout": "120s"}
    return S3Store(bucket, **options, client_options=waits, retry_config={"max_retries": TRIES})


def _find_region(client: Any, bucket: str) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        region = client.head_bucket(Bucket=bucket).get("BucketRegion")
    except (ClientError, BotoCoreError):
        region = None
    region = region or client.meta.region_name
    return region if region not in (None, "aws-global") else "us-east-1"


# Errors

_BAD_CREDENTIALS = (
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
"""Error codes that concern the credentials or the clock, not an object."""

_GONE = ("404", "NoSuchKey", "NotFound")
_DENIED = ("401", "403", "AccessDenied", "AllAccessDisabled", "Forbidden")


def get_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that a request of boto3 may raise."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, OSError


def get_error_code(error: Exception) -> str:
    """Return S3's code for an error of boto3; "" if the server did not answer."""
    return _get_error_detail(error, "Code")


def _get_error_detail(error: Exception, name: str) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get(name, ""))


def is_missing(error: Exception) -> bool:
    """Return whether an error says that there is no such object."""
    return get_error_code(error) in _GONE


def is_refused_condition(error: Exception) -> bool:
    """Return whether an If-Match or If-None-Match failed, or two conditional requests collided."""
    return get_error_code(error) in ("412", "PreconditionFailed", "ConditionalRequestConflict")


def make_bad_image_error(error: Exception) -> BadImageError:
    """Return the entry in the bad list for an object that cannot be read.

    Raises:
        InputError: where the credentials are refused, so that no object could be read.
    """
    code = get_error_code(error)
    refuse_credentials(error)
    if is_missing(error):
        return BadImageError(ErrorCode.MISSING, "the object does not exist")
    if code == "NoSuchBucket":
        return BadImageError(ErrorCode.MISSING, "the bucket does not exist")
    if is_refused_condition(error):
        return BadImageError(ErrorCode.CHANGED, "the object changed after it was listed")
    if code == "InvalidObjectState":
        tier = _get_error_detail(error, "StorageClass") or "an archive"
        return BadImageError(ErrorCode.UNREADABLE, f"the object is in {tier} (Glacier): restore it first")
    if code in _DENIED or code.startswith("KMS."):
        return BadImageError(ErrorCode.UNREADABLE, f"no permission to read the object ({describe_error(error)})")
    return BadImageError(ErrorCode.READ_FAILED, f"reading failed: {describe_error(error)}")


def refuse_credentials(error: Exception) -> None:
    """Raise `InputError` if an error would meet every request of this process."""
    is_unsigned = type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError")
    if is_unsigned or get_error_code(error) in _BAD_CREDENTIALS:
        raise InputError(
            f"S3 refuses the credentials of {platform.node()} ({describe_error(error)}): renew them (AWS_PROFILE, "
            "AWS_ACCESS_KEY_ID …) and run the same command to resume."
        ) from None


def describe_error(error: Exception) -> str:
    """Describe an error of boto3 in a few words."""
    code = get_error_code(error)
    if not code:
        return redact(str(error).split("?")[0].replace('"', "").rstrip("."))
    message = _get_error_detail(error, "Message").rstrip(".")
    return redact(f"{code}: {message}") if message and message != code else code
