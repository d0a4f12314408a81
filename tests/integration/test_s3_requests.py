"""How many requests a work_dir in a bucket takes, counted by the server, whichever process sends them."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fastdup_ray.common import layout
from fastdup_ray.common.parts import PART
from fastdup_ray.executors.inline import InlineExecutor
from fastdup_ray.features import save_binary_feature
from fastdup_ray.neighbors.partitioned import division, recall
from fastdup_ray.neighbors.partitioned.partition_layout import PartitionLayout
from fastdup_ray.runs import partitioned_search
from fastdup_ray.storage import Store, download_cache, open_store
from tests.helpers.commands import run
from tests.helpers.embeddings import unit_rows
from tests.helpers.images import save_cloudy
from tests.helpers.kills import dying_before
from tests.helpers.runs import outputs, run_inline
from tests.helpers.s3_server import WORK, Bucket

FEW, MANY = 10, 40
MOST = 3
"""Requests for each shard of a run: a look at the lock, a put, a get."""


@contextmanager
def counted(bucket: Bucket) -> Iterator[Counter[str]]:
    """Gives the requests for objects of the work_dir, by kind, once the context has ended."""
    before, counts = bucket.server.count_requests(WORK), Counter[str]()
    yield counts
    counts.update(bucket.server.count_requests(WORK) - before)


@pytest.fixture
def folders(tmp_path: Path) -> dict[int, Path]:
    for count in (FEW, MANY):
        save_cloudy(tmp_path / str(count), count, (24, 24))
    return {count: tmp_path / str(count) for count in (FEW, MANY)}


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_shard_takes_three_requests(bucket, folders, executor):
    made = {}
    for count, folder in folders.items():
        work_dir = f"{bucket.work_dir}/{count}"
        with counted(bucket) as made[count]:
            run_inline(folder, work_dir, executor=executor, shard_size=1, report=False, verify="off")
    per_shard = {kind: (made[MANY][kind] - made[FEW][kind]) / (MANY - FEW) for kind in made[MANY]}
    assert 0.8 < per_shard["PUT"] < 1.2
    assert sum(per_shard.values()) <= MOST + 0.2  # locks are renewed now and then


def test_a_run_that_died_takes_two_more_when_it_resumes(bucket, folders, tmp_path):
    made = {}
    environment = {"PYTHONPATH": dying_before(tmp_path, "merge")}
    for count, folder in folders.items():
        options = ("--work-dir", f"{bucket.work_dir}/{count}", "--executor", "inline", "--shard-size", 1)
        assert run(folder, *options, **environment).returncode < 0
        with counted(bucket) as made[count]:
            result = run_inline(folder, f"{bucket.work_dir}/{count}", shard_size=1, report=False, verify="off")
        assert result.summary["read"] == 0
    assert 1 < (sum(made[MANY].values()) - sum(made[FEW].values())) / (MANY - FEW) <= MOST


def test_a_run_whose_shards_leave_the_cache_gets_them_once_more(bucket, folders, tmp_path, monkeypatch):
    run_inline(folders[FEW], tmp_path / "out", report=False, verify="off")
    monkeypatch.setattr(download_cache, "BUDGET", 1)  # it holds one file at a time
    run_inline(folders[FEW], bucket.work_dir, shard_size=1, report=False, verify="off")
    assert bucket.output(layout.FEATURES) == outputs(tmp_path / "out")[layout.FEATURES]


def test_a_partitioned_search_takes_fewer_requests_than_cells_times_blocks(bucket, monkeypatch):
    for module, name, value in (
        (division, "SAMPLE_ROWS_PER_CELL", 4),
        (recall, "SAMPLE", 10),
        (partitioned_search, "MERGED_AT_ONCE", 4),
    ):
        monkeypatch.setattr(module, name, value)
    n, store = 1_800, open_store(bucket.work_dir)
    save_binary_feature(store.location, [f"{i}.jpg" for i in range(n)], unit_rows(n, 32))
    plan = PartitionLayout(layout.FEATURES, "digest", n, 32, 2, "cosine", copies=3, capacity=250)
    with counted(bucket) as made:
        neighbors = partitioned_search.search_layout(InlineExecutor(1), store, plan)
    # Each cell was read in pieces of each block, and its neighbors block by block, with an index for both.
    before = 4 * neighbors.summary["cells"] * plan.blocks
    assert before > 1_500
    assert made["GET"] < 0.9 * before


@pytest.fixture
def large(bucket: Bucket) -> tuple[Store, bytes]:
    """A work_dir with an object `x` that is downloaded in two parts, and its content."""
    store, content = open_store(bucket.work_dir), np.random.default_rng(0).bytes(PART + 5)
    with store.create("x") as path:
        path.write_bytes(content)
    return store, content


def test_a_large_object_is_downloaded_in_parts(bucket, large, tmp_path, monkeypatch):
    store, content = large
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # no cache of another process is there
    download_cache._make_cache.cache_clear()
    for gets in (2, 1):  # the second time it is only asked whether it changed
        with counted(bucket) as made:
            assert store.fetch("x").read_bytes() == content
        assert made == {"GET": gets}


@pytest.mark.parametrize("ended", ["alive", "killed"])
def test_a_large_object_is_downloaded_once_on_a_machine(bucket, large, ended, tmp_path, monkeypatch):
    store, content = large
    if ended == "killed":
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        code = (
            "import os, sys; from fastdup_ray.storage import open_store; open_store(sys.argv[1]).fetch('x'); os.abort()"
        )
        environment = os.environ | {"TMPDIR": str(tmp_path)}
        assert subprocess.run([sys.executable, "-c", code, bucket.work_dir], env=environment, timeout=60).returncode < 0
    download_cache._make_cache.cache_clear()
    before = bucket.server.count_bytes_sent(WORK)
    assert store.fetch("x").read_bytes() == content
    assert bucket.server.count_bytes_sent(WORK) - before < len(content)


def test_an_empty_object_is_downloaded(bucket, monkeypatch):
    store = open_store(bucket.work_dir)
    with store.create("x") as path:
        path.touch()
    download_cache._make_cache.cache_clear()
    assert store.fetch("x").read_bytes() == b""
