"""A search in partitions beside one index: the pairs that both have, recall, time, and the memory of each worker.

python -m tests.bench.partitions --rows 250000 500000 1000000 [--index HNSW32] [--memory 4096] [--copies 2] [--nodes 2]
    [--kill]

Prints, for each number of rows, seconds a stage and the exponents by which they grow. --index "" leaves that out;
--kill ends a worker in the midst of its search, with SIGKILL.
"""

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pyarrow.csv as pc
from ray.cluster_utils import Cluster

from fastdup_ray import RunConfig
from tests.bench.measured import measure_exponent
from tests.bench.rows import planted_found, write
from tests.helpers.commands import command, summary_of

THRESHOLD = 0.85
EVERY = 0.5
"""Seconds between two looks at the workers."""

ALL_EVERY = 10
"""Looks from one at all processes to the next."""

LOOKS_BEFORE_KILL = 60
"""At which somebody searched."""

STEPS = (
    "learn_centers",
    "divide_part",
    "split_part",
    "search_cell",
    "merge_neighbors",
    "find_true_nearest",
    "read_sample",
)


@dataclass
class Seen:
    """Of a run. worker: bytes of its own that a worker of the search had at most; all: what all processes had at once,
    the cluster and this one with them (PSS). killed: workers that were."""

    wall: float = 0.0
    worker: int = 0
    all: int = 0
    killed: int = 0


def run(work_dir: Path, mode: str, *options: object, kill: bool = False, **environment: str) -> Seen:
    """Run mode 2."""
    words = command("--work-dir", work_dir, "--run-mode", 2, "--faiss-mode", mode, "--no-report", *options)
    seen, begin = Seen(), time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    looks = searching = 0
    while process.poll() is None:
        workers = _workers()
        seen.worker = max([seen.worker, *(worker.uss for worker in workers.values())])
        if looks % ALL_EVERY == 0:
            seen.all = max(seen.all, _all_memory())
        looks += 1
        searching += any("search_cell" in worker.step for worker in workers.values())
        if kill and searching > LOOKS_BEFORE_KILL and not seen.killed:
            victim = next((pid for pid, worker in workers.items() if "search_cell" in worker.step), None)
            if victim is not None:
                os.kill(victim, signal.SIGKILL)
                seen.killed += 1
        time.sleep(EVERY)
    assert process.returncode == 0
    seen.wall = time.perf_counter() - begin
    return seen


class Worker(NamedTuple):
    step: str
    uss: int


def _workers() -> dict[int, Worker]:
    """Those of the search, by pid."""
    workers = {}
    for process in psutil.process_iter(["cmdline"]):
        step = next((step for step in STEPS if f"ray::{step}" in " ".join(process.info["cmdline"] or [])), None)
        if step is not None:
            with suppress(psutil.Error):
                workers[process.pid] = Worker(step, process.memory_full_info().uss)
    return workers


def _all_memory() -> int:
    own, total = psutil.Process(), 0
    for process in [own, *own.children(recursive=True)]:
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def pairs(work_dir: Path) -> set[tuple[bytes, bytes]]:
    table = pc.read_csv(work_dir / "similarity.csv")
    above = table.filter(np.asarray(table["distance"]) > THRESHOLD)
    return {tuple(sorted(pair)) for pair in zip(above["from"].to_pylist(), above["to"].to_pylist(), strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", required=True)
    parser.add_argument("--index", default="HNSW32")
    parser.add_argument("--memory", type=int, default=4096)
    parser.add_argument("--copies", type=int, default=RunConfig.model_fields["partition_copies"].default)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--kill", action="store_true")
    args = parser.parse_args()
    node = {"num_cpus": max(1, args.cores // args.nodes), "object_store_memory": 200 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    for _ in range(args.nodes - 1):
        cluster.add_node(**node)
    seconds: dict[int, dict[str, float]] = {}
    try:
        for n in args.rows:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder)
                write(out, n)
                own = ("--partition-memory", args.memory, "--partition-copies", args.copies)
                seen = run(out, "partitioned", *own, kill=args.kill, RAY_ADDRESS=cluster.address)
                summary, found = summary_of(out), pairs(out)
                told = summary["neighbors"]
                seconds[n] = told["seconds"] | {"outputs": summary["seconds"]["outputs"]}
                line = {"rows": n, "cells": told["cells"], "wall": round(seen.wall, 1)}
                line |= {name: told[name] for name in ("recall", "recall_of_look_alikes")}
                line |= {"worker_mb": seen.worker >> 20, "planned_mb": told["worker_bytes"] >> 20}
                line |= {"all_mb": seen.all >> 20, "killed": seen.killed, "planted": round(planted_found(out), 5)}
                line |= {"pairs": len(found), "seconds": seconds[n]}
                if args.index:
                    other_wall = run(out, args.index, RAY_ADDRESS=cluster.address).wall
                    other = pairs(out)
                    line |= {"index": args.index, "index_wall": round(other_wall, 1)}
                    line |= {"index_recall": summary_of(out)["neighbors"]["recall"]}
                    line |= {"of_its_pairs": round(len(found & other) / max(1, len(other)), 5)}
                    line |= {"of_our_pairs": round(len(found & other) / max(1, len(found)), 5)}
                print(json.dumps(line), flush=True)
    finally:
        cluster.shutdown()
    if len(args.rows) > 1:
        first, last = args.rows[0], args.rows[-1]
        grown = {
            stage: round(measure_exponent(first, seconds[first][stage], last, seconds[last][stage]), 2)
            for stage in seconds[first]
            if seconds[first][stage] and seconds[last][stage]
        }
        print("exponents:", json.dumps(grown))


if __name__ == "__main__":
    main()
