"""An HTTP server whose connections are bounded in number and in time: nobody who holds some locks the others out."""

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
"""Open at once; beyond them the one that has waited longest for a request is closed."""

BACKLOG = 128
"""Connections that the kernel keeps until they are accepted."""

IDLE_SECONDS = 60.0
"""Between two requests of one connection."""

HEADER_SECONDS = 10.0
"""From the first byte of a request to the end of its headers, however slowly they drip in."""

HEADER_BYTES = 128 << 10
"""Of a request line and all headers together; the library bounds each line, and their number."""

BODY_SECONDS = 60.0
"""For the rest of a request, and to take the answer."""

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_PAUSE = 0.1
"""Seconds without accepting, where the process has no descriptor left and no connection to close for one."""


class BoundedServer(ThreadingHTTPServer):
    """Closes what waits longest, rather than refuse who comes next."""

    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(self, *args: Any, **kwargs: Any):
        self._waiting: dict[socket.socket, float] = {}
        """Connections without a request that was found to be allowed, and since when."""
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(*args, **kwargs)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            connection, address = super().get_request()
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS and not self._close_longest_waiting():
                time.sleep(_PAUSE)  # the connection is still to be accepted: without a pause this loop takes a core
            raise
        with self._guard:
            self._open.add(connection)
            self._waiting[connection] = time.monotonic()
            is_full = len(self._open) > MOST_CONNECTIONS
        if is_full:
            self._close_longest_waiting()
        return connection, address

    def wait_for_request(self, connection: socket.socket) -> None:
        """From now on the connection may be closed to make room for others."""
        with self._guard:
            self._waiting[connection] = time.monotonic()

    def take_in_hand(self, connection: socket.socket) -> None:
        """Keep the connection open: its request is allowed, and is being answered."""
        with self._guard:
            self._waiting.pop(connection, None)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
            self._waiting.pop(request, None)
        super().shutdown_request(request)

    def _close_longest_waiting(self) -> bool:
        """Close one connection; its thread then ends by itself. False where all are being answered."""
        with self._guard:
            longest = min(self._waiting, key=self._waiting.__getitem__, default=None)
            if longest is None:
                return False
            self._waiting.pop(longest)
        with suppress(OSError):  # it has just gone
            longest.shutdown(socket.SHUT_RDWR)
        return True


class BoundedHandler(BaseHTTPRequestHandler):
    """Gives each request a deadline as a whole, not each of its bytes."""

    server: BoundedServer

    def setup(self) -> None:
        super().setup()
        self._reader = _DeadlineReader(self.connection)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        self.server.wait_for_request(self.connection)
        self._reader.allow(IDLE_SECONDS)
        try:
            first = self.rfile.peek(1)
            if not first:
                self.close_connection = True
                return
            self._reader.allow(HEADER_SECONDS, HEADER_BYTES)
            super().handle_one_request()
        except TimeoutError:
            self.close_connection = True

    def parse_request(self) -> bool:
        """Read the headers."""
        parsed = super().parse_request()
        self._reader.allow(BODY_SECONDS)
        self.connection.settimeout(BODY_SECONDS)
        return parsed


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a deadline, then raises `TimeoutError`; beyond a size, what the parser of headers knows."""

    def __init__(self, connection: socket.socket):
        self._connection, self._end, self._room = connection, 0.0, math.inf

    def allow(self, seconds: float, size: float = math.inf) -> None:
        self._end, self._room = time.monotonic() + seconds, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        if self._room <= 0:
            raise HTTPException("too large")
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        self._room -= count
        return count
