"""A real S3 server for the tests: SeaweedFS, on this machine, with users who may do different things."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

OPEN, WORK, PUBLIC, SECRET = "open", "work", "public", "secret"
"""Buckets: of pictures, for all users; of outputs; for everybody, unsigned; for the owner alone."""

FIRST_OF_CLIENTS = 32_768
"""The first of net.ipv4.ip_local_port_range."""

_WEED = shutil.which("weed", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))
"""pytest may be started without its environment's folder of commands on the path."""

USERS = {
    "owner": ["Admin", "Read", "Write", "List", "Tagging"],
    "reader": [f"Read:{OPEN}", f"List:{OPEN}"],
    "blind": [f"Read:{OPEN}"],  # may get, but not list
    "lister": [f"List:{OPEN}", f"Read:{WORK}", f"List:{WORK}", f"Write:{WORK}"],  # may not get any picture
}


class S3Server:
    """The server at `url`. Every user's access key is its name, and the secret key that name and `-secret`."""

    def __init__(self, folder: Path, host: str = "127.0.0.1"):
        self._folder, self._host = folder, host
        self._ports = dict(zip(("master", "volume", "filer", "s3"), free_ports(4), strict=True))
        (self._metrics_port,) = free_ports(1)
        self.url = f"http://{host}:{self._ports['s3']}"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        users = [{"name": name, "credentials": [_keys(name)], "actions": may} for name, may in USERS.items()]
        everybody = {"name": "anonymous", "actions": [f"Read:{PUBLIC}", f"List:{PUBLIC}"]}
        config, data = self._folder / "users.json", self._folder / "data"
        config.write_text(json.dumps({"identities": [*users, everybody]}))
        data.mkdir(exist_ok=True)
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        ports.append(f"-metricsPort={self._metrics_port}")
        places = [
            f"-ip={self._host}",
            f"-ip.bind={self._host}",
            f"-dir={data}",
            "-filer",
            "-s3",
            f"-s3.config={config}",
        ]
        switches = ["-volume.max=40", "-master.volumeSizeLimitMB=128", "-master.telemetry=false", "-s3.iam=false"]
        switches += ["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen([_WEED, "server", *ports, *places, *switches], stdout=log, stderr=log)
        for bucket in (OPEN, WORK, PUBLIC, SECRET):
            self._when_ready(lambda bucket=bucket: self.client().create_bucket(Bucket=bucket))
        self._when_ready(lambda: self.client().put_object(Bucket=OPEN, Key="ready", Body=b""))
        self.client().delete_object(Bucket=OPEN, Key="ready")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)  # it takes long to go by itself
            self._process.wait()

    def client(self, user: str = "owner", **options: Any) -> Any:
        keys = _keys(user)
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=keys["accessKey"],
            aws_secret_access_key=keys["secretKey"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, **options),
        )

    def environment(self, user: str = "owner") -> dict[str, str]:
        """What a process has to have in its environment to be that user."""
        keys = _keys(user)
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": keys["accessKey"],
            "AWS_SECRET_ACCESS_KEY": keys["secretKey"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def count_requests(self, bucket: str) -> Counter[str]:
        """Requests for objects of a bucket, of all processes since the server started, by kind."""
        counts: Counter[str] = Counter()
        for labels, number in self._read_metric("request_total", bucket):
            kind = re.search(r'type="(\w+)"', labels)
            assert kind
            counts[kind[1]] += number
        return counts

    def count_bytes_sent(self, bucket: str) -> int:
        """Bytes of objects of a bucket that all processes have got since the server started."""
        return sum(number for _, number in self._read_metric("bucket_traffic_sent_bytes_total", bucket))

    def _read_metric(self, name: str, bucket: str) -> Iterator[tuple[str, int]]:
        with urllib.request.urlopen(f"http://{self._host}:{self._metrics_port}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                labels, _, number = line.rpartition(" ")
                if line.startswith(f"SeaweedFS_s3_{name}{{") and f'bucket="{bucket}"' in labels:
                    yield labels, int(float(number))

    @contextmanager
    def throttled(self, reads: int, writes: int) -> Iterator[None]:
        """While it lasts, the server answers 503 where more requests than that are at work at once."""
        self._shell(f"s3.circuitBreaker -global -type Count -actions Read,Write -values {reads},{writes} -apply")
        try:
            yield
        finally:
            self._shell("s3.circuitBreaker -delete -apply")

    def _shell(self, command: str) -> None:
        master = f"-master={self._host}:{self._ports['master']}"
        done = subprocess.run([_WEED, "shell", master], input=command.encode(), capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def _when_ready(self, action: Any) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                action()
                return
            except Exception:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise RuntimeError((self._folder / "log").read_text()[-2000:]) from None
                time.sleep(0.2)


class Bucket:
    """A prefix for pictures in the bucket `OPEN`, and one for outputs in `WORK`."""

    def __init__(self, server: S3Server, prefix: str):
        self.server, self._prefix = server, prefix
        self.pictures, self.work_dir = f"s3://{OPEN}/{prefix}", f"s3://{WORK}/{prefix}"
        self.client = server.client(retries={"mode": "standard", "total_max_attempts": 10})

    def uri(self, name: str) -> str:
        return f"{self.pictures}/{name}"

    def put(self, name: str, data: bytes) -> str:
        """Returns the URI."""
        self.client.put_object(Bucket=OPEN, Key=f"{self._prefix}/{name}", Body=data)
        return self.uri(name)

    def put_folder(self, folder: Path) -> None:
        files = [path for path in folder.rglob("*") if path.is_file()]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda path: self.put(path.relative_to(folder).as_posix(), path.read_bytes()), files))

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=OPEN, Key=f"{self._prefix}/{name}")

    def output(self, name: str) -> bytes:
        return self.client.get_object(Bucket=WORK, Key=f"{self._prefix}/{name}")["Body"].read()

    def output_names(self) -> list[str]:
        """Of all that stands in the work_dir."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=WORK, Prefix=f"{self._prefix}/")
        keys = [facts["Key"] for page in pages for facts in page.get("Contents", ())]
        return [key.removeprefix(f"{self._prefix}/") for key in keys]

    def outputs(self) -> dict[str, bytes]:
        """All that stands in the work_dir."""
        return {name: self.output(name) for name in self.output_names()}


def is_installed() -> bool:
    return _WEED is not None


def _keys(user: str) -> dict[str, str]:
    return {"accessKey": user, "secretKey": f"{user}-secret"}


def free_ports(count: int) -> list[int]:
    """Each of them is free, and so is the one 10,000 above, where SeaweedFS has its gRPC.

    All are below those that Linux gives to clients, one of which might take a port before the server does, and above
    those of Ray's workers (--max-worker-port) and of the first jobs of Slurm (20,000 and their number). Processes of
    pytest that run side by side take others.
    """
    found: list[int] = []
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 4
    candidates = range(20_100 + share, FIRST_OF_CLIENTS - 10_000, 4)
    for _ in range(1000):
        port = random.choice(candidates)
        if port not in found and all(map(_is_free, (port, port + 10_000))):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are closed take no port
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
