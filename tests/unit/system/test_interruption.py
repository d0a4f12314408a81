"""Signals end a command in order within ten seconds, at any point: real processes, and real signals."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastdup_ray.common import layout
from fastdup_ray.system.interruption import EXIT_CODE, MESSAGE, REPEAT
from tests.helpers.images import cloudy

pytestmark = pytest.mark.alone

IN_NATIVE_CODE = "import hashlib; ready(); hashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 28)"
BEHIND_A_THREAD = "import threading; threading.Thread(target=threading.Event().wait).start(); ready(); time.sleep(60)"
SWALLOWING = """
    class Swallowing:
        def __del__(self):
            ready()
            time.sleep(60)
    Swallowing()
    time.sleep(60)
"""
CLEANING = """
    try:
        ready()
        time.sleep(60)
    finally:
        time.sleep(0.5)
        print("clean", flush=True)
"""


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen]:
    words = [sys.executable, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def at_work(body: str, grace: float = 8.0, before: str = "") -> Iterator[subprocess.Popen]:
    """A process that has come to the call of `ready()` in `body`, which signals may end."""
    script = f"""
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
{before}
from fastdup_ray.system import interruption
interruption.GRACE = {grace}
ready = lambda: print("ready", flush=True)
with interruption.end_on_signals():
{textwrap.indent(textwrap.dedent(body), "    ")}
"""
    with started("-c", script) as process:
        assert process.stdout.readline() == "ready\n"
        yield process


def end(process: subprocess.Popen, number: int, seconds: float = 10.0) -> tuple[str, str]:
    """What the process printed until it ended with `EXIT_CODE`, at most so long after the signal."""
    process.send_signal(number)
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == EXIT_CODE, out + err
    return out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_ends_the_command_in_order_with_one_line(number):
    with at_work(CLEANING) as process:
        assert end(process, number, 5) == ("clean\n", MESSAGE + "\n")


@pytest.mark.parametrize("body", [IN_NATIVE_CODE, BEHIND_A_THREAD, SWALLOWING])
def test_what_never_hears_of_the_signal_is_ended_by_force(body):
    with at_work(body, grace=1.0) as process:
        assert MESSAGE in end(process, signal.SIGTERM, 5)[1]


def test_a_second_signal_ends_the_command_at_once():
    with at_work(IN_NATIVE_CODE, grace=60.0) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(REPEAT + 0.2)
        end(process, signal.SIGTERM, 5)


def test_a_signal_that_is_sent_twice_breaks_no_cleaning_up():
    with at_work(CLEANING) as process:  # as `timeout` and the end of a Slurm job do
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert end(process, signal.SIGTERM, 5)[0] == "clean\n"


def test_a_signal_that_was_ignored_stays_ignored():
    with at_work(CLEANING, before="signal.signal(signal.SIGHUP, signal.SIG_IGN)") as process:  # as nohup does
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        end(process, signal.SIGTERM)


def test_the_command_can_be_interrupted_while_it_is_imported():
    with started("-X", "importtime", "-m", "fastdup_ray", "--version") as process:
        while "fastdup_ray.version" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=5)
    assert process.returncode in (EXIT_CODE, -signal.SIGTERM)
    assert "Traceback" not in err


def test_a_list_from_a_pipe_without_a_writer_does_not_keep_the_command(tmp_path: Path):
    os.mkfifo(tmp_path / "list")
    with started(
        "-m", "fastdup_ray", "run", tmp_path / "list", "--work-dir", tmp_path / "out", "--executor", "inline"
    ) as process:
        while not (tmp_path / "out" / layout.LOCK).exists():
            time.sleep(0.05)
        time.sleep(0.5)
        assert end(process, signal.SIGTERM)[1] == "\n" + MESSAGE + "\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_cleanup_may_take_longer_than_the_handler_of_ray_allows():
    ray = "import os; os.environ['RAY_ADDRESS'] = 'local'; import ray; ray.init(num_cpus=1, include_dashboard=False)"
    with at_work(CLEANING.replace("ready()", f"{ray}; ready()").replace("0.5", "4.0")) as process:
        assert end(process, signal.SIGTERM)[0].endswith("clean\n")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2.0, 5.0])
def test_a_run_is_interrupted_while_ray_starts_or_works(tmp_path: Path, seconds, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    (tmp_path / "images").mkdir()
    for seed in range(40):
        cloudy(seed).save(tmp_path / f"images/{seed}.jpg")
    command = ["-m", "fastdup_ray", "run", tmp_path / "images", "--work-dir", tmp_path / "out", "--shard-size", 1]
    command += ["--executor", "ray"]
    with started(*command) as process:
        time.sleep(seconds)
        if process.poll() is None:
            assert MESSAGE in end(process, signal.SIGTERM)[1]
    assert not [path for path in tmp_path.rglob("*") if ".tmp-" in path.name or path.name == layout.LOCK]
