"""One image in a hundred is new: what the search takes that updates the neighbors of the others, beside one of all.

python -m tests.bench.added [--rows 400000] [--new 0.01] [--memory 1200] [--scratch DIR]

Searches most of the rows; then all of them, as an update; then all of them again without reuse. Of the last two it
prints the part of the planted duplicates that is found, of all rows and of new ones. CPU seconds are of whole runs of
mode 2.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from fastdup_ray.common import layout
from tests.bench.measured import measured
from tests.bench.rows import planted_found, write
from tests.helpers.commands import command, summary_of


def measure(folder: Path, what: str, memory: int, is_new: np.ndarray, *options: object) -> None:
    """Run mode 2 and print what it took and found."""
    words = ("--run-mode", 2, "--faiss-mode", "partitioned", "--partition-memory", memory, "--no-report")
    cost = measured(command("--work-dir", folder, "--executor", "inline", *words, *options))
    summary = summary_of(folder)
    told, truth = summary["neighbors"], np.load(folder / "truth.npy")
    has_new = is_new[truth].any(axis=1)
    line = {"search": what, "wall": round(cost.wall, 1), "cpu": round(cost.cpu, 1), "memory_mb": cost.memory >> 20}
    line |= {name: told[name] for name in ("cells", "recall", "recall_of_look_alikes", "seconds")}
    line |= {"neighbors": summary["seconds"]["neighbors"], "added": told.get("added")}
    if what != "of most":
        line |= {"planted": round(planted_found(folder), 5), "planted_new": round(planted_found(folder, has_new), 5)}
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--new", type=float, default=0.01)
    parser.add_argument("--memory", type=int, default=1200)
    parser.add_argument("--scratch", type=Path)
    args = parser.parse_args()
    is_new = np.random.default_rng(0).random(args.rows) < args.new
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        folder = Path(name)
        write(folder, args.rows, chosen=~is_new)
        measure(folder, "of most", args.memory, is_new)
        (folder / layout.SUMMARY).unlink()  # of other features
        write(folder, args.rows)
        measure(folder, "update", args.memory, is_new)
        measure(folder, "of all", args.memory, is_new, "--no-reuse")


if __name__ == "__main__":
    main()
