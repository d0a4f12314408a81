"""Objects that a server sends byte by byte, without an end: they cost their own time limit, and no other image's."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fastdup_ray.common import layout
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import csv_rows

pytestmark = pytest.mark.alone

OBJECTS = {f"images/{number:02d}.jpg": encode(cloudy(number), "JPEG") for number in range(24)}
SLOW = {f"images/{number:02d}.jpg" for number in (0, 1, 9)}
TIMEOUT = 2
"""Seconds for one image."""


class SlowS3(BaseHTTPRequestHandler):
    """As much of S3 as a run asks for."""

    protocol_version = "HTTP/1.1"
    is_slow = True

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        key = self._key()
        self._head(200 if not key or key in OBJECTS else 404, OBJECTS.get(key, b""))

    def do_GET(self) -> None:
        key = self._key()
        if key in OBJECTS:
            self._head(200, OBJECTS[key])
            self._send(OBJECTS[key], slow=self.is_slow and key in SLOW)
            return
        found = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(data)}</Size><ETag>&quot;e&quot;</ETag>"
            "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for key, data in OBJECTS.items()
        )
        body = f"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()
        self._head(200, body)
        self._send(body)

    def _key(self) -> str:
        return self.path.partition("?")[0].removeprefix("/bucket").removeprefix("/")

    def _head(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()

    def _send(self, body: bytes, *, slow: bool = False) -> None:
        try:
            for byte in body if slow else ():
                self.wfile.write(bytes([byte]))
                time.sleep(1)
            self.wfile.write(body[len(body) if slow else 0 :])
        except OSError:
            self.close_connection = True  # the reader has left


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    with Server(("127.0.0.1", 0), SlowS3) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run(endpoint: str, work_dir: Path) -> subprocess.CompletedProcess:
    words = ["run", "s3://bucket/images", "--work-dir", work_dir, "--executor", "inline", "--no-report"]
    environment = os.environ | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "fastdup_ray", *words, "--image-timeout", TIMEOUT]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, env=environment)


@pytest.mark.slow
def test_a_slow_drip_costs_its_own_time_and_the_process_ends(endpoint, tmp_path, monkeypatch):
    done = run(endpoint, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    bad = csv_rows(tmp_path / "out" / layout.BAD_CSV)[1:]
    assert {(name.removeprefix("s3://bucket/"), code) for name, code, _ in bad} == {(key, "TIMEOUT") for key in SLOW}
    monkeypatch.setattr(SlowS3, "is_slow", False)
    again = run(endpoint, tmp_path / "out")
    assert again.returncode == 0
    assert f"{len(OBJECTS)} good and 0 bad images ({len(SLOW)} read" in again.stdout
