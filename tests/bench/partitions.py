"""A search in partitions beside one index: the pairs that both have, recall, time, and the memory of each worker.

python -m tests.bench.partitions --rows 250000 500000 1000000 [--index HNSW32] [--memory 4096] [--copies 2] [--nodes 2]

Prints, for each number of rows, seconds a stage and the exponents by which they grow. --index "" leaves that out.
"""

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.csv as pc
from ray.cluster_utils import Cluster

from tests.bench.rows import write
from tests.integration.helpers import command, summary_of

THRESHOLD = 0.85
EVERY = 0.5
"""Seconds between two looks at the workers."""

STEPS = ("learn_centres", "divide_piece", "search_cell", "merge_block", "true_nearest", "read_sample")


def run(work_dir: Path, mode: str, *options: object, **environment: str) -> tuple[float, int]:
    """Run mode 2; seconds, and the most bytes of its own that a worker of the search had."""
    words = command("--work-dir", work_dir, "--run-mode", 2, "--faiss-mode", mode, "--no-report", *options)
    begin, most = time.perf_counter(), 0
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    while process.poll() is None:
        most = max(most, _largest_worker())
        time.sleep(EVERY)
    assert process.returncode == 0
    return time.perf_counter() - begin, most


def _largest_worker() -> int:
    most = 0
    for process in psutil.process_iter(["cmdline"]):
        if any(f"ray::{step}" in word for word in process.info["cmdline"] or [] for step in STEPS):
            try:
                most = max(most, process.memory_full_info().uss)
            except psutil.Error:
                continue
    return most


def pairs(work_dir: Path) -> set[tuple[bytes, bytes]]:
    table = pc.read_csv(work_dir / "similarity.csv")
    above = table.filter(np.asarray(table["distance"]) > THRESHOLD)
    return {tuple(sorted(pair)) for pair in zip(above["from"].to_pylist(), above["to"].to_pylist(), strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", required=True)
    parser.add_argument("--index", default="HNSW32")
    parser.add_argument("--memory", type=int, default=4096)
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2)
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
                wall, most = run(out, "partitioned", *own, RAY_ADDRESS=cluster.address)
                summary, found = summary_of(out), pairs(out)
                told = summary["neighbors"]
                seconds[n] = told["seconds"] | {"outputs": summary["seconds"]["outputs"]}
                line = {"rows": n, "cells": told["cells"], "recall": told["recall"], "wall": round(wall, 1)}
                line |= {"worker_mb": most >> 20, "planned_mb": told["worker_bytes"] >> 20, "seconds": seconds[n]}
                if args.index:
                    other_wall, _ = run(out, args.index, RAY_ADDRESS=cluster.address)
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
            stage: round(math.log(seconds[last][stage] / seconds[first][stage]) / math.log(last / first), 2)
            for stage in seconds[first]
            if seconds[first][stage] and seconds[last][stage]
        }
        print("exponents:", json.dumps(grown))


if __name__ == "__main__":
    main()
