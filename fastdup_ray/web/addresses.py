"""Files of web servers: their entries and their bytes. They have no listing.

The token of a file is its ETag, or else the date of its last change. A file whose server tells neither has a new token
each time that it is listed: its embedding is never reused.
"""

import hashlib
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from fastdup_ray.common.access import Access
from fastdup_ray.common.locations import refuse_password
from fastdup_ray.common.ranged_file import READ_AT_ONCE, open_ranges
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, ErrorCode, InputError
from fastdup_ray.system import background
from fastdup_ray.web.requests import AGENT, BrokenAnswerError, HeadRefusedError, request

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

LONGEST_LOOK = 120
"""Seconds to wait for the head of an answer while inputs are listed: a server may send it byte by byte."""

_TRIES_OF_A_BODY = 3
_CHUNK = 1 << 20

_FIRST_BYTE = "bytes=0-0"

_DIGITS = 18
"""Of a size that is believed."""

_TOKEN = re.compile(r"[\w/+=.-]{1,128}", re.ASCII)
_UNKNOWN_VERSION = "unknown-"
"""The beginning of a token for a file whose version the server does not tell."""


def stat(uri: str, _: Access) -> ImageRef:
    """Return the entry of an address; with size 0 and no token if it cannot be read: reading it gives the reason."""
    refuse_password(uri)
    if "#t=" in uri:
        return ImageRef(uri, 0, "")  # a frame; the server, which sees nothing after a #, would send the video
    try:
        return background.start(_look_up, uri).result(LONGEST_LOOK)
    except (BadImageError, TimeoutError):
        return ImageRef(uri, 0, "")


def is_file(uri: str, access: Access) -> bool:
    """Return whether an address can be read; one that can is looked up only once."""
    try:
        return _did_exist(uri, access)
    except FileNotFoundError:
        return False


@contextmanager
def open_entry(ref: ImageRef, access: Access, *, parts: bool = False) -> Iterator[BinaryIO]:
    """Open a file in the version that was listed, or in the current one if the entry has no token.

    Args:
        ref: The entry.
        access: As other sources take it.
        parts: Only parts of it will be read.

    Raises:
        BadImageError: It cannot be read.
    """
    if parts or ref.size > READ_AT_ONCE:
        yield open_stream(ref if ref.mtime_or_etag else _look_up(ref.uri), access)
    else:
        yield io.BytesIO(_get(ref))


def open_stream(ref: ImageRef, _: Access) -> BinaryIO:
    """Return the file as a seekable one that gets only the ranges that are read; it need not be closed."""
    return open_ranges(ref.size, lambda start, stop: _get(ref, (start, stop)))


def check_listing(uri: str, access: Access, *, seconds: int | None = None) -> None:  # noqa: ARG001 (as in other sources)
    """Raise `InputError`, with the reason why the address cannot be read, or that it has no listing."""
    refuse_password(uri)
    try:
        with request("GET", uri, AGENT):
            reason = "it has just appeared"
    except BadImageError as error:
        reason = error.message
    raise InputError(f"Input {uri!r} cannot be read ({reason}); name a file, or a list of addresses.")


def list_below(uri: str, wanted: Callable[[ImageRef], bool], access: Access) -> Iterator[ImageRef]:  # noqa: ARG001
    """Raise `InputError`: web servers have no listing."""
    check_listing(uri, access)
    return iter(())


def _look_up(uri: str) -> ImageRef:
    try:
        with request("HEAD", uri, AGENT) as answer:
            return ImageRef(uri, _read_size(answer), _make_token(answer.headers))
    except HeadRefusedError:
        pass
    with request("GET", uri, AGENT | {"Range": _FIRST_BYTE}) as answer:
        return ImageRef(uri, _read_size(answer), _make_token(answer.headers))


def _read_size(answer: "BaseHTTPResponse") -> int:
    size = answer.headers.get("Content-Range", "").rpartition("/")[2] if answer.status == 206 else None
    size = size or answer.headers.get("Content-Length") or "0"
    return int(size) if len(size) < _DIGITS and size.isdecimal() else 0


def _make_token(headers: Mapping[str, str]) -> str:
    token = headers.get("ETag", "").replace('"', "") or headers.get("Last-Modified", "")
    if not token:
        return f"{_UNKNOWN_VERSION}{time.time_ns()}"
    return token if _TOKEN.fullmatch(token) else hashlib.sha256(token.encode(errors="replace")).hexdigest()[:32]


def _get(ref: ImageRef, part: tuple[int, int] | None = None) -> bytes:
    """Return the bytes of a file, or [start, stop) of them, if it is still the version that was listed."""
    headers = AGENT | ({"Range": f"bytes={part[0]}-{part[1] - 1}"} if part else {})
    for tries_left in reversed(range(_TRIES_OF_A_BODY)):
        try:
            with request("GET", ref.uri, headers) as answer:
                _refuse_other_version(ref, answer.headers)
                if part and answer.status != 206:
                    raise BadImageError(
                        ErrorCode.UNSUPPORTED, "it is large or an archive, and the server does not send parts of files"
                    )
                return _read_body(answer, part[1] - part[0] if part else ref.size or READ_AT_ONCE)
        except BrokenAnswerError:
            if not tries_left:
                raise
    raise AssertionError


def _refuse_other_version(ref: ImageRef, headers: Mapping[str, str]) -> None:
    is_known = ref.mtime_or_etag and not ref.mtime_or_etag.startswith(_UNKNOWN_VERSION)
    if is_known and _make_token(headers) != ref.mtime_or_etag:
        raise BadImageError(ErrorCode.CHANGED, "the file changed after it was listed")


def _read_body(answer: "BaseHTTPResponse", most: int) -> bytes:
    data = bytearray()
    while chunk := answer.read(_CHUNK, decode_content=False):
        data += chunk
        if len(data) > most:
            raise BadImageError(ErrorCode.TOO_LARGE, f"more than {most:,} bytes, although the server said otherwise")
    return bytes(data)


@lru_cache(maxsize=1024)
def _did_exist(uri: str, access: Access) -> bool:
    if not stat(uri, access).mtime_or_etag:
        raise FileNotFoundError(uri)  # raised, since `lru_cache` keeps what is returned
    return True
