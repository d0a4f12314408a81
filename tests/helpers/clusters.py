"""Real Ray clusters for the tests, of processes on this machine."""

import contextlib
import json
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

from tests.helpers.s3_server import free_ports

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}

COMMANDS = os.path.dirname(sys.executable)
"""Where the commands of this environment are; pytest may have been started without it on the path."""


def with_commands(environment: dict[str, str]) -> dict[str, str]:
    """This process's environment, with more, and the commands on the path; no Ray is named in it."""
    rays = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    own = {name: value for name, value in os.environ.items() if name not in rays}
    return own | {"PATH": os.pathsep.join([COMMANDS, own.get("PATH", "")])} | environment


HEAD_NODE_ID = "f" * 51 + "00000"

AUTOSCALED = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_NODE_ID,
    "RAY_NODE_TYPE_NAME": "ray.head.default",
    "RAY_enable_infeasible_task_early_exit": "true",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}
"""Ray's own autoscaler, as `ray up` and KubeRay have it, with Ray's provider of nodes that are mere processes."""


def autoscaling(kinds: dict[str, dict], gcs: int) -> dict:
    """What the autoscaler is told. kinds: by name, the resources of a node, and `max_workers`."""
    head = {"resources": {"CPU": 0}, "max_workers": 0}
    lists = ["initialization_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter", "setup_commands"]
    lists += [f"{who}_{what}_commands" for who in ("head", "worker") for what in ("setup", "start_ray")]
    return {
        "cluster_name": "tests",
        "max_workers": sum(kind["max_workers"] for kind in kinds.values()),
        "idle_timeout_minutes": 0.2,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "head_node_id": HEAD_NODE_ID,
            "gcs_address": f"127.0.0.1:{gcs}",
            "launch_multiple": True,
            "disable_node_updaters": True,
        },
        "available_node_types": {
            name: {"node_config": {}, "min_workers": 0} | kind
            for name, kind in {"ray.head.default": head, **kinds}.items()
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in lists},
    }


class Head:
    """`ray start --head` with token authentication; what it starts has `environment`.

    kinds: of nodes that its autoscaler adds and takes away; see `autoscaling`.
    """

    token = TOKEN["RAY_AUTH_TOKEN"]

    def __init__(self, environment: dict[str, str], num_cpus: int = 2, kinds: dict[str, dict] | None = None):
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets need a short path
        self.environment = with_commands(TOKEN | environment)
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
        own = {"RAY_metrics_report_interval_ms": "1000"}
        if kinds is not None:
            places["autoscaling-config"] = Path(self._folder, "autoscaling.json")
            places["autoscaling-config"].write_text(json.dumps(autoscaling(kinds, gcs)))
            own |= AUTOSCALED
        arguments = [f"--{name}={value}" for name, value in places.items()]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [os.path.join(COMMANDS, "ray"), "start", "--head", "--block", "--disable-usage-stats", *arguments],
                env=self.environment | own,
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
        end(self._process, self._folder)


def end(process: subprocess.Popen, folder: str) -> None:
    """`ray start --block` and all that it started in `folder`: `ray stop` would end every Ray of the machine."""
    if psutil.pid_exists(process.pid):
        own = psutil.Process(process.pid)
        for each in [own, *own.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()
    end_in(folder)


def end_in(folder: str) -> None:
    """The Ray of a temporary folder, and the folder: some of its processes are nobody's children."""
    for each in psutil.process_iter(["cmdline"]):
        if any(folder in word for word in each.info["cmdline"] or []):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    shutil.rmtree(folder, ignore_errors=True)


class Hosts:
    """Two hosts on one machine: network namespaces, each with a link to a bridge, where this process has `bridge`.

    `head` and `worker` have Ray, with one core each; what they start has `environment`. Needs root.
    """

    bridge, head, worker = "10.213.7.1", "10.213.7.2", "10.213.7.3"

    def __init__(self) -> None:
        self._mark = f"fd{os.getpid() % 100_000}"
        self._rays: list[tuple[subprocess.Popen, str]] = []
        self.address = f"{self.head}:6379"

    def link(self) -> None:
        """Raises `CalledProcessError` where namespaces are not allowed."""
        _ip("link", "add", self._mark, "type", "bridge")
        _ip("addr", "add", f"{self.bridge}/24", "dev", self._mark)
        _ip("link", "set", self._mark, "up")
        for host in (self.head, self.worker):
            name, near = self._name(host), self._near(host)
            _ip("netns", "add", name)
            _ip("link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", near, "master", self._mark, "up")
            for words in (("addr", "add", f"{host}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
                _ip("-n", name, *words)
            _ip("-n", name, "link", "set", "lo", "up")

    def start(self, environment: dict[str, str]) -> None:
        self.environment = with_commands(environment | QUICK_TO_NOTICE | TOKEN)
        self._ray(self.head, "--head", "--port=6379", "--include-dashboard=false")
        self._ray(self.worker, f"--address={self.address}")

    def _ray(self, host: str, *words: str) -> None:
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        own = [f"--node-ip-address={host}", "--num-cpus=1", f"--object-store-memory={100 << 20}"]
        temporary = [f"--temp-dir={folder}"] if "--head" in words else []
        start = ["ray", "start", "--block", "--disable-usage-stats", *own, *temporary, *words]
        with open(os.path.join(folder, "log"), "wb") as log:
            process = subprocess.Popen(
                self.command(host, *start), env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self._rays.append((process, folder))
        deadline = time.monotonic() + 90
        while "Ray runtime started" not in (told := Path(folder, "log").read_text()):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"Ray did not start: {told}")
            time.sleep(0.3)

    def command(self, host: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self._name(host), *words]

    def cut(self, host: str) -> None:
        """Nothing goes to it or comes from it any more; it is told nothing."""
        _ip("link", "set", self._near(host), "nomaster")

    def stop(self) -> None:
        for process, folder in self._rays:
            end(process, folder)
        for words in (
            ("netns", "del", self._name(self.head)),
            ("netns", "del", self._name(self.worker)),
            ("link", "del", self._mark),
        ):
            with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError):  # may not be there
                _ip(*words)

    def _name(self, host: str) -> str:
        return f"{self._mark}-{host.rpartition('.')[2]}"

    _near = _name


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


QUICK_TO_NOTICE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
"""That a node is gone: some seconds, where Ray waits for half a minute and more."""
