"""Clusters of several nodes, on one machine: nodes go in mid-run, come when they are asked for, lose the link."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from fastdup_ray import RunConfig
from fastdup_ray.common.records import ShardReceipt
from fastdup_ray.executors.extract_pool import ExtractPool
from fastdup_ray.executors.index_actor import IndexActor
from fastdup_ray.executors.ray_cluster import can_autoscale, list_present_nodes, shut_down
from fastdup_ray.executors.worker_counts import place_extractors
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.extract.model import make_fingerprint
from fastdup_ray.inputs import list_images
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.storage import open_store
from tests.helpers.clusters import Head, Hosts
from tests.helpers.commands import assert_same_files, command, parse_counts, run, start, workers
from tests.helpers.images import save_cloudy
from tests.helpers.runs import PHOTOS, outputs
from tests.helpers.s3_server import Bucket, S3Server

pytestmark = pytest.mark.slow

NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One node; a test adds more."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    yield cluster
    shut_down()
    cluster.shutdown()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    save_cloudy(folder, 240, size=(1200, 900))
    return folder


def in_bucket(bucket: Bucket, pictures) -> tuple:
    """The pictures are put there; arguments of a run on them."""
    bucket.put_folder(pictures)
    return (bucket.pictures, "--no-report", "--shard-size", 8)


def undisturbed(arguments: tuple, bucket: Bucket, folder) -> dict[str, bytes]:
    done = run(*arguments, "--work-dir", folder, "--executor", "inline", **bucket.server.environment())
    assert done.returncode == 0, done.stderr
    return outputs(folder)


def same(bucket: Bucket, reference: dict[str, bytes]) -> bool:
    left = bucket.outputs()
    return all(left[name] == content for name, content in reference.items())


def wait_for(something, process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not something():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def shards_are_there(bucket: Bucket, count: int) -> bool:
    return sum(name.endswith(".shard") for name in bucket.output_names()) >= count


def test_two_nodes_leave_what_one_process_leaves(cluster, finished, tmp_path):
    cluster.add_node(**NODE)
    environment = {"RAY_ADDRESS": cluster.address, "RAY_AUTH_TOKEN": "of-another-cluster" * 4}
    done = run(PHOTOS, "--work-dir", tmp_path / "out", "--shard-size", 5, **environment)
    assert done.returncode == 0, done.stderr
    assert_same_files(tmp_path / "out", finished)


def test_nodes_that_go_in_mid_run_are_no_event(bucket, cluster, pictures, tmp_path):
    """Two of three, one after the other: more than may die over one picture before it is called bad."""
    arguments = in_bucket(bucket, pictures)
    reference = undisturbed(arguments, bucket, tmp_path / "reference")
    spots = [cluster.add_node(**NODE) for _ in range(2)]
    process = start(*arguments, "--work-dir", bucket.work_dir, RAY_ADDRESS=cluster.address)
    wait_for(lambda: shards_are_there(bucket, 2), process)
    raylets = {worker.ppid() for worker in workers("ExtractActor")}
    assert len(raylets) == 3  # one actor on each node
    for spot in spots:
        cluster.remove_node(spot, allow_graceful=False)
        time.sleep(1)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert parse_counts(out) == [240, 240, 0]
    assert "it is replaced" in err
    assert same(bucket, reference)


@pytest.mark.parametrize(
    ("lacking", "resources"), [("CPUs", {"num_cpus": 0}), ("memory", {"num_cpus": 1, "_memory": 0})]
)
def test_a_ray_without_resources_is_told_what_it_lacks(tmp_path, lacking, resources):
    """Run in a separate process: a Ray of its own leaves RAY_AUTH_MODE=token behind, and `Cluster` has no token."""
    save_cloudy(tmp_path / "in", 3)
    code = f"""
