"""The command `serve`: the report at an address of this machine, with full-size images and saved decisions.

Requests can name only a closed list of things: the page, the plan, and the images of the run by number. No file name
ever comes from a request. Whoever does not know the token in the URL gets nothing at all.
"""

import hmac
import io
import ipaddress
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO, Any

from fastdup_ray.common.access import make_access
from fastdup_ray.common.formatting import format_count
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.connections import BoundedHandler, BoundedServer
from fastdup_ray.curation.report_service import ReportService, StaleError
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode, FastdupError, InputError
from fastdup_ray.extract.pillow_settings import strict_pillow

LARGEST_PLAN = 1 << 28
"""Bytes of the largest plan that a page may send."""

BYTES_AT_ONCE = 1 << 20
"""Bytes of a request or response that are copied at a time."""

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
"""Sent with every response that does not replace them. None of them lets another origin read it."""

_TARGET = re.compile(r"/([A-Za-z0-9_-]{1,100})/(|plan|map|picture/(\d{1,12}))")
"""The token, and what is requested. Without escapes, queries and dots, there is only one way to read it."""

_HOST = re.compile(r"(\[[0-9a-f:]+\]|[0-9a-z.-]+)(?::\d{1,5})?")
"""Host name and port. Through a tunnel, the port is another one than ours."""


class ReportServer(BoundedServer):
    """Serves one report. It listens as soon as it is created; `serve_forever` answers requests.

    Args:
        service: What is served.
        host: An IP address of this machine, not a name.
        port: 0 chooses a free port.

    Attributes:
        token: The secret part of the address.
        url: The address of the page.
        hosts: Host names that requests may use.
        is_local: Whether only this machine can reach it.

    Raises:
        ConfigError: If it cannot listen at this address.
    """

    def __init__(self, service: ReportService, host: str = "127.0.0.1", port: int = 0) -> None:
        self.service, self.token = service, secrets.token_urlsafe(32)
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise ConfigError(f"Invalid value for host: {host!r} (must be an IP address, such as 127.0.0.1).") from None
        if address.is_unspecified:
            raise ConfigError(f"Invalid value for host: {host!r} (must be one address of this machine).")
        self.is_local = address.is_loopback
        self.address_family = {4: socket.AF_INET, 6: socket.AF_INET6}[address.version]
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"Cannot listen on {host} port {port}: {reason}.") from None
        shown = f"[{address}]" if address.version == 6 else str(address)
        self.hosts = {shown, "localhost"} if self.is_local else {shown}
        self.url = f"http://{shown}:{self.server_port}/{self.token}/"

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        with strict_pillow(self.service.max_pixels):
            super().serve_forever(poll_interval)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore browsers that close the connection while they are answered."""
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
            target = self._parse_target()
            self.server.mark_accepted(self.connection)
            return act(*target)
        except _RequestError as error:
            return _Response(error.status, str(error))
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

    def _handle_get(self, what: str, index: str | None) -> "_Response":
        service = self.server.service
        if index is not None:
            content_type, data = service.read_image(int(index))
            return _Response(HTTPStatus.OK, data, {"Content-Type": content_type})
        if what == "plan":
            plan = service.read_plan()
            return _Response(HTTPStatus.OK, plan.file, {"Content-Type": "application/json", "ETag": plan.tag})
        page = service.render_map() if what == "map" else service.render_page()
        if page is None:
            raise _RequestError(HTTPStatus.NOT_FOUND, "There is no map of this run.")
        policy, html = page
        return _Response(
            HTTPStatus.OK, html, {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}
        )

    def _handle_put(self, what: str, _: str | None) -> "_Response":
        if what != "plan":
            raise _RequestError(HTTPStatus.METHOD_NOT_ALLOWED, "Only the plan can be replaced.")
        tag = self._parse_if_match()
        with self._read_body() as file:
            saved = self.server.service.save_plan(file, tag)
        return _Response(HTTPStatus.NO_CONTENT, headers={"ETag": saved})

    def _parse_if_match(self) -> str:
        """Return the tag of the plan to replace. `*` is refused: it would replace a plan that nobody has seen."""
        tags = self.headers.get_all("If-Match", [])
        if len(tags) != 1 or tags[0].strip() == "*":
            raise _RequestError(
                HTTPStatus.PRECONDITION_REQUIRED,
                "Send the ETag of the plan that this one replaces as If-Match; an empty plan has one, too.",
            )
        return tags[0].strip()

    def _parse_target(self) -> tuple[str, str | None]:
        """Return what is requested, and the number of an image as text; raise `_RequestError` if it is not allowed."""
        hosts = self.headers.get_all("Host") or [""]
        name = _HOST.fullmatch(hosts[0].lower())
        if len(hosts) != 1 or name is None or name[1] not in self.server.hosts:
            # A foreign host name that resolves to this address: browsers would take its pages for ours (DNS rebinding).
            raise _RequestError(HTTPStatus.MISDIRECTED_REQUEST, f"Use {' or '.join(sorted(self.server.hosts))}.")
        own = f"http://{hosts[0].lower()}"
        sites = self.headers.get_all("Sec-Fetch-Site") or ["none"]
        if self.headers.get("Origin", own).lower() != own or not {"none", "same-origin"}.issuperset(sites):
            raise _RequestError(HTTPStatus.FORBIDDEN, "Not from another page: paste the address into the address bar.")
        target = _TARGET.fullmatch(self.path)
        token = target[1] if target else ""
        if not hmac.compare_digest(token.encode(), self.server.token.encode()) or target is None:
            raise _RequestError(HTTPStatus.NOT_FOUND, "Not found.")
        return target[2], target[3]

    def _read_body(self) -> IO[bytes]:
        """Return the JSON of a request. Its type makes browsers ask before a page of another origin may send it."""
        if self.headers.get_content_type() != "application/json":
            raise _RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A plan has the type application/json.")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,12}", length) or "Transfer-Encoding" in self.headers:
            raise _RequestError(HTTPStatus.LENGTH_REQUIRED, "Send the Content-Length.")
        if int(length) > LARGEST_PLAN:
            raise _RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The plan has more than {LARGEST_PLAN:,} bytes.")
        file, left = self.server.service.scratch(), int(length)
        while left:
            part = self.rfile.read(min(left, BYTES_AT_ONCE))
            if not part:
                raise _RequestError(HTTPStatus.BAD_REQUEST, "The plan is truncated.")
            file.write(part)
            left -= len(part)
        file.seek(0)
        return file

    def _respond(self, response: "_Response") -> None:
        body = response.body
        if isinstance(body, str):
            body = body.encode("utf-8", "backslashreplace")
        file = io.BytesIO(body) if isinstance(body, bytes) else body
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if response.status >= HTTPStatus.BAD_REQUEST:
            self.close_connection = True  # the rest of a refused request is not read
        self.send_response(response.status)
        for name, value in (HEADERS | response.headers).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        if response.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command != "HEAD":
            shutil.copyfileobj(file, self.wfile, BYTES_AT_ONCE)

    def send_error(  # the arguments are those of the library
        self,
        code: int,
        message: str | None = None,  # noqa: ARG002 - it may quote the request
        explain: str | None = None,  # noqa: ARG002 - likewise
    ) -> None:
        """Answer what the library refuses, such as other methods, with our headers and nothing of the request."""
        self._respond(_Response(HTTPStatus(code), HTTPStatus(code).phrase))

    def version_string(self) -> str:
        return "fastdup-ray"

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: each request contains the token."""


