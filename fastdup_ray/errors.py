"""What can go wrong, each kind with the exit code of the command line; no message quotes a secret."""

import re
from enum import StrEnum


class ErrorCode(StrEnum):
    """Why one picture is bad. These words stand in features.bad.csv and manifest.parquet."""

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


class BadImageError(Exception):
    """One picture cannot be used. Never ends a run: it becomes a row of the bad list."""

    def __init__(self, code: ErrorCode, message: str, size: tuple[int, int] | None = None):
        """`size`: (width, height) in pixels, where the header gave it."""
        super().__init__(code, message, size)
        self.code, self.size = code, size
        # Decoders quote what they found: it may be anything, and of any length.
        printable = "".join(letter if letter.isprintable() else " " for letter in redact(message))
        self.message = " ".join(printable.split())[:LONGEST_MESSAGE] or code.value


class FastdupError(Exception):
    """Base of every error that a user can meet; its text is one line that says what to do."""

    exit_code = 1

    def __init__(self, message: str = ""):
        super().__init__(redact(message))


class ConfigError(FastdupError):
    """A parameter is unknown, of the wrong type, out of range, or asks for what is not there yet."""

    exit_code = 2


class InputError(FastdupError):
    """The input is missing, empty, or holds no good picture."""


class WorkDirError(FastdupError):
    """The work_dir, or a file that the user named, cannot be written, or is something that must not be replaced."""


class DamagedError(FastdupError):
    """A file is not what was written: truncated, changed, or of another run."""


class MissingFileError(FastdupError, FileNotFoundError):
    """A file that a run writes is not there."""


class LockedError(FastdupError):
    """Another run is writing to the same work_dir."""

    exit_code = 3


class LeakageError(FastdupError):
    """More pictures of the test set stand in the training set than are allowed."""

    exit_code = 4


class NewPairsError(FastdupError):
    """More pairs are new since the last run than are allowed."""

    exit_code = 4


class RefusedError(FastdupError):
    """A picture, or several, are left where they are, for a reason that the text says."""

    exit_code = 5


class WorkerError(FastdupError):
    """The workers failed for a reason that is not a picture's."""


class RayEndedError(FastdupError):
    """The Ray that a run has started for itself ended before the run did."""


# Secrets in URLs

HIDDEN = "***"

_PASSWORD_WITH_SLASH = re.compile(
    r"(https?:/+)[^/\s'\"`<>:@\[]*:(?!\d{1,5}(?:[/?#\s'\"`]|$))[^\s'\"`<>]*@", re.IGNORECASE
)
"""A password that should have been escaped: what follows the colon is no port."""

_USER = re.compile(r"([a-z][a-z0-9+.-]*:/+)[^/\s'\"`<>?#]*@", re.IGNORECASE)
"""All that stands before the host. Keys and paths may have an @, too, but only behind a slash."""

_PARAMETER = re.compile(
    r"([?&][\w.-]*(?:signature|credential|accesskeyid|token|passw(?:or)?d|secret|api[_-]?key|\bsig|\bkey|\bauth)=)"
    r"[^&\s'\"`<>#]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"\b((?:Signature|Credential)=)[^&\s'\"`<>#,]+")


def redact(text: str) -> str:
    """Return a text with `***` for user names, passwords, tokens and signatures in the URLs that it quotes."""
    text = _PASSWORD_WITH_SLASH.sub(rf"\1{HIDDEN}@", text)
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
    return _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
