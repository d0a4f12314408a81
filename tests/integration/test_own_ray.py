"""A Ray of our own is open to its run alone: what others on this machine, and on its network, find of it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray._private.node import Node

from fastdup_ray.executors.ray_cluster import connect_or_start
from tests.helpers.clusters import with_commands
from tests.helpers.commands import all_end

pytestmark = pytest.mark.slow

NOBODY = 65534

HAS_TOKENS = tuple(map(int, version("ray").split(".")[:2])) >= (2, 52)

HOLD_TWO = """
import json, os, sys
from fastdup_ray import RunConfig
from fastdup_ray.executors import make_executor
from fastdup_ray.executors.child_process import FirstChild
from fastdup_ray.executors.choice import ExecutorChoice

def environment():
    print("printed by a worker")
    return dict(os.environ)

before = environment()
config = RunConfig.of(input_dir=sys.argv[1], num_threads=1, executor="ray", verbose="verbose" in sys.argv)
ray, no_child = ExecutorChoice("ray", ""), FirstChild(config)
of_ray = {"PYTHONBREAKPOINT", "RAY_CLIENT_MODE"}  # it leaves them behind
for _ in range(2):
    with make_executor(config, sys.argv[1], ray, no_child) as ours:
        inside = ours.call("index", environment)
        from ray import get_runtime_context
        print(json.dumps([get_runtime_context().gcs_address, inside]), flush=True)
        sys.stdin.readline()
    assert {name for name, _ in before.items() ^ environment().items()} <= of_ray
"""
"""Two Rays of our own in one process, one after the other, each until a line is read."""

JOIN = "import ray, sys; ray.init(sys.argv[1], logging_level=50); print(ray.get(ray.remote(lambda: 'joined').remote()))"

ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_NUM_REDIS_GET_RETRIES": "1"}
"""Ray looks for 127.0.0.1 there, and gives up after one try."""


class Held:
    """The process, and what it says of its Ray: address, and the environment of a worker."""

    def __init__(self, work_dir: Path, *words: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD_TWO, work_dir, *words],
            env=with_commands({"RAY_ADDRESS": "local", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.printed: list[str] = []
        self.wait()

    def wait(self) -> None:
        self.address, self.inside = json.loads(self.read_until("["))
        self.folder = Path(self.inside["RAY_TMPDIR"])

    def read_until(self, beginning: str) -> str:
        """The next line that begins so, or has been read already; others are put aside."""
        while not (found := [line for line in self.printed if line.startswith(beginning)]):
            self.printed.append(self.process.stdout.readline())
            assert self.printed[-1], "it has ended"
        self.printed.remove(found[0])
        return found[0]

    def go_on(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def processes(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def listening(self) -> set[tuple[str, int]]:
        """Addresses and ports, TCP and UDP, once there are no more to come."""
        found, since = set(), time.monotonic()
        while time.monotonic() < since + 2:
            sockets = {
                (place.laddr.ip, place.laddr.port)
                for process in self.processes()
                for place in process.net_connections()
                if place.status in (psutil.CONN_LISTEN, psutil.CONN_NONE) and not place.raddr
            }
            if sockets - found:
                found, since = found | sockets, time.monotonic()
            time.sleep(0.2)
        return found


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    held = Held(tmp_path_factory.mktemp("held"))
    yield held
    held.process.kill()
    held.process.wait()


def what(process: psutil.Process) -> str:
    """Its command without the flags, or its title."""
    return " ".join(process.cmdline()).split(" --")[0]


def test_it_has_no_process_that_a_run_does_not_use(held):
    commands = [what(process) for process in held.processes()]
    for name, number in (("gcs/gcs_server", 1), ("raylet/raylet", 1), ("dashboard.py", 0), ("monitor.py", 0)):
        assert sum(name in command for command in commands) == number, name


def is_loopback(address: str) -> bool:
    ip = ip_address(address)
    ip = ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
    return ip.is_loopback


def test_all_of_its_sockets_are_on_the_loopback(held):
    places = held.listening()
    assert len(places) >= 6  # of GCS, raylet, agents and workers
    assert [place for place in places if not is_loopback(place[0])] == []


def joins(held: Held, **token: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", JOIN, held.address],
        env=with_commands(ON_LOOPBACK | {"HOME": "/nonexistent"} | token),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return "joined" in done.stdout


@pytest.mark.skipif(not HAS_TOKENS, reason="Ray before 2.52 has no token authentication")
def test_who_has_not_its_token_is_refused(held):
    token = {name: held.inside[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    assert joins(held, **token)
    assert not joins(held)
    assert not joins(held, **token | {"RAY_AUTH_TOKEN": "0" * len(token["RAY_AUTH_TOKEN"])})


def test_its_token_is_in_no_file_and_no_command(held):
    token = held.inside["RAY_AUTH_TOKEN"]
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert not [process for process in held.processes() if token in " ".join(process.cmdline())]
    files = [path for path in held.folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if token.encode() in path.read_bytes()]


@pytest.fixture
def as_nobody() -> Iterator[Callable[[], None]]:
    """Makes this process another user's."""
    if os.geteuid():
        pytest.skip("only root can be another user")
    yield lambda: os.seteuid(NOBODY)
    os.seteuid(0)


