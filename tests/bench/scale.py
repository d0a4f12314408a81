"""Very many entries: what each step of a run takes, and how it grows, on planted shards and neighbors.

python -m tests.bench.scale [--entries 250000 1000000] [--d 8] [--input tables|files]
    [--steps list merge …] [--kill] [--folder DIR] [--keep]

Nothing is decoded or searched. Each step runs in a process of its own, as on Ray: *list* and *reuse* in the driver,
*merge* in the index actor, and *verify* if it is named: it chooses pairs, and gathers answers that are planted. Then
come *outputs* in the final task, *report* (without thumbnails) and *plan*. *same again* is the whole command with
nothing new, *changed* the steps of a run after one image in a hundred has changed. Memory is the most that one process
could not drop, so pages of mapped files are not counted; it is held against what `--estimate` says. Files and maps are
the most that one process had open. Disk is what the work_dir has after a step, neighbors included. The exponents are
those of the power by which CPU seconds grow.
"""

import argparse
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil

from fastdup_ray.common import layout
from fastdup_ray.common.facts import begin_summary
from fastdup_ray.curation import keeper_choice
from fastdup_ray.curation.make_plan import make_plan
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.features import find_missing, read_earlier_entries
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.neighbors.metrics import COSINE
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors
from fastdup_ray.report.page import render_report
from fastdup_ray.runs.merge_stage import MergeResult, merge_features
from fastdup_ray.runs.outputs_stage import write_outputs
from fastdup_ray.runs.pair_pieces import cut_keepers, cut_neighbors, gather_answers
from fastdup_ray.runs.preflight import list_manifest
from fastdup_ray.runs.stage_memory import RunSize, estimate_stages
from fastdup_ray.storage import open_store
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.local import TEMPORARY
from tests.bench.measured import measure_exponent
from tests.bench.outputs import K
from tests.bench.planted import FILES, TABLES, PlantedRun
from tests.helpers.commands import command

EVERY = 0.01
"""Seconds between two looks at a process."""

Lap = Callable[[str], None]
"""Ends a part of a step, and names it."""

NAME_BYTES = 39
"""Bytes of a name behind the folder of the images."""

MANIFEST, MERGED = "manifest.pickle", "merged.pickle"
"""Files beside the work_dir for what a step hands to the next one."""


@dataclass
class Cost:
    """What a part of a step took.

    Attributes:
        name: Of the part.
        seconds: Wall time.
        cpu: CPU seconds.
        memory: Most bytes of a process that are of no file.
        files: Most open files of a process.
        maps: Most memory maps of a process.
        disk: Bytes of the work_dir afterwards.
    """

    name: str
    seconds: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    files: int = 0
    maps: int = 0
    disk: int = 0

    def look_at(self, process: psutil.Process) -> None:
        """Take the most of what it had so far and what a process has now."""
        with suppress(psutil.Error, OSError, StopIteration):
            folder = Path(f"/proc/{process.pid}")
            lines = (folder / "status").read_text().splitlines()
            unshared = next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))
            self.memory = max(self.memory, unshared)
            self.files = max(self.files, len(os.listdir(folder / "fd")))
            self.maps = max(self.maps, (folder / "maps").read_bytes().count(b"\n"))


# The steps


def list_and_reuse(run: PlantedRun, lap: Lap) -> None:
    store = open_store(run.work_dir)
    store.remove(layout.LIST)
    manifest = list_manifest(run.config, store=store, folder=layout.LIST)
    facts = run.describe(manifest)
    lap("list")
    earlier = read_earlier_entries(store, facts["fingerprint"])
    missing = find_missing(manifest, earlier, run.config.limits, list_optional_decoders(), store.scratch)
    lap("reuse")
    assert len(manifest) == run.n
    assert len(missing) == 0
    (run.folder / MANIFEST).write_bytes(pickle.dumps(manifest))


def merge(run: PlantedRun, lap: Lap) -> None:
    manifest: Manifest = pickle.loads((run.folder / MANIFEST).read_bytes())
    fresh = sorted(name.removesuffix(layout.SHARD) for name in open_store(run.work_dir).names(layout.SHARDS))
    fresh = [name for name in fresh if name.endswith("-planted")]
    result = merge_features(open_store(run.work_dir), run.config, manifest, fresh, run.describe(manifest), None)
    lap("merge")
    assert result.sha256[layout.FEATURES] == run.digest
    (run.folder / MERGED).write_bytes(pickle.dumps(result))


