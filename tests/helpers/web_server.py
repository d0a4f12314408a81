"""A web server with TLS, on this machine, whose certificate is valid for `localhost`."""

import datetime
import ssl
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


class WebServer:
    """The files in `files` are served at `address`.

    Attributes:
        files: Path -> bytes, or a function that gets the method and the headers, and returns an answer.
        requests: How often each method and path was asked for.
        certificate: Who trusts this file trusts the server.
    """

    def __init__(self, folder: Path):
        self.files: dict[str, bytes | Callable[[str, dict[str, str]], Answer]] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.certificate, key = folder / "certificate.pem", folder / "key.pem"
        _write_certificate(self.certificate, key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                server.requests[self.command, self.path] += 1
                status, headers, body = server.answer(self.command, self.path, dict(self.headers))
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # clients that do not trust the certificate hang up
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"https://localhost:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        content = self.files.get(path)
        if callable(content):
            return content(method, headers)
        return (404, {}, b"not here") if content is None else send(content, headers)

    def put(self, path: str, content: bytes | Callable[[str, dict[str, str]], Answer]) -> str:
        """Return the address."""
        self.files[path] = content
        return self.address + path

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def send(content: bytes, headers: dict[str, str]) -> Answer:
    """Return the answer of a server that tells the version of a file, and sends parts of it."""
    told = {"ETag": f'"{hash(content):x}"'}
    if part := headers.get("Range"):
        start, stop = part.removeprefix("bytes=").split("-")
        told["Content-Range"] = f"bytes {start}-{stop}/{len(content)}"
        return 206, told, content[int(start) : int(stop) + 1]
    return 200, told, content


def _write_certificate(certificate: Path, key: Path) -> None:
    private, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    certificate.write_bytes(builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