import ray
import fastdup_ray
ray.init(address="local", include_dashboard=False, log_to_driver=False, **{resources!r})
codes = [fastdup_ray.run({str(tmp_path / "in")!r}, {str(tmp_path / "out")!r}, run_mode=mode) for mode in (0, 1)]
print(codes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert f"has {lacking} to assign" in done.stderr
    assert done.stdout.splitlines()[-1] == "[1, 1]"


def kind(most: int, **resources: int) -> dict:
    return {"resources": resources | {"object_store_memory": 100 << 20}, "max_workers": most}


@pytest.fixture
def growing(request, s3_server) -> Iterator[Head]:
    """A head without a core, with Ray's own autoscaler, which adds nodes of the kinds that a test names.

    Without a token: this process, which has imported Ray by now, could not be let in any more.
    """
    environment = s3_server.environment("owner") | {"RAY_AUTH_MODE": "disabled"}
    head = Head(environment, num_cpus=0, kinds=request.param)
    yield head
    shut_down()
    head.stop()


@pytest.mark.parametrize("growing", [{"cpu": kind(2, CPU=1)}], indirect=True)
def test_a_cluster_grows_from_nothing_as_the_waiting_actors_ask(bucket, growing, pictures, tmp_path):
    arguments = in_bucket(bucket, pictures)
    reference = undisturbed(arguments, bucket, tmp_path / "reference")
    environment = growing.environment | {"RAY_ADDRESS": growing.address}
    process = start(*arguments, "--work-dir", bucket.work_dir, **environment)
    wait_for(lambda: len({worker.ppid() for worker in workers("ExtractActor")}) == 2, process, 240)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "waiting for its autoscaler" in err
    assert parse_counts(out) == [240, 240, 0]
    assert same(bucket, reference)
    ray.init(growing.address, log_to_driver=False)
    assert can_autoscale()
    wait(lambda: not list_present_nodes(), 120)  # nothing of ours keeps them


@pytest.mark.parametrize("growing", [{"cpu": kind(1, CPU=1)}], indirect=True)
def test_a_gpu_that_no_autoscaler_can_add_is_an_error_of_one_line(growing, tmp_path):
    environment = growing.environment | {"RAY_ADDRESS": growing.address}
    done = run(PHOTOS, "--work-dir", tmp_path, "--compute", "gpu", **environment)
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("fastdup-ray: ")
    assert "--compute" in line
    assert "no node of this Ray" in line


@pytest.mark.parametrize("growing", [{"gpu": kind(1, CPU=2, GPU=1)}], indirect=True)
def test_a_gpu_node_is_asked_for_and_its_actor_gets_its_cores(growing, tmp_path):
    ray.init(growing.address, log_to_driver=False)
    crew, receipts = on_gpus(tmp_path)
    first = next(receipts)
    (node,) = list_present_nodes()
    assert (node.cores, node.gpus) == (2, 1)
    assert [member.cores for member in crew._workers if member.assigned] == [2]
    assert first.good + sum(receipt.good for receipt in receipts) == 40


def test_gpu_actors_and_their_threads_are_on_the_nodes_with_gpus(cluster, tmp_path):
    """Ray takes our word for the GPUs: what is seen here is who goes where, with what."""
    with_gpu = [cluster.add_node(**NODE | {"num_cpus": 2}, num_gpus=1) for _ in range(2)]
    ray.init(cluster.address, log_to_driver=False)
    crew, receipts = on_gpus(tmp_path)
    good = next(receipts).good
    wait(lambda: "GPU" not in ray.available_resources(), 60)
    assert ray.available_resources()["CPU"] == 1  # the head's
    assert len({worker.ppid() for worker in workers("ExtractActor")}) == len(with_gpu)
    assert [member.cores for member in crew._workers] == [2, 2]
    assert good + sum(receipt.good for receipt in receipts) == 40


def on_gpus(folder: Path) -> tuple[ExtractPool, Iterator[ShardReceipt]]:
    """A crew of extractors, each with a GPU that it does not use, and what it makes of 40 pictures."""
    save_cloudy(folder / "pictures", 40, size=(1200, 900))
    config = RunConfig.of(input_dir=folder / "pictures", work_dir=folder / "out", compute="gpu")
    manifest = Manifest.from_refs(list_images(config))
    facts = {"fingerprint": make_fingerprint()}
    spec = ExtractSpec(open_store(config.work_dir), 1, config.limits, config.image_timeout, config.actor_memory, facts)
    crew = ExtractPool(spec, lambda: place_extractors(config, list_present_nodes(), grows=can_autoscale()))
    return crew, crew.run(manifest.shards(np.arange(40), repeat(4)))


def wait(something, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not something():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_index_goes_where_its_memory_fits(cluster):
    large = cluster.add_node(**NODE, memory=2 << 30)
    small = [cluster.add_node(**NODE, memory=300 << 20) for _ in range(2)]
    ray.init(cluster.address, log_to_driver=False)
    head = next(node for node in ray.nodes() if node["NodeID"] not in {n.node_id for n in (large, *small)})
    index = IndexActor()
    try:
        index.reserve([(1 << 30, 0)])
        if head["Resources"]["memory"] < 1 << 30:
            assert index.call(_node) == large.node_id
        assert index.call(_node) in (large.node_id, head["NodeID"])
        first = index.call(os.getpid)
        index.reserve([(1 << 20, 0)])
        assert index.call(os.getpid) == first  # there is room enough where it is
        left = ray.available_resources()["memory"]
        assert left <= ray.cluster_resources()["memory"] - (1 << 30)
    finally:
        index.stop()


def test_a_run_has_its_index_on_the_node_that_has_the_memory(pictures, tmp_path):
    little = NODE | {"memory": 500_000}  # less than 240 rows and a quarter take
    cluster = Cluster(initialize_head=True, head_node_args=little)
    try:
        large = cluster.add_node(**NODE, memory=1 << 30)
        cluster.add_node(**little)
        process = start(pictures, "--work-dir", tmp_path / "out", "--no-report", RAY_ADDRESS=cluster.address)
        wait_for(lambda: workers("_IndexActor"), process)
        assert {worker.ppid() for worker in workers("_IndexActor")} == {raylet_of(large)}
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    finally:
        cluster.shutdown()


def raylet_of(node) -> int:
    return node.all_processes["raylet"][0].process.pid


def _node() -> str:
    return ray.get_runtime_context().get_node_id()


def can_unshare() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no mount namespaces can be made here")
def test_a_work_dir_that_the_nodes_do_not_share_is_refused_before_any_work(cluster, tmp_path):
    cluster.add_node(**NODE)
    alone = tmp_path / "seen-by-the-driver-alone"
    alone.mkdir()
    hidden = f"mount -t tmpfs tmpfs {alone} && exec " + shlex.join(command(PHOTOS, "--work-dir", alone / "out"))
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", hidden],
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "does not share work_dir" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    hosts = Hosts()
    try:
        hosts.link()
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        hosts.stop()
        reason = getattr(error, "stderr", b"").decode().strip() or error
        pytest.skip(f"no network namespaces can be made here: {reason}")
    yield hosts
    hosts.stop()


def test_a_link_that_is_cut_in_mid_run_is_no_event(hosts, pictures, tmp_path):
    server = S3Server(tmp_path, hosts.bridge)
    try:
        server.start()
        bucket = Bucket(server, "cut")
        arguments = in_bucket(bucket, pictures)
        reference = undisturbed(arguments, bucket, tmp_path / "reference")
        hosts.start(server.environment())
        process = subprocess.Popen(
            hosts.command(hosts.head, *command(*arguments, "--work-dir", bucket.work_dir)),
            env=hosts.environment | {"RAY_ADDRESS": hosts.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: shards_are_there(bucket, 2), process)
        assert len({worker.ppid() for worker in workers("ExtractActor")}) == 2
        hosts.cut(hosts.worker)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert parse_counts(out) == [240, 240, 0]
        assert "it is replaced" in err
        assert same(bucket, reference)
    finally:
        server.stop()
