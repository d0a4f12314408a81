"""What the integration tests share: the command in a process of its own, and comparing what it leaves."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from fastdup_ray.cli.main import main
from tests.helpers.runs import SAME_BYTES


def call(*arguments: object) -> int:
    """The exit code of the command in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code or 0
    return 0


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from fastdup_ray.cli.main import main; main()", "run", *map(str, arguments)]


def start(*arguments: object, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    with start(*arguments, **environment) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def assert_same_files(work_dir: Path, reference: Path) -> None:
    for name in SAME_BYTES:
        assert (work_dir / name).read_bytes() == (reference / name).read_bytes(), name


def parse_counts(out: str) -> list[int]:
    """Return the numbers of the line in which a run says what it read: files, images, unreadable files."""
    line = next(line for line in out.splitlines() if line.startswith("Read "))
    return [int(number) for number in re.findall(r"\d+", line.replace(",", ""))]


def summary_of(work_dir: Path) -> dict:
    return json.loads((work_dir / "summary.json").read_text())


def workers(title: str) -> list[psutil.Process]:
    """Ray's workers whose title says that they are `title`, of the Rays that this process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            name = "".join(process.cmdline()[:1])
            if name.startswith("ray::") and title in name:
                found.append(process)
    return found


def all_end(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether they end so soon; who adopts an orphan may not wait for it at once, so a zombie has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(is_alive(process) for process in processes):
            return True
        time.sleep(0.1)
    return False


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
