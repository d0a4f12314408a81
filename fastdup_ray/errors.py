"""All errors that a user can meet, with their exit codes, and the codes of bad images.

```text
FastdupError (exit code 1)
├── ConfigError (2)
├── InputError
├── WorkDirError
├── DamagedError
├── MissingFileError, also a FileNotFoundError
├── LockedError (3)
├── LeakageError (4)
├── NewPairsError (4)
├── RefusedError (5)
├── WorkerError
└── RayEndedError
```

Secrets in URLs are removed from every message.
"""

import re
from enum import StrEnum


class ErrorCode(StrEnum):
    """Why an image is bad. The values are written to features.bad.csv and manifest.parquet."""

    ZERO_SIZE = "ZERO_SIZE"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    TRUNCATED = "TRUNCATED"
    CORRUPT = "CORRUPT"
    TOO_LARGE = "TOO_LARGE"
    TOO_SMALL = "TOO_SMALL"
    UNREADABLE = "UNREADABLE"
    MISSING = "MISSING"
    CHANGED = "CHANGED"
    READ_FAILED = "READ_FAILED"
    BOUNDING_BOX_OUTSIDE = "BOUNDING_BOX_OUTSIDE"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    CRASHED = "CRASHED"
    UNSUPPORTED = "UNSUPPORTED"


LONGEST_MESSAGE = 300
"""Characters of the message of a bad image."""


class BadImageError(Exception):
    """An image cannot be used. It never stops a run: the image goes to the list of bad images.

    Args:
        code: Why it cannot be used.
        message: The reason in words; may quote what a decoder says.
        size: Width and height in pixels, if they could be read.

    Attributes:
        code: As given.
        size: As given.
        message: The reason in one printable line of at most `LONGEST_MESSAGE` characters, without secrets.
    """

    def __init__(self, code: ErrorCode, message: str, size: tuple[int, int] | None = None) -> None:
        super().__init__(code, message, size)
        self.code, self.size = code, size
        # Decoders may quote anything from the file, at any length.
        printable = "".join(letter if letter.isprintable() else " " for letter in redact(message))
        self.message = " ".join(printable.split())[:LONGEST_MESSAGE] or code.value


class FastdupError(Exception):
    """Base of all errors that a user can meet. The message is one line: what is wrong, and what to do.

    Attributes:
        exit_code: Exit code of the command.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(redact(message))


class ConfigError(FastdupError):
    """A parameter is unknown, of the wrong type, out of range, or not available here."""

    exit_code = 2


class InputError(FastdupError):
    """The input is missing or empty, or contains no good image."""


class WorkDirError(FastdupError):
    """The work_dir, or a file that the user named, cannot be written or must not be replaced."""


class DamagedError(FastdupError):
    """A file is not as it was written: truncated, changed, or from another run."""


class MissingFileError(FastdupError, FileNotFoundError):
    """A file that a run writes does not exist."""


class LockedError(FastdupError):
    """Another run is writing to the same work_dir."""

    exit_code = 3


class LeakageError(FastdupError):
    """More test images also appear in the training set than allowed."""

    exit_code = 4


class NewPairsError(FastdupError):
    """More pairs are new since the last run than allowed."""

    exit_code = 4


class RefusedError(FastdupError):
    """One or more images were not moved; the message says why."""

    exit_code = 5


class WorkerError(FastdupError):
    """The workers failed for a reason other than a bad image."""


class RayEndedError(FastdupError):
    """The Ray instance that a run started ended before the run did."""


# Secrets in URLs

HIDDEN = "***"

_PASSWORD_WITH_SLASH = re.compile(
    r"(https?:/+)[^/\s'\"`<>:@\[]*:(?!\d{1,5}(?:[/?#\s'\"`]|$))[^\s'\"`<>]*@", re.IGNORECASE
)
"""A password with an unescaped slash: what follows the colon is not a port."""

_USER = re.compile(r"([a-z][a-z0-9+.-]*:/+)[^/\s'\"`<>?#]*@", re.IGNORECASE)
"""Everything before the host. Keys and paths may contain an @ too, but only after a slash."""

_PARAMETER = re.compile(
    r"([?&][\w.-]*(?:signature|credential|accesskeyid|token|passw(?:or)?d|secret|api[_-]?key|\bsig|\bkey|\bauth)=)"
    r"[^&\s'\"`<>#]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"\b((?:Signature|Credential)=)[^&\s'\"`<>#,]+")


def redact(text: str) -> str:
    """Return a text with user names, passwords, tokens and signatures in its URLs replaced by `***`."""
    text = _PASSWORD_WITH_SLASH.sub(rf"\1{HIDDEN}@", text)
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
    return _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
