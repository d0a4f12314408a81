"""Ours and the peers, side by side: in turn, on the same files, each in processes of its own.

FASTDUP_PYTHON=PYTHON python -m tests.bench [WHAT ...] --jpegs DIR --mixed DIR --photos DIR --pngs DIR

Prints a table of medians and ratios, with what each ratio aims at, and writes it to tests/bench/results/. WHAT: some of
jpegs, photos, pngs, mixed, whole, few, again, unchanged, actors, neighbors; not given: all whose images are named.
"""

import argparse
import platform
import statistics
import sys
import tempfile
from datetime import date
from pathlib import Path

import psutil

from tests.bench import peers, works
from tests.bench.measured import Cost
from tests.bench.works import DEFAULT, FAST, ON_RAY, OURS, Goal, Work

RESULTS = Path(__file__).with_name("results")
PHOTOS = Path(__file__).parents[1] / "data" / "photos"


def works_of(args: argparse.Namespace, scratch: Path) -> dict[str, list[Work]]:
    known: dict[str, list[Work]] = {"few": [works.few("38 images, folder to report", PHOTOS, 2.5)]}
    if args.jpegs:
        count = sum(1 for path in args.jpegs.rglob("*.jpg"))
        title = f"{count:,} small JPEGs"
        goals = [Goal(5, what, whose) for whose in (OURS, FAST) for what in ("cpu", "wall")]
        known["jpegs"] = [works.features(f"features, {title}", args.jpegs, goals, ray=True)]
        goals = [Goal(3.5, "wall", whose) for whose in (DEFAULT, FAST)]
        known["whole"] = [works.whole(f"folder to report, {title}", args.jpegs, goals)]
        faster = [Goal(30, "wall", "second run", "first run")]
        known["again"] = [works.again(f"extraction, 1 % of {title} changed", args.jpegs, faster)]
        known["unchanged"] = [works.unchanged(f"the same run again, {title}", args.jpegs)]
        even = [Goal(0.95, "wall", ON_RAY, "two processes")]
        known["actors"] = [works.actors(f"two actors, {title}", args.jpegs, even)]
    for name, images, title, least in (
        ("photos", args.photos, "large JPEGs", 2.5),
        ("pngs", args.pngs, "large PNGs", 2),
        ("mixed", args.mixed, "mixed formats", 3),
    ):
        if images:
            goals = [Goal(least, "cpu", whose) for whose in (OURS, FAST)]
            known[name] = [works.features(f"features, {title}", images, goals)]
    goals = [Goal(6, "cpu")]
    made = [works.synthetic(scratch, n) for n in args.rows]
    known["neighbors"] = [works.neighbors(f"neighbors, {path.name}", path, goals) for path in [*args.features, *made]]
    return {name: work for name, work in known.items() if not args.what or name in args.what}


def compared(work: Work, runs: int) -> dict[str, Cost]:
    """Medians, tool by tool; A B A B."""
    costs: dict[str, list[Cost]] = {name: [] for name in work.tools}
    for _ in range(runs):
        for name, run in work.tools.items():
            with tempfile.TemporaryDirectory() as scratch:
                costs[name].append(run(Path(scratch)))
            print(work.title, name, costs[name][-1], file=sys.stderr, flush=True)
    return {name: _median(several) for name, several in costs.items()}


def _median(costs: list[Cost]) -> Cost:
    wall, cpu = (statistics.median(getattr(cost, what) for cost in costs) for what in ("wall", "cpu"))
    return Cost(wall, cpu, int(statistics.median(cost.memory for cost in costs)))


def table(work: Work, costs: dict[str, Cost]) -> str:
    lines = ["", f"**{work.title}**", "", "| tool | wall, s | CPU, s | memory, MB |", "|---|---|---|---|"]
    for name, cost in costs.items():
        lines.append(f"| {name} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.memory / 1e6:,.0f} |")
    lines.append("")
    for goal in work.goals:
        if {goal.whose, goal.than} <= costs.keys():
            ratio = getattr(costs[goal.than], goal.what) / getattr(costs[goal.whose], goal.what)
            met = "met" if ratio >= goal.least else "missed"
            lines.append(f"- {goal.what}, {goal.than} over {goal.whose}: {ratio:.2f} (goal {goal.least:g}: {met})")
    return "\n".join(lines)


def machine() -> str:
    """Of what kind, never which."""
    memory = psutil.virtual_memory().total / 2**30
    versions = f"Python {platform.python_version()}"
    if peers.FASTDUP:
        versions += f", fastdup {peers.version(peers.FASTDUP, 'fastdup')}"
    if peers.IMAGEDEDUP:
        versions += f", imagededup {peers.version(peers.IMAGEDEDUP, 'imagededup')}"
    for package in ("ray", "onnxruntime", "faiss-cpu", "pillow"):
        versions += f", {package} {peers.version(sys.executable, package)}"
    return f"{works.CORES} cores ({platform.machine()}), {memory:.0f} GiB; {versions}; {date.today()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*")
    for name in ("jpegs", "photos", "pngs", "mixed"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR")
    parser.add_argument("--features", type=Path, nargs="*", default=[], help="work_dirs of run mode 1")
    parser.add_argument("--rows", type=int, nargs="*", default=[50_000, 200_000], help="of synthetic features")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        chosen = works_of(args, Path(scratch))
        if unknown := set(args.what) - chosen.keys():
            parser.error(f"nothing is named for {', '.join(sorted(unknown))}")
        RESULTS.mkdir(exist_ok=True)
        for name, several in chosen.items():
            text = f"{machine()}; medians of {args.runs}.\n"
            text += "\n".join(table(work, compared(work, args.runs)) for work in several) + "\n"
            print(text, flush=True)
            (RESULTS / f"{name}.md").write_text(text)


if __name__ == "__main__":
    main()
