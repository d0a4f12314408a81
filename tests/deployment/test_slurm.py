"""The Slurm script, by Slurm itself: a controller and two nodes on this machine."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers.clusters import end_in, with_commands
from tests.helpers.commands import assert_same_files, summary_of
from tests.helpers.images import save_cloudy
from tests.helpers.runs import PHOTOS
from tests.helpers.s3_server import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "sinfo")
MISSING = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs Slurm and munge: there is no {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: slurmd starts a job as its user"),
]

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sh"

CONFIG = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
MpiDefault=none
ReturnToService=2
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdParameters=config_overrides
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={one} CPUs=1
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={two} CPUs=1
PartitionName=all Nodes=one,two Default=YES State=UP
"""


class Slurm:
    """Two nodes with a core each. environment: of who submits."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="slurm-", dir="/tmp")  # sockets need a short path
        self.home, config, key = (Path(self.folder, name) for name in ("home", "slurm.conf", "munge.key"))
        self.home.mkdir()
        Path(self.folder, "state").mkdir()
        controller, one, two = free_ports(3)
        host = socket.gethostname()
        config.write_text(CONFIG.format(folder=self.folder, host=host, controller=controller, one=one, two=two))
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.environment = with_commands(
            {"SLURM_CONF": str(config), "HOME": str(self.home), "VENV": sys.prefix, "RAY_TMPDIR": self.folder}
        )
        self.environment["PATH"] += ":/usr/sbin"
        self._daemons: list[subprocess.Popen] = []

    def start(self) -> None:
        own = [f"--{name}={self.folder}/munge.{name.partition('-')[0]}" for name in ("socket", "pid-file", "log-file")]
        key, seed = f"--key-file={self.folder}/munge.key", f"--seed-file={self.folder}/munge.seed"
        self._daemon("munged", "--foreground", "--force", key, seed, *own)
        self.until(lambda: Path(self.folder, "munge.socket").exists())
        self._daemon("slurmctld", "-D", "-c")
        for node in ("one", "two"):
            self._daemon("slurmd", "-D", "-N", node)
        self.until(lambda: self.told("sinfo", "-h", "-o", "%t %D").split() == ["idle", "2"])

    def _daemon(self, *words: str) -> None:
        with open(Path(self.folder, "log"), "ab") as log:
            self._daemons.append(subprocess.Popen(words, env=self.environment, stdout=log, stderr=log))

    def until(self, something) -> None:
        deadline = time.monotonic() + 60
        while not something():
            assert time.monotonic() < deadline, Path(self.folder, "log").read_text()
            time.sleep(0.2)

    def told(self, *words: str) -> str:
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60).stdout

    def submit(self, *arguments: object) -> subprocess.Popen:
        """Ends as the job does; what it prints is in `log`."""
        words = ["sbatch", "--wait", "--nodes=2", f"--output={self.log}", str(SCRIPT), *map(str, arguments)]
        return subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, text=True)

    @property
    def log(self) -> Path:
        return self.home / "job.log"

    def rays(self) -> list[list[str]]:
        """What is left of them."""
        lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        return [words for words in lines if any(f"{self.folder}/ray" in word for word in words)]

    def stop(self) -> None:
        self.told("scancel", "--user=root")
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        end_in(self.folder)


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    slurm = Slurm()
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


def test_it_runs_on_two_nodes_and_leaves_nothing_behind(slurm, finished, tmp_path):
    code = slurm.submit(PHOTOS, "--work-dir", tmp_path / "out", "--shard-size", 5).wait(300)
    assert code == 0, slurm.log.read_text()
    assert slurm.log.read_text().count("Ray runtime started") == 2
    assert_same_files(tmp_path / "out", finished)
    assert not list(slurm.home.glob(".fastdup-ray-token*"))
    assert not slurm.rays()


def test_its_exit_status_is_that_of_the_run(slurm, tmp_path):
    assert slurm.submit("/no/such/folder", "--work-dir", tmp_path / "out").wait(300) == 1
    assert "Input '/no/such/folder' does not exist" in slurm.log.read_text()


def test_it_ends_in_order_where_slurm_says_that_the_time_is_up(slurm, tmp_path):
    """As --signal=B:TERM@60 has it told: what is finished is kept, and the same call goes on."""
    save_cloudy(tmp_path / "pictures", 200, size=(1600, 1200))
    arguments = (tmp_path / "pictures", "--work-dir", tmp_path / "out", "--shard-size", 8)
    job = slurm.submit(*arguments)
    number = re.search(r"\d+", job.stdout.readline())[0]
    slurm.until(lambda: list((tmp_path / "out").glob("shards/*.shard")))
    slurm.told("scancel", "--batch", "--signal=TERM", number)
    assert job.wait(120) == 130, slurm.log.read_text()
    assert "Interrupted. Run the same command to resume." in slurm.log.read_text()
    assert not list(slurm.home.glob(".fastdup-ray-token*"))
    assert not slurm.rays()
    assert slurm.submit(*arguments).wait(300) == 0, slurm.log.read_text()
    assert 0 < summary_of(tmp_path / "out")["read"] < 200
