"""What is compared, tool by tool, and the ratio that each comparison aims at."""

import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench import peers, rows
from tests.bench.measured import Cost, measured

CORES = len(psutil.Process().cpu_affinity())
OURS, ON_RAY, DEFAULT = "ours", "ours on Ray", "ours, default executor"
FAST = "ours, --model fast"
FASTDUP, PHASH, PLAIN = "fastdup 2.54", "imagededup PHash", "plain loop"


@dataclass(frozen=True)
class Goal:
    """The cost of `than` over that of `whose`, in `what`, is to be `least` or more."""

    least: float
    what: str
    whose: str = OURS
    than: str = FASTDUP


@dataclass(frozen=True)
class Work:
    """title: for the table. tools: name -> what runs it once in an empty folder and measures it."""

    title: str
    tools: dict[str, Callable[[Path], Cost]]
    goals: Sequence[Goal]


def features(title: str, pictures: Path, goals: Sequence[Goal], *, ray: bool = False) -> Work:
    """From files to rows, nothing else."""
    inline, on_ray = ("--run-mode", 1, "--executor", "inline"), ("--run-mode", 1, "--executor", "ray")
    tools = {
        OURS: lambda scratch: measured(peers.ours(pictures, "--work-dir", scratch / "out", *inline)),
        FAST: lambda scratch: measured(peers.ours(pictures, "--work-dir", scratch / "out", *inline, "--model", "fast")),
    }
    if ray:
        tools[ON_RAY] = lambda scratch: measured(peers.ours(pictures, "--work-dir", scratch / "out", *on_ray))
    if peers.FASTDUP:
        tools[FASTDUP] = lambda scratch: _fastdup(pictures, scratch, mode=1)
    if peers.IMAGEDEDUP:
        tools[PHASH] = lambda scratch: measured(peers.phash(pictures, CORES))
    tools[PLAIN] = lambda scratch: measured(peers.plain(pictures, CORES))
    return Work(title, tools, goals)


def whole(title: str, pictures: Path, goals: Sequence[Goal]) -> Work:
    """From a folder to everything that a run leaves; fastdup's is without a report."""
    own = {DEFAULT: ["--verify", "off"], FAST: ["--verify", "off", "--model", "fast"], "ours, verified": []}
    tools = {
        name: lambda scratch, given=given: measured(peers.ours(pictures, "--work-dir", scratch / "out", *given))
        for name, given in own.items()
    }
    if peers.FASTDUP:
        tools[FASTDUP] = lambda scratch: _fastdup(pictures, scratch, mode=0)
    return Work(title, tools, goals)


def few(title: str, pictures: Path, most: float) -> Work:
    """A whole run on a few images, which is mostly its start. most: seconds."""
    tools = {DEFAULT: lambda scratch: measured(peers.ours(pictures, "--work-dir", scratch / "out"))}
    return Work(f"{title} (goal: {most} s)", tools, [])


def unchanged(title: str, pictures: Path) -> Work:
    """A run in a work_dir that has all its results already; verification, which would not run again, is left out."""

    def again(scratch: Path) -> Cost:
        given = (pictures, "--work-dir", scratch / "out", "--verify", "off")
        measured(peers.ours(*given))
        return measured(peers.ours(*given))

    return Work(f"{title} (goal: 3 s)", {DEFAULT: again}, [])


def neighbors(title: str, features_of: Path, goals: Sequence[Goal]) -> Work:
    """From features to pairs and groups; the recall of ours stands in its summary."""

    def ours(scratch: Path) -> Cost:
        work_dir = _with_features(features_of, scratch / "out")
        return measured(peers.ours("--work-dir", work_dir, "--run-mode", 2, "--executor", "inline", "--no-report"))

    def fastdup(scratch: Path) -> Cost:
        (scratch / "empty").mkdir()
        return _fastdup(scratch / "empty", scratch, mode=2, work_dir=_with_features(features_of, scratch / "out"))

    return Work(title, {OURS: ours} | ({FASTDUP: fastdup} if peers.FASTDUP else {}), goals)


def again(title: str, pictures: Path, goals: Sequence[Goal]) -> Work:
    """Extraction after a hundredth of the files got other bytes, against the first one. wall: of that step alone."""
    first, second = "first run", "second run"
    extraction = ("--run-mode", 1, "--executor", "inline")

    def of(scratch: Path, runs: int) -> Cost:
        folder = scratch / "pictures"
        shutil.copytree(pictures, folder)
        for run in range(runs):
            if run:
                _change(folder)
            cost = measured(peers.ours(folder, "--work-dir", scratch / "out", *extraction))
        return _of_extraction(cost, [scratch / "out"])

    return Work(title, {first: lambda scratch: of(scratch, 1), second: lambda scratch: of(scratch, 2)}, goals)


def actors(title: str, pictures: Path, goals: Sequence[Goal]) -> Work:
    """Two actors on Ray against two processes without it, each with half of the list. wall: of the extraction alone."""

    def on_ray(scratch: Path) -> Cost:
        given = ("--run-mode", 1, "--executor", "ray", "--num-actors", 2, "--num-threads", 2)
        return _of_extraction(measured(peers.ours(pictures, "--work-dir", scratch / "out", *given)), [scratch / "out"])

    def plain(scratch: Path) -> Cost:
        given = ("--run-mode", 1, "--executor", "inline", "--num-threads", 1)
        paths = sorted(str(path) for path in pictures.resolve().rglob("*.jpg"))
        halves = [scratch / f"half{number}.txt" for number in range(2)]
        for number, half in enumerate(halves):
            half.write_text("\n".join(paths[number::2]))
        outs = [half.with_suffix("") for half in halves]
        both = [peers.ours(half, "--work-dir", out, *given) for half, out in zip(halves, outs, strict=True)]
        return _of_extraction(measured(peers.side_by_side(both)), outs)

    return Work(title, {ON_RAY: on_ray, "two processes": plain}, goals)


def _of_extraction(cost: Cost, work_dirs: Sequence[Path]) -> Cost:
    facts = [json.loads((work_dir / "summary.json").read_text()) for work_dir in work_dirs]
    return Cost(max(of_one["seconds"]["features"] for of_one in facts), cost.cpu, cost.memory)


def _change(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in random.Random(1).sample(files, len(files) // 100):
        with open(path, "ab") as file:
            file.write(b" ")


def _fastdup(pictures: Path, scratch: Path, mode: int, work_dir: Path | None = None) -> Cost:
    return measured(peers.fastdup(pictures, work_dir or scratch / "out", mode, CORES), peers.ENVIRONMENT)


def _with_features(source: Path, work_dir: Path) -> Path:
    work_dir.mkdir()
    for name in ("features.dat", "features.dat.csv"):
        os.link(source / name, work_dir / name)
    return work_dir


def synthetic(folder: Path, n: int) -> Path:
    """Features of `rows`, made once."""
    place = folder / f"rows-{n}"
    if not place.exists():
        rows.write(place, n)
    return place
