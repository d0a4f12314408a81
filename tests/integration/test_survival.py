"""On Ray: workers and drivers that are killed, and pictures that kill their workers."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image
from watchdog.events import FileClosedNoWriteEvent, FileSystemEventHandler
from watchdog.observers import Observer

from fastdup_ray import RunConfig, deduplicate
from fastdup_ray.runs import features_stage
from tests.helpers.commands import all_end, assert_same_files, run, start, summary_of, workers
from tests.helpers.images import save_cloudy

N = 320
SHARD = 16
ACTORS = 2
KILLS = 10

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    save_cloudy(folder, N, size=(480, 360))
    return folder


@pytest.fixture(scope="module")
def arguments(pictures):
    return (pictures, "--no-report", "--shard-size", SHARD, "--num-actors", ACTORS)


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory, ray_session):
    """A finished work_dir, the seconds that it took, and how many pictures were read again to be compared."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    begin = time.monotonic()
    with Reads(arguments[0]) as reads:
        done = run(*arguments, "--work-dir", out, RAY_ADDRESS=ray_session)
    assert done.returncode == 0, done.stderr
    return out, time.monotonic() - begin, reads.twice


class Reads(FileSystemEventHandler):
    """How often each file below a folder was opened, read and closed, as the kernel tells it."""

    def __init__(self, folder: Path):
        self.counts: dict[str, int] = {}
        self._observer = Observer()
        self._observer.schedule(self, str(folder), event_filter=[FileClosedNoWriteEvent])

    def on_any_event(self, event):
        self.counts[event.src_path] = self.counts.get(event.src_path, 0) + 1

    def __enter__(self):
        self._observer.start()
        return self

    def __exit__(self, *exc_info):
        time.sleep(0.3)
        self._observer.stop()
        self._observer.join()

    @property
    def twice(self) -> int:
        return sum(self.counts.values()) - len(self.counts)


def kill(victim: str, driver: psutil.Process) -> bool:
    """kill -9; whether there was anything to kill."""
    victims = {
        "extract actor": lambda: workers("ExtractActor")[:1],
        "index actor": lambda: workers("_IndexActor"),
        "final task": lambda: workers("write_outputs"),
        "driver": lambda: [driver],
        "everything": lambda: [driver, *workers("ExtractActor"), *workers("_IndexActor"), *workers("write_outputs")],
    }[victim]()
    for process in victims:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            return False
    return bool(victims)


@pytest.mark.parametrize("moment", range(KILLS))
def test_a_kill_at_any_moment_costs_no_more_than_the_shards_at_work(
    arguments, undisturbed, tmp_path, ray_session, moment
):
    reference, seconds, compared = undisturbed
    out = tmp_path / "out"
    draw = random.Random(moment)
    victim = ["extract actor", "driver", "everything", "index actor", "final task"][moment % 5]
    when = draw.uniform(0.2, 1.0) * seconds
    with Reads(arguments[0]) as reads:
        process = start(*arguments, "--work-dir", out, RAY_ADDRESS=ray_session)
        begin = time.monotonic()
        killed = False
        while process.poll() is None and not killed:
            if time.monotonic() - begin > when:
                killed = kill(victim, psutil.Process(process.pid))
            time.sleep(0.005)
        _, err = process.communicate(timeout=120)
        if process.returncode == -signal.SIGKILL:
            assert victim in ("driver", "everything")
            again = run(*arguments, "--work-dir", out, RAY_ADDRESS=ray_session)
            assert again.returncode == 0, again.stderr
        else:
            assert process.returncode == 0, err
    assert_same_files(out, reference)
    assert not list(out.glob("**/.tmp-*"))
    assert not (out / "shards").exists()
    assert len(reads.counts) == N
    at_work = ACTORS * SHARD if victim in ("driver", "everything") else SHARD
    assert reads.twice <= (at_work + 2 * compared if killed else compared)  # what is compared is one piece


