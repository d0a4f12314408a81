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
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.connections import BoundedHandler, BoundedServer
from fastdup_ray.curation.report_service import ReportService, StaleError
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode, FastdupError, InputError
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.s3 import make_access

LARGEST_PLAN = 1 << 28
"""Bytes of a plan that a page may send."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Content-Type": "text/plain; charset=utf-8",
}
"""Of every answer that has no others. There is none that lets another origin read it."""

_TARGET = re.compile(r"/([A-Za-z0-9_-]{1,100})/(|plan|picture/(\d{1,12}))")
"""Token and what is asked for. No escapes, no queries, no dots: there is nothing to be misread."""

_HOST = re.compile(r"(\[[0-9a-f:]+\]|[0-9a-z.-]+)(?::\d{1,5})?")
"""Name and port. Whoever comes through a tunnel has another port."""


class ReportServer(BoundedServer):
    """Listens from its making on; `serve_forever` answers."""

    def __init__(self, served: ReportService, host: str = "127.0.0.1", port: int = 0):
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
        shown = f"[{address}]" if address.version == 6 else str(address)
        self.hosts = {shown, "localhost"} if self.is_local else {shown}
        self.url = f"http://{shown}:{self.server_port}/{self.token}/"

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        with strict_pillow(self.served.max_pixels):
            super().serve_forever(poll_interval)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away in the midst of an answer is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BoundedHandler):
    protocol_version = "HTTP/1.1"
    server: ReportServer

    def do_GET(self) -> None:
        self._respond(self._handle(self._handle_get))

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        self._respond(self._handle(self._handle_put))

    def _handle(self, act: Callable[[str, str | None], "_Response"]) -> "_Response":
        try:
            asked = self._parse_target()
            self.server.take_in_hand(self.connection)
            return act(*asked)
        except _RequestError as refused:
            return _Response(refused.status, str(refused))
        except BadImageError as error:
            if error.code is ErrorCode.CHANGED:
                return _Response(HTTPStatus.CONFLICT, f"Changed since the run: {error.message}.")
            return _Response(HTTPStatus.NOT_FOUND, error.message)
        except StaleError as error:
            return _Response(HTTPStatus.PRECONDITION_FAILED, str(error))
        except InputError as error:
            return _Response(HTTPStatus.BAD_REQUEST, str(error))
        except (FastdupError, OSError) as error:
            return _Response(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def _handle_get(self, what: str, row: str | None) -> "_Response":
        served = self.server.served
        if row is not None:
            kind, data = served.read_image(int(row))
            return _Response(HTTPStatus.OK, data, {"Content-Type": kind})
        if what == "plan":
            plan = served.read_plan()
            return _Response(HTTPStatus.OK, plan.text, {"Content-Type": "application/json", "ETag": plan.tag})
        policy, html = served.render_page()
        return _Response(
            HTTPStatus.OK, html, {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}
        )

    def _handle_put(self, what: str, _: str | None) -> "_Response":
        if what != "plan":
            raise _RequestError(HTTPStatus.METHOD_NOT_ALLOWED, "Only the plan can be written.")
        tag = self._parse_if_match()
        saved = self.server.served.save_plan(self._read_body(), tag)
        return _Response(HTTPStatus.NO_CONTENT, headers={"ETag": saved.tag})

    def _parse_if_match(self) -> str:
        """The tag of the plan that the sent one replaces. `*` names none: it would replace a plan that nobody saw."""
        tags = self.headers.get_all("If-Match", [])
        if len(tags) != 1 or tags[0].strip() == "*":
            raise _RequestError(
                HTTPStatus.PRECONDITION_REQUIRED,
                "Name the plan that this one replaces: send its ETag as If-Match; an empty plan has one, too.",
            )
        return tags[0].strip()

    def _parse_target(self) -> tuple[str, str | None]:
        """What a request asks for, and the number of a picture; raises `_Refused`."""
        hosts = self.headers.get_all("Host") or [""]
        name = _HOST.fullmatch(hosts[0].lower())
        if len(hosts) != 1 or name is None or name[1] not in self.server.hosts:
            # A name of somebody else's that leads here: a page of his would be taken for one of ours.
            raise _RequestError(HTTPStatus.MISDIRECTED_REQUEST, f"Ask for {' or '.join(sorted(self.server.hosts))}.")
        own = f"http://{hosts[0].lower()}"
        sites = self.headers.get_all("Sec-Fetch-Site") or ["none"]
        if self.headers.get("Origin", own).lower() != own or not {"none", "same-origin"}.issuperset(sites):
            raise _RequestError(HTTPStatus.FORBIDDEN, "Not from another page: copy the address to the address bar.")
        target = _TARGET.fullmatch(self.path)
        token = target[1] if target else ""
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise _RequestError(HTTPStatus.NOT_FOUND, "There is nothing here.")
        return target[2], target[3]

    def _read_body(self) -> str:
        """The JSON that was sent. A page of another origin cannot send this type without asking first, in vain."""
        if self.headers.get_content_type() != "application/json":
            raise _RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A plan is application/json.")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,12}", length) or "Transfer-Encoding" in self.headers:
            raise _RequestError(HTTPStatus.LENGTH_REQUIRED, "Say the Content-Length.")
        if int(length) > LARGEST_PLAN:
            raise _RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"More than {LARGEST_PLAN:,} bytes.")
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise _RequestError(HTTPStatus.BAD_REQUEST, "The plan is cut off.")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise _RequestError(HTTPStatus.BAD_REQUEST, "A plan is UTF-8.") from None

    def _respond(self, answer: "_Response") -> None:
        text = answer.body
        data = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
        if answer.status >= HTTPStatus.BAD_REQUEST:
            self.close_connection = True  # of what it sent no more is read
        self.send_response(answer.status)
        for name, value in (HEADERS | answer.headers).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        if answer.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library refuses by itself, such as other methods: the same headers, and nothing of the request."""
        self._respond(_Response(HTTPStatus(code), HTTPStatus(code).phrase))

    def version_string(self) -> str:
        return "fastdup-ray"

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the token stands in each request."""


@dataclass(frozen=True)
class _Response:
    """headers: beside `HEADERS`, or in their place."""

    status: HTTPStatus
    body: str | bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class _RequestError(Exception):
    def __init__(self, status: HTTPStatus, text: str):
        super().__init__(text)
        self.status = status


@accept_paths("work_dir")
def serve(
    work_dir: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> None:
    """Serves the report of a finished run until it is interrupted; prints where. See `Server`."""
    served = ReportService(work_dir, make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays))
    with ReportServer(served, host, port) as server:
        print(f"The report is at {server.url}")
        print(f"Decisions are saved in {served.plan_path}")
        if left_out := served.count_left_out():
            print(f"Warning: {left_out:,} decisions of an earlier run are left out, as their images changed since.")
        if server.is_local:
            print("Only this machine reaches it; who knows this address sees all pictures of the run.")
        else:
            print(
                f"Warning: any machine that reaches {host} and knows this address sees all pictures of the run and can "
                "change the plan, and the way is not encrypted."
            )
        print("Ctrl-C ends it.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nEnded.")
