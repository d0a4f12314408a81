"""How a search and what follows it grow with the rows: seconds a stage, memory of all processes, recall, exponents.

python -m tests.bench.growth [--rows 10000 50000 200000 1000000] [-- OPTION ...]

Features like real ones (`rows.py`), with copies planted: run mode 2 from them to the report, by what is picked for so
many. Options after -- go to the run. Prints a table and writes it to tests/bench/results/.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tests.bench import peers, rows
from tests.bench.__main__ import RESULTS, machine
from tests.bench.measured import Cost, measure_exponent, measured
from tests.helpers.commands import summary_of


def grown(n: int, options: Sequence[str]) -> dict[str, float | str]:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        rows.write(out, n)
        cost = measured(peers.ours("--work-dir", out, "--run-mode", 2, *options))
        summary = summary_of(out)
        return _line(n, cost, summary) | {"copies": round(rows.planted_found(out), 4)}


def _line(n: int, cost: Cost, summary: dict) -> dict[str, float | str]:
    told, seconds = summary["neighbors"], summary["seconds"]
    stages = {name: seconds[name] for name in ("neighbors", "outputs")}
    totals = {"wall": round(cost.wall, 1), "cpu": round(cost.cpu, 1), "memory_mb": round(cost.memory / 1e6)}
    return {"rows": n, "index": told["index"], "recall": told["recall"]} | stages | totals


def exponents(lines: Sequence[dict]) -> dict[str, list[float]]:
    """Of each stage, from each number of rows to the next."""
    return {
        name: [
            round(measure_exponent(before["rows"], before[name], after["rows"], after[name]), 2)
            for before, after in pairwise(lines)
        ]
        for name in ("neighbors", "outputs", "cpu", "memory_mb")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 50_000, 200_000, 1_000_000])
    parser.add_argument("options", nargs="*", help="of the run")
    args = parser.parse_args()
    lines = []
    for n in args.rows:
        lines.append(grown(n, args.options))
        print(json.dumps(lines[-1]), flush=True)
    text = f"{machine()}.\n\n| {' | '.join(lines[0])} |\n|{'---|' * len(lines[0])}\n"
    for line in lines:
        text += f"| {' | '.join(value if isinstance(value, str) else f'{value:,}' for value in line.values())} |\n"
    text += f"\nExponents from one to the next: {json.dumps(exponents(lines))}\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "growth.md").write_text(text)


if __name__ == "__main__":
    main()
