"""Calls that a sandbox refuses, reads that the disk fails: the command works by other means, or names the file."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastdup_ray.common import layout
from tests.helpers import refusals
from tests.helpers.images import save_cloudy
from tests.helpers.runs import csv_rows, outputs, run_inline

NEW_CALLS = "openat2,userfaultfd,renameat2,io_uring_setup"
"""What sandboxes refuse that are older than these calls."""

pytestmark = pytest.mark.skipif(not refusals.is_possible(), reason="needs seccomp, and the numbers of system calls")


def refused(calls: tuple[str, str], *words: object, cwd: Path) -> subprocess.CompletedProcess:
    """Python, of which some calls fail."""
    words = [sys.executable, refusals.__file__, *calls, sys.executable, *map(str, words)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=cwd, env=environment)


def bad(work_dir: Path) -> dict[str, str]:
    return {os.path.basename(row[0]): row[1] for row in csv_rows(work_dir / layout.BAD_CSV)[1:]}


@pytest.mark.parametrize("code", ["EPERM", "ENOSYS"])
def test_run_apply_and_undo_need_no_new_calls_of_the_system(tmp_path, code):
    first, second = save_cloudy(tmp_path / "images", 2)
    copy = second.with_name("copy.jpg")
    copy.write_bytes(first.read_bytes())
    os.utime(copy, (2_000_000_000, 2_000_000_000))
    script = """
import os
from fastdup_ray.cli.main import main
main(["run", "images", "--work-dir", "out", "--executor", "inline", "--no-report"])
main(["plan", "out"])
main(["apply", "out/plan.csv", "--execute"])
assert len(os.listdir("images")) == 2
main(["undo"])
"""
    done = refused((code, NEW_CALLS), "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert first.read_bytes() == copy.read_bytes()
    assert second.exists()


def test_an_image_is_read_again_after_the_disk_failed_in_its_midst(tmp_path):
    folder, out = tmp_path / "images", tmp_path / "out"
    save_cloudy(folder, 2)
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1111, 3), np.uint8)
    large = folder / "large.bmp"
    Image.fromarray(noise).save(large)
    with tarfile.open(folder / "a.tar", "w") as packed:
        packed.add(large, "inner.bmp")
    with zipfile.ZipFile(folder / "a.zip", "w") as packed:
        packed.write(large, "inner.bmp")
    size = large.stat().st_size
    failing = "EIO", f"read:{size - 20_000}-{size + 20_000}"  # what has been read before is fine
    command = ["-m", "fastdup_ray", "run", folder, "--work-dir", out, "--executor", "inline", "--no-report"]
    done = refused(failing, *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert bad(out) == {"large.bmp": "READ_FAILED", "inner.bmp": "READ_FAILED"}
    again = run_inline(folder, out, report=False)
    assert again.summary["read"] == 3
    assert again.counts["bad"] == 0
    run_inline(folder, tmp_path / "fresh", report=False)
    assert outputs(out) == outputs(tmp_path / "fresh")
