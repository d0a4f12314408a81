"""A search in partitions beside one index: the pairs that both have, recall, time, and the memory of each worker.

python -m tests.bench.partitions --rows 250000 500000 1000000 [--index HNSW32] [--memory 4096] [--copies 2] [--nodes 2]
    [--kill]

Prints, for each number of rows, seconds a stage and the exponents by which they grow. --index "" leaves that out;
--kill ends a worker in the midst of its search, with SIGKILL.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.csv as pc

from fastdup_ray import RunConfig
from tests.bench.measured import measure_exponent
from tests.bench.rows import planted_found, write
from tests.bench.searches import run, start_cluster
from tests.helpers.commands import summary_of

THRESHOLD = 0.85
LOOKS_BEFORE_KILL = 60
"""At which somebody searched."""


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
    seconds: dict[int, dict[str, float]] = {}
    with start_cluster(args.nodes, args.cores) as address:
        for n in args.rows:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder)
                write(out, n)
                own = ("--partition-memory", args.memory, "--partition-copies", args.copies)
                seen = run(out, "partitioned", *own, address=address, kill_at=LOOKS_BEFORE_KILL if args.kill else None)
                summary, found = summary_of(out), pairs(out)
                told = summary["neighbors"]
                seconds[n] = told["seconds"] | {"outputs": summary["seconds"]["outputs"]}
                line = {"rows": n, "cells": told["cells"], "wall": round(seen.wall, 1), "cpu": round(seen.cpu)}
                line |= {name: told[name] for name in ("recall", "recall_of_look_alikes")}
                line |= {"worker_mb": seen.worker >> 20, "planned_mb": told["worker_bytes"] >> 20}
                line |= {"all_mb": seen.all >> 20, "killed": seen.killed, "planted": round(planted_found(out), 5)}
                line |= {"pairs": len(found), "seconds": seconds[n]}
                if args.index:
                    other_wall = run(out, args.index, address=address).wall
                    other = pairs(out)
                    line |= {"index": args.index, "index_wall": round(other_wall, 1)}
                    line |= {"index_recall": summary_of(out)["neighbors"]["recall"]}
                    line |= {"of_its_pairs": round(len(found & other) / max(1, len(other)), 5)}
                    line |= {"of_our_pairs": round(len(found & other) / max(1, len(found)), 5)}
                print(json.dumps(line), flush=True)
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
