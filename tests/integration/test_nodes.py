"""A cluster of two nodes, on one machine."""

import os
import shlex
import subprocess

import pytest
from ray.cluster_utils import Cluster

from tests.conftest import PHOTOS
from tests.integration.helpers import assert_same_files, command, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    yield cluster.address
    cluster.shutdown()


def test_two_nodes_leave_what_one_process_leaves(address, tmp_path):
    assert run(PHOTOS, "--work-dir", tmp_path / "inline", "--executor", "inline").returncode == 0
    done = run(PHOTOS, "--work-dir", tmp_path / "out", "--shard-size", 5, RAY_ADDRESS=address)
    assert done.returncode == 0, done.stderr
    assert_same_files(tmp_path / "out", tmp_path / "inline")


def can_unshare() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no mount namespaces can be made here")
def test_a_work_dir_that_the_nodes_do_not_share_is_refused_before_any_work(address, tmp_path):
    alone = tmp_path / "seen-by-the-driver-alone"
    alone.mkdir()
    hidden = f"mount -t tmpfs tmpfs {alone} && exec " + shlex.join(command(PHOTOS, "--work-dir", alone / "out"))
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", hidden],
        env={**os.environ, "RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "does not share work_dir" in done.stderr and done.stderr.count("\n") == 1
