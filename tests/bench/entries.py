"""What very many entries take: seconds and memory per entry of listing, look-up and merge, and of whole runs.

python -m tests.bench.entries [--entries 1000000] [--scratch DIR] [--no-runs]

The images are empty files in folders of a thousand, whose results are planted as feature shards, d = 8, as if they had
been read: nothing is decoded. Each step is measured in a separate process, as on Ray. Memory is what the process
cannot drop, above what it has once the modules are imported: pages of mapped files are not counted. The runs are the
first one from the planted shards to the outputs, one with nothing new, and one with an image in a hundred removed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from fastdup_ray import RunConfig
from fastdup_ray.common import layout
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.features import find_missing, read_earlier_entries, write_shard
from fastdup_ray.inputs.manifest import ENTRIES, Manifest
from fastdup_ray.runs.merge_stage import merge_features
from fastdup_ray.runs.preflight import list_manifest, make_list_facts, make_model_facts
from fastdup_ray.storage import open_store
from tests.bench import peers
from tests.bench.measured import measured
from tests.bench.outputs import Watch
from tests.helpers.commands import summary_of
from tests.helpers.models import save_model

D = 8
FILES_PER_FOLDER = 1000
ENTRIES_PER_SHARD = 512
ALIKE = 4
"""Neighboring entries that have about the same embedding."""


def plant(scratch: Path, n: int) -> RunConfig:
    """Create n empty images, and the shards of a run that was killed before its merge; return its configuration."""
    for folder in range(-(-n // FILES_PER_FOLDER)):
        path = scratch / "images" / f"{folder:06d}"
        path.mkdir(parents=True)
        for number in range(folder * FILES_PER_FOLDER, min(n, (folder + 1) * FILES_PER_FOLDER)):
            (path / f"{number:09d}.jpg").touch()
    config = configure(scratch)
    manifest = list_manifest(config)
    facts = make_list_facts(manifest) | make_model_facts(config)
    store = open_store(config.work_dir)
    for shard in manifest.shards(np.arange(n), iter(lambda: ENTRIES_PER_SHARD, 0)):
        entries = make_entries(shard.start, [(ref.uri, ref.mtime_or_etag) for ref in shard.refs])
        stem = f"{layout.SHARDS}/{layout.format_range_stem(shard.start, shard.stop)}-planted"
        bounds = {"min_offset": shard.start, "max_offset": shard.stop}
        write_shard(store, stem, entries, [_make_embeddings(shard.start, len(entries))], facts | bounds)
    return config


def remove_merged(work_dir: Path) -> None:
    """Remove what a merge has written, but not the planted shards."""
    for path in work_dir.rglob("*"):
        if path.is_file() and not path.name.endswith(f"-planted{layout.SHARD}"):
            path.unlink()


def configure(scratch: Path) -> RunConfig:
    """Return the configuration of a run on what was planted."""
    weights = np.random.default_rng(0).standard_normal((3, D)).astype(np.float32)
    model = save_model(scratch / "model.onnx", weights=weights)
    return RunConfig.of(input_dir=str(scratch / "images"), work_dir=str(scratch / "out"), model_path=model)


def make_entries(start: int, named: list[tuple[str, str]]) -> pa.Table:
    numbers = np.arange(start, start + len(named))
    uris, tokens = zip(*named, strict=True)
    columns = {field.name: pa.nulls(len(named), field.type) for field in ENTRIES}
    columns |= {"uri": uris, "size": np.zeros(len(named), np.int64), "mtime_or_etag": tokens}
    columns |= {"sha256": [f"{number:064x}" for number in numbers.tolist()], "format": ["JPEG"] * len(named)}
    columns |= {"width": 200 + numbers % 1999, "height": 200 + numbers % 1709, "rows": np.ones(len(named), np.int32)}
    columns |= {"first_row": numbers - start, "brightness": numbers % 255 / 1, "contrast": numbers % 127 / 1}
    columns |= {"blur": numbers % 1023 / 1, "unique_colors": numbers % 9999, "unseen": [""] * len(named)}
    return pa.table([pa.array(columns[field.name]).cast(field.type) for field in ENTRIES], ENTRIES)


def _make_embeddings(start: int, count: int) -> np.ndarray:
    groups = np.arange(start, start + count) // ALIKE
    rows = np.stack([np.random.default_rng(int(group)).standard_normal(D) for group in groups])
    rows += 0.02 * np.random.default_rng(start).standard_normal(rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def list_all(config: RunConfig, watch: Watch) -> Manifest:
    """List the input, as the driver does."""
    manifest = list_manifest(config, store=open_store(config.work_dir), folder=layout.LIST)
    watch.lap("list", len(manifest))
    return manifest


def look_up(config: RunConfig, watch: Watch) -> None:
    """List the input and look its entries up, as the driver does."""
    manifest = list_all(config, watch)
    facts = make_list_facts(manifest)
    watch.lap("digest of the list", len(manifest))
    store = open_store(config.work_dir)
    earlier = read_earlier_entries(store, make_model_facts(config)["fingerprint"])
    missing = find_missing(manifest, earlier, config.limits, list_optional_decoders(), store.scratch)
    assert len(missing) == 0, (missing, facts)
    watch.lap("look-up", len(manifest))


def merge(config: RunConfig, watch: Watch) -> None:
    """Merge the planted shards, as the index actor does."""
    manifest = list_all(config, watch)
    facts = make_list_facts(manifest) | make_model_facts(config)
    watch.lap("(facts)", len(manifest))
    result = merge_features(open_store(config.work_dir), config, manifest, [], facts, None)
    assert result.counts is not None
    watch.lap("merge", len(manifest))


def in_process(step: Callable[[RunConfig, Watch], object], scratch: Path) -> None:
    """Measure a step in a separate process."""
    print(f"\n{step.__name__}: seconds, CPU seconds, bytes per entry", flush=True)
    process = get_context("spawn").Process(target=_call, args=(step, scratch))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


def _call(step: Callable[[RunConfig, Watch], object], scratch: Path) -> None:
    config = configure(scratch)
    make_model_facts(config)
    list_manifest(config.model_copy(update={"input_dir": str(scratch / "images" / "000000")}))  # imports
    step(config, Watch())


def runs(scratch: Path) -> Iterator[tuple[str, dict]]:
    """Run what was planted, again, and again with less."""
    config = configure(scratch)
    command = peers.ours(config.input_dir, "--work-dir", config.work_dir)
    command += ["--model-path", config.model_path, "--no-thumbnails", "--verify", "off", "--executor", "local"]
    for name in ("first", "again", "with less"):
        if name == "with less":
            for path in (scratch / "images").glob("*/*00.jpg"):
                path.unlink()
        written = scratch / "out" / layout.SUMMARY
        before = written.stat().st_mtime_ns if written.exists() else None
        begin = time.perf_counter()
        cost = measured(command)
        seconds = summary_of(scratch / "out")["seconds"] if written.stat().st_mtime_ns != before else "nothing written"
        wall = round(time.perf_counter() - begin, 1)
        yield name, {"wall": wall, "cpu": round(cost.cpu, 1), "memory_mb": cost.memory // 10**6, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument(
        "--scratch", type=Path, help="an empty folder for two kilobytes an entry, or one of an earlier call"
    )
    parser.add_argument("--no-runs", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = args.scratch or Path(folder)
        if not (scratch / "images").exists():
            start = time.perf_counter()
            plant(scratch, args.entries)
            print(f"{args.entries:,} planted in {time.perf_counter() - start:.0f} s", flush=True)
        for step in (look_up, merge):
            remove_merged(scratch / "out")
            in_process(step, scratch)
        for name, cost in () if args.no_runs else runs(scratch):
            print(name, json.dumps(cost), flush=True)


if __name__ == "__main__":
    main()
