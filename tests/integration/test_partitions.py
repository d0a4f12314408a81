"""A search in partitions on real Ray: the same bytes whoever does it, and after kills only what was not finished."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from watchdog.events import EVENT_TYPE_MOVED, FileCreatedEvent, FileMovedEvent, FileSystemEventHandler
from watchdog.observers import Observer

from fastdup_ray.common import layout
from tests.bench.rows import write
from tests.helpers.commands import run, summary_of, workers
from tests.helpers.runs import PHOTOS, SAME_BYTES

N = 9_000
CAPACITY = 1_500
"""So that there are many cells of so few rows."""

FOUND = "found/[!.]*.dat"
"""What was found in a cell, whole: what is being written has a name with a dot."""

COMMAND = f"""
from fastdup_ray.neighbors.partitioned import partition_layout as plan
plan.compute_capacity, plan.LEAST_CAPACITY = lambda *of: {CAPACITY}, 1
from fastdup_ray.cli.main import main
main()
"""

pytestmark = pytest.mark.slow


def start(out: Path, *arguments: object, **environment: str) -> subprocess.Popen:
    options = ("--run-mode", 2, "--faiss-mode", "partitioned", "--no-report", *arguments)
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "run", "--work-dir", str(out), *map(str, options)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def ended(process: subprocess.Popen) -> int:
    _, err = process.communicate(timeout=300)
    assert process.returncode in (0, -signal.SIGKILL), err
    return process.returncode


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    write(folder, N)
    return folder


@pytest.fixture
def out(features, tmp_path) -> Path:
    """A work_dir that has the features."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name in (layout.FEATURES, layout.FEATURES_CSV):
        shutil.copyfile(features / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def inline(features, tmp_path_factory) -> Path:
    """What the inline executor makes of them."""
    folder = tmp_path_factory.mktemp("inline")
    for name in (layout.FEATURES, layout.FEATURES_CSV):
        shutil.copyfile(features / name, folder / name)
    assert ended(start(folder, "--executor", "inline")) == 0
    return folder


def assert_same(work_dir: Path, reference: Path) -> None:
    for name in SAME_BYTES:
        if (reference / name).exists():
            assert (work_dir / name).read_bytes() == (reference / name).read_bytes(), name
    assert not (work_dir / layout.SHARDS).exists()
    facts, own = (summary_of(folder)["neighbors"] for folder in (work_dir, reference))
    for name in ("recall", "cells", "why"):
        assert facts[name] == own[name]


class Found(FileSystemEventHandler):
    """The cells that are searched, and how many times: their files come to stand under their names.

    A new folder is watched a little after it is made. What stands in it by then is told as created, and perhaps as
    moved too: the times are those of the latter alone.
    """

    def __init__(self, folder: Path):
        self.cells: set[str] = set()
        self.times = 0
        self._observer = Observer()
        self._observer.schedule(self, str(folder), recursive=True, event_filter=[FileCreatedEvent, FileMovedEvent])

    def on_any_event(self, event):
        path = Path(event.dest_path or event.src_path)
        if path.match(FOUND):
            self.cells.add(path.name)
            self.times += event.event_type == EVENT_TYPE_MOVED

    def __enter__(self):
        self._observer.start()
        return self

    def __exit__(self, *exc_info):
        time.sleep(0.3)
        self._observer.stop()
        self._observer.join()


@pytest.mark.parametrize("threads", [3])
def test_on_ray_the_bytes_are_those_of_the_inline_executor(threads, out, inline):
    assert ended(start(out, "--num-threads", threads, "--executor", "ray", RAY_ADDRESS="local")) == 0
    assert_same(out, inline)
    assert summary_of(out)["neighbors"]["cells"] > 10


def found_in(out: Path) -> set[str]:
    return {path.name for path in out.glob(f"{layout.PARTITIONS}/**/{FOUND}")}


def wait_for(process: subprocess.Popen, is_time) -> None:
    while process.poll() is None and not is_time():
        time.sleep(0.002)
    assert process.poll() is None, "it was over before it was killed"


def test_a_worker_that_is_killed_in_mid_search_costs_the_cell_that_it_had(out, inline, ray_session):
    with Found(out) as found:
        process = start(out, RAY_ADDRESS=ray_session)
        wait_for(process, lambda: len(found_in(out)) > 2 and workers("search_cell"))
        victims = workers("search_cell")
        for victim in victims:
            victim.kill()
        assert ended(process) == 0
    assert_same(out, inline)
    cells = summary_of(out)["neighbors"]["cells"]
    assert len(found.cells) == cells
    assert found.times <= cells + len(victims)


@pytest.mark.parametrize("cells", [0, 8])
def test_a_driver_that_is_killed_leaves_the_finished_cells_to_the_next(cells, out, inline, ray_session):
    process = start(out, RAY_ADDRESS=ray_session)
    wait_for(process, lambda: len(found_in(out)) >= cells and list(out.glob(f"{layout.PARTITIONS}/*")))
    process.kill()
    assert ended(process) == -signal.SIGKILL
    while workers("search_cell"):
        time.sleep(0.1)
    there = found_in(out)
    assert len(there) >= cells
    with Found(out) as found:
        assert ended(start(out, RAY_ADDRESS=ray_session)) == 0
    assert_same(out, inline)
    assert found.cells.isdisjoint(there)
    assert len(found.cells) + len(there) == summary_of(out)["neighbors"]["cells"]
    assert found.times <= len(found.cells)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    """A finished run on all but 200 of the images; then all are put into its work_dir."""
    folder = tmp_path_factory.mktemp("earlier")
    write(folder, N, chosen=np.arange(N) % 45 > 0)
    assert ended(start(folder, "--executor", "inline", "--verify", "off")) == 0
    (folder / layout.SUMMARY).unlink()  # of other features
    write(folder, N)
    return folder


def test_a_driver_that_is_killed_while_new_images_are_searched_leaves_the_rest_to_the_next(
    earlier, tmp_path, ray_session
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    for folder in (out, whole):
        shutil.copytree(earlier, folder)
    assert ended(start(whole, "--executor", "inline", "--verify", "off")) == 0
    process = start(out, "--verify", "off", RAY_ADDRESS=ray_session)
    wait_for(process, lambda: len(found_in(out)) >= 4)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    while workers("search_added"):
        time.sleep(0.1)
    there = found_in(out)
    with Found(out) as found:
        assert ended(start(out, "--verify", "off", RAY_ADDRESS=ray_session)) == 0
    assert_same(out, whole)
    assert found.cells.isdisjoint(there)
    told = summary_of(out)["neighbors"]
    assert told["added"] == summary_of(whole)["neighbors"]["added"]
    assert (told["added"]["new"], told["added"]["searched"]) == (200, 200)
    assert len(found.cells) + len(there) == told["cells"]


def test_the_recall_of_look_alikes_is_told(tmp_path):
    words = PHOTOS, "--work-dir", tmp_path / "out", "--executor", "inline", "--faiss-mode", "partitioned", "--verbose"
    assert re.search(r"partitioned, recall 1 \(1 ", run(*words).stdout)
    assert "for near duplicates 100 %" in (tmp_path / "out" / layout.REPORT).read_text()
