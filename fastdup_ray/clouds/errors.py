"""What the errors of obstore mean. Their texts have the answer of the server, in XML, JSON or words."""

import platform
import re

from fastdup_ray.clouds.cloud import Cloud
from fastdup_ray.common.access import Access
from fastdup_ray.errors import BadImageError, ErrorCode, InputError, redact

_STATUS = re.compile(r"non-2xx status code: (\d{3}) ?([A-Za-z ]*)")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<\n]*)")

_BAD_CREDENTIALS = (
    *("AuthenticationFailed", "InvalidAuthenticationInfo", "AuthorizationFailure"),
    *("InvalidSecurity", "ExpiredToken", "SignatureDoesNotMatch", "TokenExpired"),
)
"""Codes that concern the credentials or the clock, not an object."""

_NO_TOKEN = "performing token request"
"""Part of the text of an error if no token could be got with the credentials."""

_NO_CONTAINER = ("NoSuchBucket", "ContainerNotFound")


def get_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that obstore raises."""
    from obstore.exceptions import BaseError

    return BaseError, OSError, ValueError


def make_bad_image_error(error: Exception, cloud: Cloud, access: Access) -> BadImageError:
    """Return the entry in the bad list for an object that cannot be read.

    Raises:
        InputError: The credentials are refused, so that no object could be read.
    """
    from obstore.exceptions import PermissionDeniedError, PreconditionError, UnauthenticatedError

    refuse_credentials(error, cloud, access)
    if is_bucket_missing(error):
        return BadImageError(ErrorCode.MISSING, "the bucket does not exist")
    if isinstance(error, FileNotFoundError):
        return BadImageError(ErrorCode.MISSING, "the object does not exist")
    if isinstance(error, PreconditionError):
        return make_changed_error()
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return BadImageError(ErrorCode.UNREADABLE, f"no permission to read the object ({describe_error(error)})")
    if isinstance(error, ValueError):
        return BadImageError(ErrorCode.UNSUPPORTED, "objects with such a name cannot be read")
    return BadImageError(ErrorCode.READ_FAILED, f"reading failed: {describe_error(error)}")


def make_changed_error() -> BadImageError:
    """Return the entry in the bad list for an object that is not the version that was listed."""
    return BadImageError(ErrorCode.CHANGED, "the object changed after it was listed")


def refuse_credentials(error: Exception, cloud: Cloud, access: Access) -> None:
    """Raise `InputError` if an error would meet every request of this process."""
    text = str(error)
    if cloud.is_anonymous(access) and _NO_TOKEN not in text:
        return
    if _NO_TOKEN in text or _find(_CODE, text) in _BAD_CREDENTIALS or _find(_STATUS, text) == "401":
        raise InputError(
            f"{cloud.name} refuses the credentials of {platform.node()} ({describe_error(error)}): renew them "
            f"({cloud.credentials} …) and run the same command to resume."
        ) from None


def is_refused_condition(error: Exception) -> bool:
    """Return whether an error says that an object is not the one that was to be replaced, or exists already."""
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    return isinstance(error, (AlreadyExistsError, PreconditionError))


def is_bucket_missing(error: Exception) -> bool:
    """Return whether an error says that there is no such bucket."""
    return _find(_CODE, str(error)) in _NO_CONTAINER


def describe_error(error: Exception) -> str:
    """Describe an error of obstore in a few words: what the server says, or why it does not answer."""
    text = str(error)
    code, message = _find(_CODE, text), _find(_MESSAGE, text).strip().rstrip(".")
    if code and not code.isdecimal():
        return redact(f"{code}: {message}" if message and message != code else code)
    if status := _STATUS.search(text):
        return redact(" ".join(part.strip() for part in (*status.groups(), message and f"({message})") if part))
    line = text.splitlines()[0] if text else type(error).__name__
    return redact(line.rpartition(" - ")[2].split("?")[0].replace('"', "").strip().rstrip("."))


def _find(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