def verify(run: PlantedRun, lap: Lap) -> None:
    store, neighbors = open_store(run.work_dir), StoredNeighbors({"index": "none", "k": K}, COSINE, layout.INDEXED)
    similar = cut_neighbors(store, run.config, layout.FEATURES, run.d, neighbors)
    lap("pairs")
    run.answer(similar)
    lap("(answers)")
    members = cut_keepers(store, run.config, layout.FEATURES, run.d, similar)
    lap("pairs with keepers")
    run.answer(members)
    lap("(answers)")
    assert gather_answers(store, [similar, members])
    lap("gather")


def write(run: PlantedRun, lap: Lap) -> None:
    manifest: Manifest = pickle.loads((run.folder / MANIFEST).read_bytes())
    merged: MergeResult = pickle.loads((run.folder / MERGED).read_bytes())
    neighbors = StoredNeighbors({"index": "none", "k": K}, COSINE, layout.INDEXED)
    facts = {"counts": merged.counts, "sha256": merged.sha256, "skipped": {}, "read": run.n, "seconds": {}}
    summary = begin_summary(run.describe(manifest)) | facts | {"cpu_seconds": 0.0, "executor": "local"}
    write_outputs(open_store(run.work_dir), run.config, layout.FEATURES, neighbors, summary)
    lap("outputs")


def report(run: PlantedRun, lap: Lap) -> None:
    store = open_store(run.work_dir)
    assert sum(map(len, render_report(store, read_summary(store), thumbnails=False)))
    lap("report")


def plan(run: PlantedRun, lap: Lap) -> None:
    """Plan as if each row of a table were a file, which can be dropped."""
    with patch.object(keeper_choice, "find_standalone", lambda names, access: np.ones(len(names), bool)):
        assert make_plan(run.work_dir, run.folder / "plan.csv", any_sidecars=True, overwrite=True).dropped
    lap("plan")


def run_again(run: PlantedRun, lap: Lap) -> None:
    written = run.work_dir / layout.SUMMARY
    before = written.stat().st_mtime_ns
    os.environ["RAY_ADDRESS"] = "local"
    words = command(run.images, *run.options)
    assert os.spawnv(os.P_WAIT, words[0], words) == 0
    assert written.stat().st_mtime_ns == before
    lap("same again")


VERIFY, CHANGED = "verify", "changed"

STEPS = {
    "list": list_and_reuse,
    "merge": merge,
    VERIFY: verify,
    "outputs": write,
    "report": report,
    "plan": plan,
    "again": run_again,
}

USUAL_STEPS = [name for name in STEPS if name != VERIFY]


# Measuring them


def measure(
    step: Callable[[PlantedRun, Lap], None], run: PlantedRun, is_time_to_die: Callable[[], bool] = lambda: False
) -> Iterator[Cost]:
    """Run a step in a process of its own, and yield the cost of each of its parts; if it is killed, of none."""
    ours, theirs = Pipe(duplex=False)
    process = get_context("spawn").Process(target=_run_step, args=(step, run, theirs))
    process.start()
    theirs.close()
    cost = Cost("")
    while True:
        with suppress(EOFError):
            if ours.poll(EVERY):
                name, cost.seconds, cost.cpu = ours.recv()
                yield Cost(**asdict(cost) | {"name": name, "disk": _measure_disk(run.work_dir)})
                cost = Cost("")
                continue
        if not process.is_alive():
            break
        _look_at_all(cost, process)
        if is_time_to_die():
            process.kill()
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        sys.exit(process.exitcode)


def _look_at_all(cost: Cost, process: BaseProcess) -> None:
    with suppress(psutil.Error):
        own = psutil.Process(process.pid)
        for each in [own, *own.children(recursive=True)]:
            cost.look_at(each)


