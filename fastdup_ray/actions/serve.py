"""The command `serve`: the report at an address of this machine, with whole pictures, and decisions that are saved.

What can be asked for is a closed list: the page, the plan, and the pictures of the run by their number. No name of a
file ever comes from a request; who does not know the token in the URL gets nothing at all.
"""

import hmac
import ipaddress
import os
import re
import secrets
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fastdup_ray.actions.served import Served
from fastdup_ray.errors import BadImageError, ConfigError, FastdupError, InputError

LARGEST_PLAN = 1 << 28
"""Bytes of a plan that a page may send."""

SECONDS = 60
"""That a client may keep a connection waiting."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""Of every answer. There is none that lets another origin read it."""

CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
"""The policy of every answer but the page."""

_TARGET = re.compile(r"/([A-Za-z0-9_-]{1,100})/(|plan|picture/(\d{1,12}))")
"""Token and what is asked for. No escapes, no queries, no dots: there is nothing to be misread."""


class Server(ThreadingHTTPServer):
    """Listens from its making on; `serve_forever` answers."""

    daemon_threads = True

    def __init__(self, served: Served, host: str = "127.0.0.1", port: int = 0):
        """host: an address of this machine, not a name. port: 0 takes a free one. Raises `ConfigError`."""
        self.served, self.token = served, secrets.token_urlsafe(32)
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise ConfigError(
                f"host={host!r} is not possible: it should be an IP address, such as 127.0.0.1."
            ) from None
        if address.is_unspecified:
            raise ConfigError(f"host={host!r} is not possible: name the one address that it should be reached at.")
        self.is_local = address.is_loopback
        self.address_family = {4: socket.AF_INET, 6: socket.AF_INET6}[address.version]
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"Cannot listen at {host} port {port}: {reason}.") from None
        shown = f"[{host}]" if address.version == 6 else host
        self.hosts = {f"{shown}:{self.server_port}"}
        if self.is_local:
            self.hosts.add(f"localhost:{self.server_port}")
        self.url = f"http://{shown}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SECONDS
    server: Server

    def do_GET(self) -> None:
        try:
            self._get(*self._asked())
        except _Refused as refused:
            self._answer(refused.status, str(refused))

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        try:
            what, _ = self._asked()
            if what != "plan":
                raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "Only the plan can be written.")
            self.server.served.save(self._body())
        except _Refused as refused:
            self._answer(refused.status, str(refused))
        except InputError as error:
            self._answer(HTTPStatus.BAD_REQUEST, str(error))
        except (FastdupError, OSError) as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"The plan cannot be saved: {error}")
        else:
            self._answer(HTTPStatus.NO_CONTENT)

    def _get(self, what: str, row: str | None) -> None:
        served = self.server.served
        try:
            if row is not None:
                kind, data = served.picture(int(row))
                self._answer(HTTPStatus.OK, data, kind)
            elif what == "plan":
                plan = served.plan()
                self._answer(HTTPStatus.OK if plan else HTTPStatus.NO_CONTENT, plan or "", "application/json")
            else:
                policy, html = served.page()
                self._answer(HTTPStatus.OK, html, "text/html; charset=utf-8", policy)
        except BadImageError as error:
            self._answer(HTTPStatus.NOT_FOUND, error.message)
        except (FastdupError, OSError) as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def _asked(self) -> tuple[str, str | None]:
        """What a request asks for, and the number of a picture; raises `_Refused`."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            # A name of somebody else's that leads here: a page of his would be taken for one of ours.
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST, "This is another host.")
        own = f"http://{hosts[0].lower()}"
        if self.headers.get("Origin", own).lower() != own:
            raise _Refused(HTTPStatus.FORBIDDEN, "Not from there.")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise _Refused(HTTPStatus.FORBIDDEN, "Not from there.")
        target = _TARGET.fullmatch(self.path)
        token = target[1] if target else ""
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")
        return target[2], target[3]

    def _body(self) -> str:
        """The JSON that was sent. A page of another origin cannot send this type without asking first, in vain."""
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A plan is application/json.")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,12}", length) or "Transfer-Encoding" in self.headers:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "Say the Content-Length.")
        if int(length) > LARGEST_PLAN:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"More than {LARGEST_PLAN:,} bytes.")
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise _Refused(HTTPStatus.BAD_REQUEST, "The plan is cut off.")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise _Refused(HTTPStatus.BAD_REQUEST, "A plan is UTF-8.") from None

    def _answer(
        self, status: HTTPStatus, body: str | bytes = b"", kind: str = "text/plain; charset=utf-8", policy: str = CLOSED
    ) -> None:
        data = body.encode("utf-8", "backslashreplace") if isinstance(body, str) else body
        if status >= HTTPStatus.BAD_REQUEST:
            self.close_connection = True  # of what it sent no more is read
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Security-Policy": policy}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and status != HTTPStatus.NO_CONTENT:
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library refuses by itself, such as other methods: the same headers, and nothing of the request."""
        self._answer(HTTPStatus(code), HTTPStatus(code).phrase)

    def version_string(self) -> str:
        return "fastdup-ray"

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the token stands in each request."""


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, text: str):
        super().__init__(text)
        self.status = status


def serve(work_dir: str | os.PathLike[str], host: str = "127.0.0.1", port: int = 0) -> None:
    """Serves the report of a finished run until it is interrupted; prints where. See `Server`."""
    served = Served(work_dir)
    with Server(served, host, port) as server:
        print(f"The report is at {server.url}")
        print(
            "Who knows this URL sees all pictures of the run" + (", on this machine only." if server.is_local else ",")
        )
        if not server.is_local:
            print(
                "from any machine that reaches this one, and what is sent can be read on the way: it is not encrypted."
            )
        print(f"Decisions are saved in {served.plan_path}\nCtrl-C ends it.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nEnded.")
