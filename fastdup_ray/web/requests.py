"""Requests to web servers that somebody's list names: over TLS alone, and to public networks alone.

A list may come from a stranger, and this machine may reach servers that the stranger cannot. So each connection is
checked once it is made, before anything is sent: the name in an address may lead anywhere, and elsewhere a second time.
"""

import ipaddress
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from fastdup_ray.common.requests import TRIES
from fastdup_ray.errors import BadImageError, ErrorCode
from fastdup_ray.version import __version__

if TYPE_CHECKING:
    import socket

    from urllib3 import BaseHTTPResponse, PoolManager

PRIVATE_HOSTS = "FASTDUP_RAY_PRIVATE_HOSTS"
"""Environment variable: hosts in private networks that may be read all the same, separated by commas."""

MOST_REDIRECTS = 5

_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_CONNECT_TRIES = 3
"""Attempts at a connection: lists of addresses are often years old, and many of their hosts are gone."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10
"""Seconds before a request is sent again; each pause is twice as long as the one before."""

_BUSY = (429, 500, 502, 503, 504)
"""Answers after which a request is sent again."""

_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (404, 410)
_DENIED = (401, 402, 403, 407, 451)
_HEAD_REFUSED = (400, 403, 405, 501)


class HeadRefusedError(BadImageError):
    """An answer that some servers give to HEAD, although they have the file."""


class BrokenAnswerError(BadImageError):
    """The connection broke off in the midst of an answer."""


@contextmanager
def request(method: str, address: str, headers: Mapping[str, str]) -> Iterator["BaseHTTPResponse"]:
    """Send a request and follow redirects.

    Args:
        method: `GET` or `HEAD`.
        address: An https:// address.
        headers: Of the request.

    Yields:
        The answer, whose body is not read yet.

    Raises:
        HeadRefusedError: The server may still answer GET.
        BrokenAnswerError: The body ended early, while the caller read it.
        BadImageError: There is no answer, or one that says why there are no bytes.
    """
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    try:
        answer = _follow(method, address, headers)
    except (HTTPError, HTTPException, ValueError) as error:  # ValueError: no host can have this name
        raise BadImageError(ErrorCode.READ_FAILED, f"reading failed: {_describe(error)}") from None
    try:
        if method == "HEAD":
            answer.drain_conn()  # there is no body, and the connection can be used again
        yield answer
    except HTTPError as error:
        raise BrokenAnswerError(ErrorCode.READ_FAILED, f"reading failed: {_describe(error)}") from None
    finally:
        answer.close()


def _follow(method: str, address: str, headers: Mapping[str, str]) -> "BaseHTTPResponse":
    for _ in range(MOST_REDIRECTS + 1):
        if not address.lower().startswith("https://"):
            raise BadImageError(ErrorCode.UNREADABLE, "the server redirects to an address that is not https://")
        answer = _send(method, address, headers)
        target = answer.headers.get("Location") if answer.status in _REDIRECTS else None
        if target is None:
            break
        answer.close()
        address = urljoin(address, target)
    else:
        raise BadImageError(ErrorCode.READ_FAILED, f"reading failed: more than {MOST_REDIRECTS} redirects")
    if answer.status not in (200, 206):
        answer.close()
        error = _make_status_error(answer.status, answer.reason or "")
        if method == "HEAD" and answer.status in _HEAD_REFUSED:
            raise HeadRefusedError(error.code, error.message)
        raise error
    return answer


def _send(method: str, address: str, headers: Mapping[str, str]) -> "BaseHTTPResponse":
    """Send one request, again where that may help; urllib3's own repetitions would be logged, with whole addresses."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError, ReadTimeoutError

    options: Any = {"redirect": False, "retries": False, "preload_content": False}
    for tries in range(1, TRIES + 1):
        try:
            answer = _make_pools().request(method, address, headers=dict(headers), **options)
            if answer.status not in _BUSY or tries == TRIES:
                return answer
            answer.close()
        except (NewConnectionError, ConnectTimeoutError):
            if tries >= _CONNECT_TRIES:
                raise
        except (ProtocolError, ReadTimeoutError):
            if tries == TRIES:
                raise
        time.sleep(min(_FIRST_PAUSE * 2**tries, _LONGEST_PAUSE))
    raise AssertionError


def _make_status_error(status: int, reason: str) -> BadImageError:
    shown = f"{status} {reason}".strip()
    if status in _GONE:
        return BadImageError(ErrorCode.MISSING, f"the server has no such file ({shown})")
    if status in _DENIED:
        return BadImageError(ErrorCode.UNREADABLE, f"the server denies access ({shown})")
    return BadImageError(ErrorCode.READ_FAILED, f"reading failed: the server answered {shown}")


@cache
def _make_pools() -> "PoolManager":
    import ssl

    from urllib3 import HTTPSConnectionPool, PoolManager, Timeout
    from urllib3.connection import HTTPSConnection

    class CheckedConnection(HTTPSConnection):
        """A connection to a public network."""

        def _new_conn(self) -> "socket.socket":  # of urllib3: the only place between connecting and sending
            connected = super()._new_conn()
            if not _is_allowed(self.host, connected):
                connected.close()
                raise BadImageError(
                    ErrorCode.UNREADABLE, f"{self.host} is in a private network; {PRIVATE_HOSTS} names those to be read"
                )
            return connected

    class CheckedPool(HTTPSConnectionPool):
        ConnectionCls = CheckedConnection

    pools = PoolManager(
        num_pools=64,
        maxsize=16,
        ssl_context=ssl.create_default_context(),
        headers={},
        timeout=Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
    )
    pools.pool_classes_by_scheme = {"https": CheckedPool}
    return pools


AGENT = {"User-Agent": f"fastdup-ray/{__version__}", "Accept-Encoding": "identity"}
"""Headers of every request: some servers refuse those without a name, and a digest is one of bytes as they are."""


def _is_allowed(host: str, connected: "socket.socket") -> bool:
    allowed = {name.strip().lower() for name in os.environ.get(PRIVATE_HOSTS, "").split(",")}
    return host.lower() in allowed or is_public(connected.getpeername()[0])


def is_public(address: str) -> bool:
    """Return whether an IP address is reachable from everywhere."""
    parsed: Any = ipaddress.ip_address(address.partition("%")[0])
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return bool(parsed.is_global and not parsed.is_multicast)


def _describe(error: Exception) -> str:
    """Describe an error of urllib3 without the addresses and objects that its text quotes."""
    from urllib3 import exceptions

    reason = getattr(error, "reason", None) or error
    if isinstance(reason, exceptions.NameResolutionError):
        return "the host is not known"
    if isinstance(reason, exceptions.SSLError):
        return f"no secure connection ({reason})"
    if isinstance(reason, exceptions.TimeoutError) and not isinstance(reason, exceptions.NewConnectionError):
        return "no answer in time"
    if isinstance(reason, exceptions.NewConnectionError):
        return "no connection"
    return "the connection broke off" if isinstance(reason, exceptions.ProtocolError) else str(reason)