def _run_step(step: Callable[[PlantedRun, Lap], None], run: PlantedRun, parent: Connection) -> None:
    begin = [time.perf_counter(), _measure_cpu()]

    def lap(name: str) -> None:
        now = [time.perf_counter(), _measure_cpu()]
        parent.send((name, *(after - before for after, before in zip(now, begin, strict=True))))
        begin[:] = now

    step(run, lap)


def _measure_cpu() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _measure_disk(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(path, name)).st_blocks * 512
    return total


def measure_all(run: PlantedRun, steps: Collection[str], *, kill: bool = False) -> Iterator[Cost]:
    """Plant a run, and yield the cost of each part of its steps.

    Args:
        run: Where and what to plant.
        steps: Which of `STEPS` and `CHANGED` to measure, which are then taken in their order; each takes those before
            it, but for the report and the plan.
        kill: Kill the merge when half of it is written, and merge again.
    """
    yield from measure(_plant, run)
    for name in (name for name in STEPS if name in steps):
        if name == "merge" and kill:
            assert not list(measure(STEPS[name], run, lambda: _is_half_merged(run)))
        yield from measure(STEPS[name], run)
    if CHANGED in steps:
        yield from measure(_change, run)
        for step in (list_and_reuse, merge):
            for cost in measure(step, run):
                cost.name += ", changed"
                yield cost


def _plant(run: PlantedRun, lap: Lap) -> None:
    run.plant()
    lap("(planting)")


def _change(run: PlantedRun, lap: Lap) -> None:
    run.change()
    lap("(changing)")


def _is_half_merged(run: PlantedRun) -> bool:
    half = run.n * run.d * 4 // 2
    return any(path.stat().st_size > half for path in run.work_dir.glob(f"{TEMPORARY}*{layout.FEATURES}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--d", type=int, nargs="+", default=[8])
    parser.add_argument("--input", choices=(TABLES, FILES), default=TABLES)
    parser.add_argument("--steps", choices=[*STEPS, CHANGED], nargs="+", default=[*USUAL_STEPS, CHANGED])
    parser.add_argument("--kill", action="store_true", help="kill the merge once with SIGKILL, and merge again")
    parser.add_argument("--folder", type=Path, help="a folder for what is planted and written, a kilobyte an entry")
    parser.add_argument("--keep", action="store_true", help="remove nothing")
    args = parser.parse_args()
    print("entries\td\tstep\tseconds\tCPU\tMB\testimate\tfiles\tmaps\tGB on disk", flush=True)
    for d in args.d:
        spent: list[dict[str, float]] = []
        for n in args.entries:
            folder = Path(tempfile.mkdtemp(prefix=f"scale-{n}-", dir=args.folder))
            try:
                run = PlantedRun(folder, n, d, args.input, verified=VERIFY in args.steps)
                spent.append({})
                for cost in measure_all(run, args.steps, kill=args.kill):
                    spent[-1][cost.name] = cost.cpu
                    print(_format(cost, run), flush=True)
            finally:
                if not args.keep:
                    shutil.rmtree(folder)
        for (few, before), (many, after) in pairwise(zip(args.entries, spent, strict=True)):
            powers = {name: round(measure_exponent(few, before[name], many, after[name]), 2) for name in after}
            print(f"exponents, d = {d}, {few:,} to {many:,}: {powers}", flush=True)


def _format(cost: Cost, run: PlantedRun) -> str:
    size = RunSize(run.n, (len(str(run.images)) + NAME_BYTES) * run.n, run.d)
    estimated = estimate_stages(run.config, size, None)
    stage = {"list": estimated.list, "reuse": estimated.list, "merge": estimated.merge}
    with_report = run.config.model_copy(update={"report": True})
    stage |= {"outputs": estimated.outputs}
    stage |= dict.fromkeys(("report", "plan"), estimate_stages(with_report, size, None).outputs)
    told = stage.get(cost.name.partition(",")[0], 0)
    sizes = f"{cost.memory / 1e6:,.0f}\t{told / 1e6:,.0f}\t{cost.files:,}\t{cost.maps:,}\t{cost.disk / 1e9:.2f}"
    return f"{run.n:,}\t{run.d}\t{cost.name}\t{cost.seconds:.1f}\t{cost.cpu:.1f}\t{sizes}"


if __name__ == "__main__":
    main()
