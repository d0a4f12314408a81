"""The memory of the steps that hold something of every image, beside what is estimated of them.

python -m tests.bench.stage_memory [--rows 250000 1000000] [--d 8 32] [--steps list merge outputs …] [--scratch DIR]

Feature shards, neighbors and their images are planted, so nothing is decoded or searched. Memory is what cannot be
dropped: pages of mapped files are not counted. Each step has a separate process. A plan and a report that are made
later read the same of every image as the outputs, and are held against the same estimate.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.records import ImageRef
from fastdup_ray.config import RunConfig
from fastdup_ray.curation.make_plan import make_plan
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.features import find_missing, read_earlier_entries, write_shard
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.neighbors.metrics import COSINE
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, create_neighbors
from fastdup_ray.report.page import render_report
from fastdup_ray.runs.merge_stage import merge_features
from fastdup_ray.runs.outputs_stage import write_outputs
from fastdup_ray.runs.stage_memory import RunSize, estimate_stages
from fastdup_ray.storage import local, open_store
from fastdup_ray.storage.facts import read_summary
from tests.bench.outputs import Fours, K, make_entries, measure_unshared

SHARD = 1 << 14
EVERY = 0.005
"""Seconds between two looks at the memory."""


def uri(number: int) -> str:
    return f"/pictures/{number // 1000:06d}/{number:09d}.jpg"


def refs(n: int) -> Iterator[ImageRef]:
    return (ImageRef(uri(row), row % 3_000_000, str(10**18 + row)) for row in range(n))


def facts_of(n: int, d: int) -> FeatureFacts:
    return {"format_version": 1, "fingerprint": {"model": "m"}, "d": d, "n": n, "list_sha256": "l"}


def plant(work_dir: Path, n: int, d: int) -> None:
    """Shards of n images, and neighbors."""
    store, fours = open_store(work_dir), Fours(n)
    with patch.object(local, "sync", lambda path: None), create_neighbors(store, n, K, COSINE) as neighbors:
        for start in range(0, n, SHARD):
            rows = np.arange(start, min(start + SHARD, n))
            neighbors.indices[rows], neighbors.similarity[rows] = fours.neighbors_of(rows)
            entries = make_entries(rows, [uri(row) for row in rows.tolist()], fours.contents_of(rows))
            entries = entries.set_column(1, "size", [rows % 3_000_000])
            first = entries.schema.get_field_index("first_row")
            entries = entries.set_column(first, "first_row", [rows - start])
            blocks = [np.full((len(rows), d), d**-0.5, np.float32)]
            write_shard(
                store,
                f"{layout.SHARDS}/{layout.format_range_stem(start, start + len(rows))}-x",
                entries,
                blocks,
                facts_of(n, d),
            )


def list_and_look_up(work_dir: Path, n: int, d: int) -> None:
    store, config = open_store(work_dir), RunConfig.of(work_dir=str(work_dir), input_dir="x")
    manifest = Manifest.from_refs(refs(n), store, layout.LIST)
    earlier = read_earlier_entries(store, {"model": "m"})
    assert len(find_missing(manifest, earlier, config.limits, list_optional_decoders(), store.scratch)) == 0


def merge(work_dir: Path, n: int, d: int) -> None:
    store, config = open_store(work_dir), RunConfig.of(work_dir=str(work_dir), input_dir="x")
    manifest = Manifest.from_refs(refs(n), store, layout.LIST)
    assert merge_features(store, config, manifest, [], facts_of(n, d), None).counts


def outputs(work_dir: Path, n: int, d: int) -> None:
    config = RunConfig.of(work_dir=str(work_dir), run_mode=2, thumbnails=False)
    neighbors = StoredNeighbors({"index": "none", "k": K}, COSINE, layout.INDEXED)
    summary = {"counts": {"entries": n, "images": n, "bad": 0}, "seconds": {}, "d": d, "n": n}
    write_outputs(open_store(str(work_dir)), config, layout.FEATURES, neighbors, summary)


def plan(work_dir: Path, n: int, d: int) -> None:
    assert make_plan(work_dir, work_dir.parent / "plan.csv", overwrite=True).dropped


def report(work_dir: Path, n: int, d: int) -> None:
    store = open_store(str(work_dir))
    assert sum(map(len, render_report(store, read_summary(store), thumbnails=False)))


STEPS: dict[str, Callable[[Path, int, int], None]] = {
    "list": list_and_look_up,
    "merge": merge,
    "outputs": outputs,
    "plan": plan,
    "report": report,
}


def measure(step: Callable[[Path, int, int], None], work_dir: Path, n: int, d: int, result: Path) -> None:
    """Writes the most memory, the most memory maps and the seconds of a step; nothing else runs in this process."""
    most, maps, ended = 0, 0, threading.Event()

    def look() -> None:
        nonlocal most, maps
        while not ended.wait(EVERY):
            most = max(most, measure_unshared())
            maps = max(maps, Path("/proc/self/maps").read_bytes().count(b"\n"))

    thread = threading.Thread(target=look)
    thread.start()
    start = time.perf_counter()
    try:
        step(work_dir, n, d)
    finally:
        ended.set()
        thread.join()
    result.write_text(json.dumps([most, maps, time.perf_counter() - start]))


def run(step: Callable[..., None], *args: object) -> None:
    process = get_context("spawn").Process(target=step, args=args)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--d", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--steps", choices=STEPS, nargs="+", default=[*STEPS], help="in this order")
    parser.add_argument("--scratch", type=Path, help="a folder for what is made, a kilobyte a row")
    args = parser.parse_args()
    print("rows\td\tstep\tMB\testimate\tratio\tmaps\tseconds", flush=True)
    for n in args.rows:
        for d in args.d:
            with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
                work_dir, result = Path(scratch) / "out", Path(scratch) / "result.json"
                run(plant, work_dir, n, d)
                size = RunSize.of(Manifest.from_refs(refs(n)), d)
                estimated = estimate_stages(RunConfig.of(work_dir=str(work_dir), input_dir="x"), size, None)
                for name in args.steps:
                    run(measure, STEPS[name], work_dir, n, d, result)
                    most, maps, seconds = json.loads(result.read_text())
                    told = getattr(estimated, name, estimated.outputs)
                    sizes = f"{most / 1e6:,.0f}\t{told / 1e6:,.0f}\t{told / most:.2f}"
                    print(f"{n:,}\t{d}\t{name}\t{sizes}\t{maps:,}\t{seconds:.1f}", flush=True)


if __name__ == "__main__":
    main()
