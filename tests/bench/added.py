"""One image in a hundred is new: what the search takes that updates the neighbors of the others, beside one of all.

python -m tests.bench.added [--rows 400000] [--new 0.01] [--memory 1200] [--scratch DIR] [--nodes 2 [--kill]]

Searches most of the rows; then all of them, as an update; then all of them again without reuse. Of the last two it
prints the part of the planted duplicates that is found, of all rows and of new ones. CPU seconds are of whole runs of
mode 2: in one process, or with --nodes on so many nodes of a Ray; --kill ends a worker of the update with SIGKILL.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.neighbors.partition_threshold import PARTITIONED
from tests.bench.measured import measured
from tests.bench.rows import planted_found, write
from tests.bench.searches import run, start_cluster
from tests.helpers.commands import command, summary_of

Run = Callable[..., dict[str, float]]


def measure(folder: Path, what: str, memory: int, is_new: np.ndarray, run_mode_2: Run, *options: object) -> None:
    """Run mode 2 and print what it took and found."""
    line = {"search": what, **run_mode_2("--partition-memory", memory, *options)}
    summary = summary_of(folder)
    told, truth = summary["neighbors"], np.load(folder / "truth.npy")
    has_new = is_new[truth].any(axis=1)
    line |= {name: told[name] for name in ("cells", "recall", "recall_of_look_alikes", "seconds")}
    line |= {"neighbors": summary["seconds"]["neighbors"], "added": told.get("added")}
    if what != "of most":
        line |= {"planted": round(planted_found(folder), 5), "planted_new": round(planted_found(folder, has_new), 5)}
    print(json.dumps(line), flush=True)


def run_inline(folder: Path, *options: object) -> dict[str, float]:
    words = ("--run-mode", 2, "--faiss-mode", PARTITIONED, "--no-report", "--executor", "inline")
    cost = measured(command("--work-dir", folder, *words, *options))
    return {"wall": round(cost.wall, 1), "cpu": round(cost.cpu, 1), "memory_mb": cost.memory >> 20}


def run_on_nodes(folder: Path, address: str, *options: object, kill_at: int | None = None) -> dict[str, float]:
    seen = run(folder, PARTITIONED, *options, address=address, kill_at=kill_at)
    line = {"wall": round(seen.wall, 1), "cpu": round(seen.cpu, 1), "memory_mb": seen.all >> 20}
    return line | {"worker_mb": seen.worker >> 20, "killed": seen.killed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--new", type=float, default=0.01)
    parser.add_argument("--memory", type=int, default=1200)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--kill", action="store_true")
    args = parser.parse_args()
    is_new = np.random.default_rng(0).random(args.rows) < args.new
    with tempfile.TemporaryDirectory(dir=args.scratch) as name, ExitStack() as stack:
        folder = Path(name)
        search = update = partial(run_inline, folder)
        if args.nodes:
            search = partial(run_on_nodes, folder, stack.enter_context(start_cluster(args.nodes, args.cores)))
            update = partial(search, kill_at=1 if args.kill else None)
        write(folder, args.rows, chosen=~is_new)
        measure(folder, "of most", args.memory, is_new, search)
        (folder / layout.SUMMARY).unlink()  # of other features
        write(folder, args.rows)
        measure(folder, "update", args.memory, is_new, update)
        measure(folder, "of all", args.memory, is_new, search, "--no-reuse")


if __name__ == "__main__":
    main()
