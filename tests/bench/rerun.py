"""What the merge of a rerun writes if one entry in a hundred is new: embeddings in one file and in parts.

python -m tests.bench.rerun [--entries 200000] [-d 576] [--scratch DIR]

The entries are planted as feature shards; nothing is decoded. Besides embeddings, a merge writes the manifest, the
names and scratch files of the look-up, which are the same in both forms.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from fastdup_ray import RunConfig
from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.common.records import ImageRef
from fastdup_ray.features import write_shard
from fastdup_ray.inputs.manifest import ENTRIES, Manifest
from fastdup_ray.outputs.summary import write_summary
from fastdup_ray.runs.merge_stage import merge_features
from fastdup_ray.runs.preflight import make_list_facts
from fastdup_ray.storage import Store, open_store
from tests.bench.entries import ENTRIES_PER_SHARD, make_entries

SHARE = 100
"""One entry in so many is new in the rerun."""

FORMS = {"one file": 10_000_000, "parts": 0}
"""Values of `largest_features_file`."""


def list_entries(n: int, *, again: bool) -> Iterator[ImageRef]:
    """Yield n entries; again: in the rerun."""
    for i in range(n):
        yield ImageRef(f"/planted/{i // 1000:06d}/{i:09d}.jpg", 0, "2" if again and i % SHARE == 0 else "1")


def plant(store: Store, manifest: Manifest, offsets: Sequence[int], d: int, facts: FeatureFacts) -> list[str]:
    """Write the shards of some entries; return their stems."""
    generator, stems = np.random.default_rng(0), []
    for shard in manifest.shards(np.array(offsets), iter(lambda: ENTRIES_PER_SHARD, 0)):
        entries = make_entries(shard.start, [(ref.uri, ref.mtime_or_etag) for ref in shard.refs])
        first = pa.array(np.arange(len(entries)), pa.int64())
        entries = entries.set_column(ENTRIES.get_field_index("first_row"), "first_row", first)
        stems.append(f"{layout.SHARDS}/{layout.format_range_stem(shard.start, shard.stop)}-planted")
        rows = generator.standard_normal((len(entries), d)).astype(np.float32)
        bounds: FeatureFacts = {"min_offset": shard.start, "max_offset": shard.stop}
        write_shard(store, stems[-1], entries, [rows], facts | bounds)
    return stems


def measure(scratch: Path, form: str, n: int, d: int) -> None:
    """Merge a first run and a rerun, and print what each took."""
    store = open_store(str(scratch / "out"))
    config = RunConfig.of(input_dir=str(scratch), work_dir=store.location, largest_features_file=FORMS[form])
    for again in (False, True):
        manifest = Manifest.from_refs(list_entries(n, again=again))
        facts: FeatureFacts = make_list_facts(manifest) | {"fingerprint": {"model": "planted"}, "d": d}
        stems = plant(store, manifest, range(0, n, SHARE if again else 1), d, facts)
        before = read_written(), time.process_time()
        merged = merge_features(store, config, manifest, stems, facts, None)
        written, cpu = read_written() - before[0], time.process_time() - before[1]
        assert merged.counts is not None
        what = "1 in 100 new" if again else "first run"
        print(f"{form}, {what}: {written / 1e6:,.1f} MB written, {cpu:.2f} s of CPU", flush=True)
        write_summary(store, {**facts, "counts": merged.counts, "sha256": merged.sha256})
        store.remove(layout.SHARDS)


def read_written() -> int:
    """Return the bytes that this process has written to files (Linux)."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["wchar"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("-d", type=int, default=576)
    parser.add_argument("--scratch", type=Path)
    arguments = parser.parse_args()
    for form in FORMS:
        scratch = Path(tempfile.mkdtemp(dir=arguments.scratch))
        try:
            measure(scratch, form, arguments.entries, arguments.d)
        finally:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
