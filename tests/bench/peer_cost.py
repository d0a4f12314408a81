"""CPU per picture of the shipped decoder and model, and of fastdup, in turn on the same files and on one core.

    FASTDUP_PYTHON=PYTHON python -m tests.bench.peer_cost PICTURES [-n 1000] [--runs 3]

Each tool runs over n pictures and over a tenth of them; the difference leaves its start out.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from fastdup_ray.common.records import Limits
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.model import BATCH, Model
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.resize import Fit
from tests.bench import peers
from tests.bench.measured import measured


def extract(folder: Path) -> None:
    """Decode and model in a loop: what is measured of ours."""
    model, paths = Model(), sorted(folder.iterdir())
    for start in range(0, len(paths), BATCH):
        with strict_pillow():
            batch = [
                decode_bytes(path.read_bytes(), model.size, Limits(sys.maxsize), Fit(trim=True)).pixels
                for path in paths[start : start + BATCH]
            ]
        model.embed(np.stack(batch))


def seconds(tool: str, folder: Path) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        if tool == "fastdup":
            command = peers.fastdup(folder, Path(scratch) / "out", 1, 1)
        else:
            command = [sys.executable, "-m", "tests.bench.peer_cost", "--ours", folder]
        return measured(command, peers.ENVIRONMENT).cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ours:
        extract(args.pictures)
        return

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    files = sorted(args.pictures.rglob("*.jpg"))[: args.n]
    costs: dict[str, list[float]] = {"ours": [], "fastdup": []}
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch, "all"), Path(scratch, "some")]
        counts = [len(files), len(files) // 10]
        for folder, count in zip(folders, counts, strict=True):
            folder.mkdir()
            for place, path in enumerate(files[:count]):
                shutil.copy(path, folder / f"{place}.jpg")
        for _ in range(args.runs):
            for tool, several in costs.items():
                all_of, some = (seconds(tool, folder) for folder in folders)
                several.append((all_of - some) / (counts[0] - counts[1]) * 1000)
    for tool, several in costs.items():
        print(f"{tool}: {statistics.median(several):.1f} ms of CPU a picture", [round(cost, 1) for cost in several])
    ours, fastdup = (statistics.median(several) for several in costs.values())
    print(f"ours is {ours / fastdup:.2f} of fastdup")


if __name__ == "__main__":
    main()
