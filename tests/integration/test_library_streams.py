"""A program whose standard streams are closed, odd, or of an encoding that lacks a character uses the library."""

import os
import subprocess
import sys
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest

from fastdup_ray.common.events import print_lines
from tests.helpers.images import save_cloudy

PROGRAM = """
import sys

class Odd:
    def write(self, text): return len(text)
    def flush(self): pass

name, kind, photos, work_dir, executor = sys.argv[1:]
setattr(sys, name, {"odd": Odd(), "none": None}[kind])
import fastdup_ray
sys.exit(fastdup_ray.run(photos, work_dir=work_dir, executor=executor, num_threads=1))
"""


@pytest.fixture
def photos(tmp_path) -> Path:
    save_cloudy(tmp_path / "in", 2)
    return tmp_path / "in"


def start(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "RAY_ADDRESS": "local", **environment}
    return subprocess.run([sys.executable, "-c", PROGRAM, *arguments], env=environment, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "executor"),
    [
        *product(["stderr", "stdout"], ["odd", "none"], ["inline"]),
        ("stderr", "none", "ray"),
        ("stdout", "odd", "ray"),
    ],
)
def test_a_run_does_not_mind_what_the_streams_are(photos, tmp_path, name, kind, executor):
    done = start(name, kind, photos, tmp_path / "out", executor)
    assert done.returncode == 0, done
    assert (tmp_path / "out/summary.json").exists()


@pytest.mark.slow
def test_a_run_that_has_finished_does_not_fail_as_it_is_told(photos, tmp_path):
    done = start("stderr", "none", photos, tmp_path / "é", "inline", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert b"/\\xe9/report/index.html" in done.stdout


def test_an_error_is_told_where_it_can_be(tmp_path):
    done = start("stderr", "none", tmp_path / "nowhere", tmp_path / "out", "inline")
    assert done.returncode == 1
    assert b"nowhere" in done.stdout


def test_a_line_that_cannot_be_printed_is_no_error(monkeypatch):
    read, written = os.pipe()
    os.close(read)
    with suppress(BrokenPipeError), open(written, "w", encoding="ascii") as stream:
        print_lines("é", stream)
    assert stream.closed
    print_lines("é", stream)
    monkeypatch.setattr(sys, "stdout", None)
    print_lines("é")
