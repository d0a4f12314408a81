"""The Slurm script, with stand-ins for srun and scontrol that do it all on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.clusters import end_in, with_commands
from tests.conftest import PHOTOS
from tests.integration.helpers import assert_same_files

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sh"

SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
case "$*" in
  hostname*) echo "127.0.0.1" ;;
  *--head*) exec "$@" --temp-dir "$HOME" --object-store-memory 100000000 --dashboard-agent-listen-port 0 ;;
  *) exec "$@" --object-store-memory 100000000 ;;
esac
"""


@pytest.fixture
def slurm(tmp_path):
    """The environment of a job on two nodes."""
    commands, home = tmp_path / "commands", Path("/tmp") / f"slurm-{os.getpid()}"  # sockets need a short path
    commands.mkdir()
    home.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", "#!/bin/sh\necho first\necho second\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    environment = with_commands(
        {
            "HOME": str(home),
            "VENV": sys.prefix,
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_JOB_NODELIST": "two",
            "SLURM_CPUS_ON_NODE": "1",
        }
    )
    environment["PATH"] = f"{commands}{os.pathsep}{environment['PATH']}"
    yield environment
    end_in(str(home))


def run_script(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=180
    )


def test_it_runs_on_two_nodes_and_leaves_nothing_behind(slurm, finished, tmp_path):
    done = run_script(slurm, PHOTOS, "--work-dir", tmp_path / "out", "--shard-size", 5)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_files(tmp_path / "out", finished)
    assert not list(Path(slurm["HOME"]).glob(".fastdup-ray-token*"))
    alive = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"])]
    assert not any(slurm["HOME"] in word for words in alive for word in words or [])


def test_its_exit_status_is_that_of_the_run(slurm, tmp_path):
    done = run_script(slurm, "/no/such/folder", "--work-dir", tmp_path / "out")
    assert done.returncode == 1
    assert "Input '/no/such/folder' does not exist" in done.stderr