@dataclass(frozen=True)
class _Response:
    """A response. Its `headers` are added to `HEADERS`, or replace them."""

    status: HTTPStatus
    body: str | bytes | IO[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


class _RequestError(Exception):
    """A request is refused with this status; the text is the body."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@accept_paths("work_dir")
def serve(
    work_dir: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    open_page: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> None:
    """Serve the report of a finished run until Ctrl-C, and print its address.

    Args:
        work_dir: The work_dir of the run.
        host: The IP address to listen on.
        port: The port to listen on; 0: a free one.
        open_page: Open the page in a browser of this machine.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Raises:
        InputError: If there is no finished run, or it has no report.
        ConfigError: If the server cannot listen at this address.
    """
    service = ReportService(work_dir, make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays))
    with ReportServer(service, host, port) as server:
        print(f"Report: {server.url}")
        if server.is_local:
            print("Reachable from this machine only; the address contains a secret, don't share it.")
        else:
            print(
                f"Warning: any machine that reaches {host} and knows this address can see all images of the run and "
                "change the plan. The connection is not encrypted."
            )
        print(f"Decisions are saved in {service.plan_path}")
        if left_out := service.count_left_out():
            decisions = format_count(left_out, "decision")
            print(f"Warning: left out {decisions} of an earlier run, because the images changed since.")
        print("Press Ctrl-C to stop.", flush=True)
        if open_page and not webbrowser.open(server.url):
            print("No browser could be opened: open the address above yourself.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nStopped.")
            if service.has_plan:
                print(f"Preview the plan with: fastdup-ray apply {shlex.quote(service.plan_path)}")
