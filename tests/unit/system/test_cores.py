"""The cores of a process: what affinity and real control groups leave to it."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastdup_ray.system.cgroups import OWN, ROOT, list_cgroups
from fastdup_ray.system.cores import _read_quotas, count_cores

TELL = [sys.executable, "-c", "from fastdup_ray.system.cores import count_cores; print(count_cores())"]


def told(*before: str) -> int:
    """By a process of its own."""
    return int(subprocess.run([*before, *TELL], capture_output=True, text=True, check=True).stdout)


def test_affinity_counts():
    one = str(min(os.sched_getaffinity(0)))
    assert told("taskset", "-c", one) == 1


@pytest.mark.parametrize(
    ("line", "folder", "files", "cores"),
    [
        ("0::/a/b", "a/b", {"cpu.max": "150000 100000\n"}, [2]),
        ("0::/a/b", "a", {"cpu.max": "100000 100000\n"}, [1]),  # of the group above
        ("0::/a/b", "", {"cpu.max": "300000 100000\n"}, [3]),  # as a container sees its own
        ("0::/a/b", "a/b", {"cpu.max": "max 100000\n"}, []),
        ("4:cpu,cpuacct:/a", "cpu,cpuacct/a", {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}, [1]),
        ("4:cpu,cpuacct:/a", "cpu,cpuacct/a", {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, []),
        ("4:cpuset:/a", "cpuset/a", {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}, []),
    ],
)
def test_the_quota_of_a_group_counts(tmp_path, line, folder, files, cores):
    (tmp_path / "own").write_text(line + "\n")
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (tmp_path / folder / name).write_text(text)
    assert list(_read_quotas(list_cgroups("cpu", tmp_path, tmp_path / "own"))) == cores


@pytest.fixture
def group() -> Iterator[Path]:
    """A real one below that of this process, for one core."""
    above = next((each for each in list_cgroups("cpu") if (each.folder / "cgroup.procs").exists()), None)
    if above is None:
        pytest.skip(f"no control group of {OWN} is below {ROOT}")
    folder = above.folder / f"fastdup-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if above.version == 2:
            (folder / "cpu.max").write_text("100000 100000")
        else:
            (folder / "cpu.cfs_quota_us").write_text("100000")
        yield folder
    except OSError as error:
        pytest.skip(f"no quota can be set here: {error}")
    finally:
        folder.rmdir()


def test_a_real_group_with_one_core(group):
    assert told("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh") == 1


def test_at_least_one():
    assert 1 <= count_cores() <= os.cpu_count()