def test_a_run_whose_own_ray_dies_says_so_at_once_and_goes_on_from_there(arguments, undisturbed, tmp_path):
    """Left to itself Ray would end the process after a minute, and say nothing of how to go on."""
    out = tmp_path / "out"
    process = start(*arguments, "--work-dir", out, "--num-threads", ACTORS, "--executor", "ray", RAY_ADDRESS="local")
    while len(list(out.glob("shards/features-*.shard"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    family = {each: each.name() for each in psutil.Process(process.pid).children(recursive=True)}
    next(each for each, name in family.items() if name == "gcs_server").kill()
    _, err = process.communicate(timeout=45)
    assert process.returncode == 1
    assert "gcs_server" in err.splitlines()[-1]
    assert "resume" in err
    assert "Traceback" not in err
    # Agents of Ray try to reach the gcs_server for a minute before they end.
    assert all_end([each for each, name in family.items() if "Agent" not in name], 20)
    done = run(*arguments, "--work-dir", out, "--executor", "inline")
    assert done.returncode == 0, done.stderr
    assert_same_files(out, undisturbed[0])


def test_the_actors_of_a_failed_run_end_with_it_and_not_with_its_error(arguments, tmp_path, ray_driver, monkeypatch):
    actors: list[psutil.Process] = []

    def fail(receipts, *_):
        yield next(receipts)
        actors.extend(workers("ExtractActor"))
        raise RuntimeError("in the middle")

    monkeypatch.setattr(features_stage, "report_extraction", fail)
    with pytest.raises(RuntimeError) as error:
        deduplicate(RunConfig.of(input_dir=arguments[0], work_dir=tmp_path / "out", shard_size=SHARD))
    assert actors
    assert all_end(actors, 20)
    assert error.tb  # what it holds would have gone with it


DROP = """
import gc, threading, time
import ray
from fastdup_ray.executors.ray_cluster import connect_or_start

class Circle:
    def __init__(self, ref):
        self.ref, self.itself = ref, self

def drop(refs):
    while refs:
        Circle(refs.pop())
        time.sleep(0.0003)

gc.set_threshold(1)
with connect_or_start(1, verbose=False):
    refs = [ray.put(1) for _ in range(3000)]
    dropping = threading.Thread(target=drop, args=[refs])
    dropping.start()
dropping.join()
"""
"""Disconnects from Ray while garbage that refers to its objects comes up."""


def test_garbage_does_not_end_a_process_that_disconnects(ray_session):
    ended = subprocess.run([sys.executable, "-c", DROP], env=os.environ | {"RAY_ADDRESS": ray_session}, check=False)
    assert ended.returncode == 0


# Pictures that take their worker down: a plugin for Pillow that does on purpose what broken decoders do.

PLUGIN = """
import os, signal, time
from PIL import Image, ImageFile

class Harmful(ImageFile.ImageFile):
    format = "HARMFUL"
    format_description = "does what broken decoders do"
    def _open(self):
        self._size, self._mode = (64, 64), "RGB"
        what = self.fp.read(16)[8:]
        if what.startswith(b"kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if what.startswith(b"sleep"):
            time.sleep(3600)
        if what.startswith(b"hog"):
            hoard = []
            while True:
                hoard.append(bytearray(32 << 20))
        raise RuntimeError("anything at all")

Image.register_open("HARMFUL", Harmful, lambda prefix: prefix.startswith(b"HARMFUL!"))
"""


@pytest.fixture(scope="module")
def harmful(tmp_path_factory):
    folder = tmp_path_factory.mktemp("harmful")
    save_cloudy(folder, 60)
    for number, what in ((7, b"kill"), (23, b"sleep"), (24, b"hog"), (41, b"raise"), (42, b"kill")):
        (folder / f"{number:04d} {what.decode()}.jpg").write_bytes(b"HARMFUL!" + what)
    return folder


@pytest.mark.parametrize("executor", ["ray", "local"])
def test_pictures_that_kill_hang_or_hog_end_in_the_bad_list_and_all_others_are_good(harmful, executor, tmp_path):
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin/sitecustomize.py").write_text(PLUGIN)
    out = tmp_path / "out"
    environment = {"PYTHONPATH": str(tmp_path / "plugin"), "RAY_ADDRESS": "local"}
    options = ("--image-timeout", 12, "--actor-memory", 512, "--num-threads", 2, "--shard-size", 32)
    done = run(harmful, "--work-dir", out, "--no-report", "--executor", executor, *options, **environment)
    assert done.returncode == 0, done.stderr
    bad = [line.split(",") for line in (out / "features.bad.csv").read_text().splitlines()[1:]]
    assert {os.path.basename(name): code for name, code, *_ in bad} == {
        "0007 kill.jpg": "CRASHED",
        "0023 sleep.jpg": "TIMEOUT",
        "0024 hog.jpg": "OUT_OF_MEMORY",
        "0041 raise.jpg": "CORRUPT",
        "0042 kill.jpg": "CRASHED",
    }
    assert summary_of(out)["counts"]["images"] == 60


def test_a_picture_too_large_for_the_actors_memory_is_bad(tmp_path, ray_session):
    folder = tmp_path / "some"
    save_cloudy(folder, 5)
    Image.new("RGBA", (12_000, 12_000)).save(folder / "huge.png", compress_level=1)
    out = tmp_path / "out"
    done = run(folder, "--work-dir", out, "--actor-memory", 256, "--no-report", RAY_ADDRESS=ray_session)
    assert done.returncode == 0, done.stderr
    assert "huge.png,OUT_OF_MEMORY," in (out / "features.bad.csv").read_text()


@pytest.mark.parametrize(("executor", "child"), [("ray", "default_worker"), ("local", "run_child")])
def test_workers_that_cannot_start_end_the_run_with_one_line_and_blame_no_picture(arguments, executor, child, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/sitecustomize.py").write_text(
        "import os, sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == 'onnxruntime' and {child!r} in ' '.join(sys.orig_argv):\n"
        "            os._exit(1)\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    out = tmp_path / "out"
    environment = {"PYTHONPATH": str(tmp_path / "broken"), "RAY_ADDRESS": "local"}
    done = run(*arguments, "--work-dir", out, "--num-threads", 2, "--executor", executor, **environment)
    assert done.returncode == 1
    assert "die as they start" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (out / "features.bad.csv").exists()