def test_nobody_else_reads_its_logs_or_reaches_its_sockets(held, as_nobody):
    logs = [path for path in held.folder.rglob("*.log") if path.is_file()]
    sockets = [path for path in held.folder.rglob("*") if path.is_socket()]
    assert logs
    assert sockets
    as_nobody()
    for path in logs:
        with pytest.raises(PermissionError):
            path.open()
    for path in sockets:
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(PermissionError):
            client.connect(str(path))


def test_all_of_its_unix_sockets_are_in_its_folder(held):
    pids = {process.pid for process in held.processes()}
    paths = {place.laddr for place in psutil.net_connections("unix") if place.pid in pids} - {""}
    assert paths
    assert [path for path in paths if not Path(path).is_relative_to(held.folder)] == []


def test_the_next_one_has_another_token_and_the_first_leaves_nothing(held):
    first, folder = held.inside["RAY_AUTH_TOKEN"], held.folder
    held.go_on()
    held.wait()
    assert held.inside["RAY_AUTH_TOKEN"] != first
    assert held.folder != folder
    assert not folder.exists()
    held.go_on()
    assert held.process.wait(60) == 0  # its environment is as before
    assert not held.folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_its_processes_end_with_the_driver_however_that_ends(tmp_path, number):
    held = Held(tmp_path, "verbose")
    assert held.read_until("\x1b[36m(_IndexActor")  # what a worker has printed
    family = {process: what(process) for process in held.processes()}
    held.process.send_signal(number)
    assert held.process.wait(60) == -number
    if number == signal.SIGKILL:  # then Ray's agents try to reach the gcs_server for a minute before they end
        family = {process: name for process, name in family.items() if "agent" not in name.lower()}
    assert all_end(list(family), 30)
    assert held.folder.exists() == (number == signal.SIGKILL)
    shutil.rmtree(held.folder, ignore_errors=True)


def test_a_ray_whose_private_parts_are_others_is_started_with_all_of_its_processes(monkeypatch):
    def changed(self, *args: Any, **options: Any) -> None:
        if type(self) is not Node:
            raise TypeError("start_raylet() takes other arguments now")
        return start_raylet(self, *args, **options)

    start_raylet = Node.start_raylet
    monkeypatch.setattr(Node, "start_raylet", changed)
    before = set(psutil.Process().children(recursive=True))  # of other tests
    with connect_or_start(1, verbose=False):
        assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
        processes = list(set(psutil.Process().children(recursive=True)) - before)
        names = [process.name() for process in processes]
        assert (names.count("gcs_server"), names.count("raylet")) == (1, 1)
    assert all_end(processes, 30)
