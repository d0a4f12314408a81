"""What Ray costs: extraction through it against extraction in one process, in turn, on the same pictures.

python -m tests.bench.ray_cost --pictures DIR [--runs 3] [--num-images 5000]

Prints, for each run and as medians: CPU seconds of the extraction, seconds of it, and for Ray the seconds from the
start of the command to the first finished shard.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.commands import command, summary_of


def measured(pictures: Path, work_dir: Path, executor: str, *options: object) -> dict[str, float]:
    """One run of mode 1 into an empty work_dir."""
    shutil.rmtree(work_dir, ignore_errors=True)
    arguments = (pictures, "--work-dir", work_dir, "--run-mode", 1, "--executor", executor, *options)
    begin = time.monotonic()
    first_shard = None
    with subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            if first_shard is None and any(work_dir.glob("shards/features-*.shard")):
                first_shard = time.monotonic() - begin
            time.sleep(0.02)
        if process.returncode:
            sys.exit(process.stderr.read().decode())
    summary = summary_of(work_dir)
    return {
        "cpu": summary["cpu_seconds"],
        "seconds": summary["seconds"]["features"],
        "whole": time.monotonic() - begin,
        "first shard": first_shard or float("nan"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--num-images", type=int, default=5000)
    parser.add_argument("--shard-size", type=int, default=256)
    args = parser.parse_args()
    options = ("--num-images", args.num_images, "--shard-size", args.shard_size)
    results: dict[str, list[dict[str, float]]] = {"inline": [], "ray": []}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(args.runs):
            for executor, runs in results.items():
                runs.append(measured(args.pictures, Path(scratch) / "out", executor, *options))
                print(executor, {name: round(value, 2) for name, value in runs[-1].items()}, flush=True)
    for name in results["ray"][0]:
        inline, ray = (statistics.median(run[name] for run in results[executor]) for executor in ("inline", "ray"))
        print(f"{name}: inline {inline:.2f}, ray {ray:.2f}, ratio {ray / inline:.3f}")


if __name__ == "__main__":
    main()
