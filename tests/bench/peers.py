"""The tools that ours is compared with, each as a command in an interpreter of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FASTDUP = os.environ.get("FASTDUP_PYTHON")
"""The interpreter of an environment with fastdup 2.54, which needs Python 3.11 or older."""

IMAGEDEDUP = os.environ.get("IMAGEDEDUP_PYTHON")
"""The same with imagededup. Its PHash only: the weights of its CNN come from the network."""

ENVIRONMENT = {"SENTRY_OPT_OUT": "True"}

_FASTDUP = """
import sys, fastdup
given = dict(run_mode=int(sys.argv[3]), num_threads=int(sys.argv[4]), nearest_neighbors_k=2)
sys.exit(fastdup.run(sys.argv[1], work_dir=sys.argv[2], **given) or 0)
"""

_PHASH = """
import sys
from imagededup.methods import PHash
PHash().encode_images(image_dir=sys.argv[1], recursive=True, num_enc_workers=int(sys.argv[2]))
"""

_VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


def ours(*arguments: object) -> list[object]:
    return [sys.executable, "-c", "from fastdup_ray.cli.main import main; main()", "run", *arguments]


def fastdup(pictures: object, work_dir: Path, mode: int, threads: int) -> list[object]:
    return [FASTDUP, "-c", _FASTDUP, pictures, work_dir, mode, threads]


def phash(pictures: Path, threads: int) -> list[object]:
    return [IMAGEDEDUP, "-c", _PHASH, pictures, threads]


def plain(pictures: Path, processes: int) -> list[object]:
    """The lower bound: Pillow and the model in a loop, on that many processes."""
    return [sys.executable, "-m", "tests.bench.plain", pictures, processes]


def version(python: str, package: str) -> str:
    return subprocess.run([python, "-c", _VERSION, package], capture_output=True, text=True, check=True).stdout.strip()


def side_by_side(commands: Sequence[Sequence[object]]) -> list[object]:
    """One command that runs several at once and fails where one does."""
    waits = "import json, subprocess, sys; all_of = [subprocess.Popen(c) for c in json.loads(sys.argv[1])]; "
    given = json.dumps([list(map(str, command)) for command in commands])
    return [sys.executable, "-c", waits + "sys.exit(max(p.wait() for p in all_of))", given]
