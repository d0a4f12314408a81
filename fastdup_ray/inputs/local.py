"""Local files: what the file system says of them, and their bytes."""

import os
import stat as stat_module

from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.records import ImageRef


def ref_of(uri: str, status: os.stat_result) -> ImageRef:
    return ImageRef(uri, status.st_size, str(status.st_mtime_ns))


def stat(uri: str) -> ImageRef:
    """The entry of a path; one that cannot be looked at has size 0 and no token, and says why when it is read."""
    try:
        return ref_of(uri, os.stat(uri))
    except OSError:
        return ImageRef(uri, 0, "")


def _never_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe that nobody writes to would keep us


def read(ref: ImageRef) -> bytes:
    """The bytes of a file, if it is still the one that was listed."""
    try:
        with open(ref.uri, "rb", opener=_never_waiting) as file:
            before = os.fstat(file.fileno())
            if not stat_module.S_ISREG(before.st_mode):
                raise BadImageError(ErrorCode.NOT_AN_IMAGE, "this is not a regular file")
            if ref.mtime_or_etag and ref_of(ref.uri, before) != ref:
                raise BadImageError(ErrorCode.CHANGED, "the file changed after it was listed")
            data = file.read()
            if ref_of(ref.uri, os.fstat(file.fileno())) != ref_of(ref.uri, before) or len(data) != before.st_size:
                raise BadImageError(ErrorCode.CHANGED, "the file changed while it was read")
            return data
    except FileNotFoundError:
        raise BadImageError(ErrorCode.MISSING, "the file does not exist") from None
    except PermissionError:
        raise BadImageError(ErrorCode.UNREADABLE, "no permission to read the file") from None
    except IsADirectoryError:
        raise BadImageError(ErrorCode.NOT_AN_IMAGE, "this is a folder") from None
    except OSError as error:
        raise BadImageError(ErrorCode.READ_FAILED, f"reading failed: {error.strerror or error}") from None
