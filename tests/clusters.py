"""Real Ray clusters for the tests, of processes on this machine."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import psutil

from tests.s3_server import free_ports

COMMANDS = os.path.dirname(sys.executable)
"""Where the commands of this environment are; pytest may have been started without it on the path."""


def with_commands(environment: dict[str, str]) -> dict[str, str]:
    """This process's environment, with more, and the commands on the path; no Ray is named in it."""
    rays = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    own = {name: value for name, value in os.environ.items() if name not in rays}
    return own | {"PATH": os.pathsep.join([COMMANDS, own.get("PATH", "")])} | environment


class Head:
    """`ray start --head` with token authentication; what it starts has `environment`."""

    token = "0123456789abcdef" * 4

    def __init__(self, environment: dict[str, str], num_cpus: int = 2):
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets need a short path
        self.environment = with_commands({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token} | environment)
        gcs, dashboard, agent, metrics, client = free_ports(5)
        self.address, self.url = f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}"
        self._metrics = f"http://127.0.0.1:{metrics}/metrics"
        self._log = Path(self._folder, "start.log")
        places = {
            "port": gcs,
            "node-ip-address": "127.0.0.1",
            "dashboard-host": "127.0.0.1",
            "dashboard-port": dashboard,
            "dashboard-agent-listen-port": agent,
            "metrics-export-port": metrics,
            "ray-client-server-port": client,
            "num-cpus": num_cpus,
            "object-store-memory": 100 << 20,
            "temp-dir": self._folder,
        }
        arguments = [f"--{name}={value}" for name, value in places.items()]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [os.path.join(COMMANDS, "ray"), "start", "--head", "--block", "--disable-usage-stats", *arguments],
                env=self.environment | {"RAY_metrics_report_interval_ms": "1000"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 90
        while True:
            try:
                for url in (f"{self.url}/api/gcs_healthz", self._metrics):
                    urllib.request.urlopen(url, timeout=2)
                return
            except OSError:
                pass
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                raise RuntimeError(f"Ray did not start: {self._log.read_text()}")
            time.sleep(0.3)

    def metrics(self) -> Counter[str]:
        """Of ours, by name, or name and stage: the sum over all processes of the node."""
        found: Counter[str] = Counter()
        for line in urllib.request.urlopen(self._metrics, timeout=5).read().decode().splitlines():
            if match := re.fullmatch(r"ray_(fastdup_\w+)\{(.*)\} (\S+)", line):
                stage = re.search(r'stage="(\w+)"', match[2])
                found[match[1] + (f" {stage[1]}" if stage else "")] += float(match[3])
        return found

    def stop(self) -> None:
        """All that it started, and nothing else."""
        if psutil.pid_exists(self._process.pid):
            own = psutil.Process(self._process.pid)
            for process in [own, *own.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait()
        for process in psutil.process_iter(["cmdline"]):  # some are nobody's children
            if any(self._folder in word for word in process.info["cmdline"] or []):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
