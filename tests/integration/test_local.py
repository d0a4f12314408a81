"""The executor without Ray: child processes that read the images, and end with the run in whatever way it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.commands import start, summary_of
from tests.helpers.images import save_cloudy
from tests.helpers.runs import PHOTOS, outputs, run_inline

SLEEPER = """
import time
from PIL import Image

def sleep(*_):
    time.sleep(3600)

Image.register_open("SLEEPER", sleep, lambda prefix: prefix.startswith(b"SLEEPER!"))
"""
"""A plugin of Pillow that never comes back."""


@pytest.mark.parametrize("options", [{}, {"shard_size": 7, "num_threads": 2, "num_actors": 2}])
def test_the_bytes_are_those_of_inline(options, finished, tmp_path):
    result = run_inline(PHOTOS, tmp_path / "out", executor="local", report=False, **options)
    assert outputs(tmp_path / "out") == outputs(finished)
    assert result.summary["executor"] == "local"


def test_a_program_on_standard_input_is_not_run_again(photos, tmp_path):
    program = f"""
import sys, fastdup_ray
code = fastdup_ray.run({str(photos / "phone")!r}, {str(tmp_path / "out")!r}, report=False)
assert "ray" not in sys.modules
sys.exit(code)
"""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    words = [sys.executable, "-"]
    done = subprocess.run(words, input=program, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Read ") == 1
    assert summary_of(tmp_path / "out")["executor"] == "local"


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT])
def test_a_child_that_is_at_work_ends_with_the_run(signal_, tmp_path):
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin/sitecustomize.py").write_text(SLEEPER)
    save_cloudy(tmp_path / "in", 3)
    (tmp_path / "in/sleeper.jpg").write_bytes(b"SLEEPER!")
    out = tmp_path / "out"
    process = start(
        *(tmp_path / "in", "--work-dir", out, "--executor", "local", "--shard-size", 1, "--num-threads", 1),
        PYTHONPATH=f"{tmp_path / 'plugin'}{os.pathsep}{Path.cwd()}",
    )
    while len(list(out.glob("shards/*.shard"))) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    if signal_ == signal.SIGINT:  # as a terminal does
        os.killpg(process.pid, signal_)
    else:
        process.send_signal(signal_)
    _, err = process.communicate(timeout=20)
    assert process.returncode == (-signal_ if signal_ == signal.SIGKILL else 130)
    assert "Traceback" not in err
    assert len(children) == 1
    assert psutil.wait_procs(children, timeout=5)[1] == []
