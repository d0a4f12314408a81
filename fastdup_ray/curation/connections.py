"""An HTTP server whose connections are limited in number and time, so that no client can lock the others out."""

import errno
import io
import math
import os
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MOST_CONNECTIONS = 64
"""Connections that are open at once. Beyond it, the one that has waited longest for a request is closed."""

BACKLOG = 128
"""Connections that the kernel holds until they are accepted."""

IDLE_SECONDS = 60.0
"""Time between two requests of a connection."""

HEADER_SECONDS = 10.0
"""Time from the first byte of a request to the end of its headers, however slowly they arrive."""

HEADER_BYTES = 128 << 10
"""Size of the request line and all headers together; the library limits each line, and their number."""

BODY_SECONDS = 60.0
"""Time for the rest of a request, and for sending the response."""

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_PAUSE = 0.1
"""Seconds to wait before accepting again if the process has no descriptor left and no connection to close."""


class BoundedServer(ThreadingHTTPServer):
    """An HTTP server that closes the connection that has waited longest rather than refuse a new one."""

    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._waiting: dict[socket.socket, float] = {}
        """Connections without an accepted request, and since when (monotonic seconds)."""
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(*args, **kwargs)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            connection, address = super().get_request()
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS and not self._close_longest_waiting():
                time.sleep(_PAUSE)  # the kernel offers the connection again at once: without a pause, this loop spins
            raise
        with self._guard:
            self._open.add(connection)
            self._waiting[connection] = time.monotonic()
            is_full = len(self._open) > MOST_CONNECTIONS
        if is_full:
            self._close_longest_waiting()
        return connection, address

    def mark_waiting(self, connection: socket.socket) -> None:
        """Note that a connection waits for a request: from now on it may be closed to make room for others."""
        with self._guard:
            self._waiting[connection] = time.monotonic()

    def mark_accepted(self, connection: socket.socket) -> None:
        """Note that the request of a connection is allowed: it stays open until it is answered."""
        with self._guard:
            self._waiting.pop(connection, None)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
            self._waiting.pop(request, None)
        super().shutdown_request(request)

    def _close_longest_waiting(self) -> bool:
        """Close a connection, whose thread then ends by itself. Return False if all are being answered."""
        with self._guard:
            longest = min(self._waiting, key=self._waiting.__getitem__, default=None)
            if longest is None:
                return False
            self._waiting.pop(longest)
        with suppress(OSError):  # it has just been closed
            longest.shutdown(socket.SHUT_RDWR)
        return True


class BoundedHandler(BaseHTTPRequestHandler):
    """A request handler with a deadline for each whole request rather than for each of its bytes."""

    server: BoundedServer

    def setup(self) -> None:
        super().setup()
        self._reader = _DeadlineReader(self.connection)
        self._buffer = io.BufferedReader(self._reader)
        self.rfile = self._buffer

    def handle_one_request(self) -> None:
        self.server.mark_waiting(self.connection)
        self._reader.set_limits(IDLE_SECONDS)
        try:
            first = self._buffer.peek(1)
            if not first:
                self.close_connection = True
                return
            self._reader.set_limits(HEADER_SECONDS, HEADER_BYTES)
            super().handle_one_request()
        except TimeoutError:
            self.close_connection = True

    def parse_request(self) -> bool:
        """Read the headers, then give the rest of the request its own deadline."""
        is_valid = super().parse_request()
        self._reader.set_limits(BODY_SECONDS)
        self.connection.settimeout(BODY_SECONDS)
        return is_valid


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket.

    It raises `TimeoutError` after a deadline, and beyond a size `HTTPException`, which the parser of headers handles.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._deadline, self._bytes_left = connection, 0.0, math.inf

    def set_limits(self, seconds: float, size: float = math.inf) -> None:
        self._deadline, self._bytes_left = time.monotonic() + seconds, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        if self._bytes_left <= 0:
            raise HTTPException("too large")
        self._connection.settimeout(seconds)
        count = self._connection.recv_into(buffer)
        self._bytes_left -= count
        return count
