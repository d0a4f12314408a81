"""The commands of jobs/README.md for a running cluster, on a host of its own, which is a set of namespaces."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.helpers.clusters import with_commands
from tests.helpers.commands import assert_same_files
from tests.helpers.runs import PHOTOS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENT = {"RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "120"}
"""A busy machine needs more than Ray's 30 seconds for the dashboard."""

HOST = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]


def is_possible() -> bool:
    programs = ("unshare", "ip", "openssl")
    return all(map(shutil.which, programs)) and not subprocess.run([*HOST, "true"], capture_output=True).returncode


def commands(after: str) -> str:
    """Return the block that follows these words in the guide to the jobs."""
    text = (ROOT / "jobs" / "README.md").read_text(encoding="utf-8")
    return re.search(r"```\n(.*?)```", text[text.index(after) :], re.DOTALL)[1]


@pytest.mark.skipif(not is_possible(), reason="no network and process namespaces can be made here")
def test_the_commands_for_a_running_cluster(finished, tmp_path):
    block = commands("## On a running Ray cluster")
    assert "ray start --head" in block
    assert "jobs/submit.py" in block
    assert "ray job submit" in block
    for line in ("jobs/submit.py", "ray job submit"):  # each a work_dir of its own
        out = tmp_path / line.split()[-1].replace("/", "-")
        block = re.sub(rf"({line}.*)s3://bucket/dedupe", rf"\g<1>{out}", block)
    block = block.replace("s3://bucket/photos", str(PHOTOS))
    assert "s3://" not in block
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets need a short path
    try:
        done = subprocess.run(
            [*HOST, "sh", "-ec", f"ip link set lo up\n{block}"],
            cwd=ROOT,
            env=with_commands(PATIENT | {"RAY_TMPDIR": folder, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}),
            capture_output=True,
            text=True,
            timeout=600,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for out in ("jobs-submit.py", "submit"):
        assert_same_files(tmp_path / out, finished)
