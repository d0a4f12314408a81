"""What the merge of a rerun writes if one entry in a hundred is new: embeddings in one file and in parts.

python -m tests.bench.rerun [--entries 200000] [-d 576] [--scratch DIR]

The entries are planted as feature shards; nothing is decoded. Besides embeddings, a merge writes the manifest, the
names and scratch files of the look-up, which are the same in both forms.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from fastdup_ray.common import layout
from fastdup_ray.outputs.summary import write_summary
from fastdup_ray.runs.merge_stage import merge_features
from fastdup_ray.runs.preflight import list_manifest
from fastdup_ray.storage import open_store
from tests.bench.planted import PlantedRun

FORMS = {"one file": 10_000_000, "parts": 0}
"""Values of `largest_features_file`."""


def measure(folder: Path, form: str, n: int, d: int) -> None:
    """Merge a first run and a rerun, and print what each took."""
    run = PlantedRun(folder, n, d)
    run.plant()
    store, config = open_store(run.work_dir), run.config.model_copy(update={"largest_features_file": FORMS[form]})
    for again in (False, True):
        if again:
            run.change()
        store.remove(layout.LIST)
        manifest = list_manifest(config, store=store, folder=layout.LIST)
        facts = run.describe(manifest)
        shards = [name.removesuffix(layout.SHARD) for name in store.names(layout.SHARDS) if name.endswith(layout.SHARD)]
        before = read_written(), time.process_time()
        merged = merge_features(store, config, manifest, shards, facts, None)
        written, cpu = read_written() - before[0], time.process_time() - before[1]
        assert merged.counts is not None
        what = "1 in 100 new" if again else "first run"
        print(f"{form}, {what}: {written / 1e6:,.1f} MB written, {cpu:.2f} s of CPU", flush=True)
        write_summary(store, {**facts, "counts": merged.counts, "sha256": merged.sha256})
        for name in shards:
            store.remove(name + layout.SHARD)


def read_written() -> int:
    """Return the bytes that this process has written to files (Linux)."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["wchar"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=200_000, help="a multiple of 100")
    parser.add_argument("-d", type=int, default=576)
    parser.add_argument("--scratch", type=Path)
    arguments = parser.parse_args()
    for form in FORMS:
        scratch = Path(tempfile.mkdtemp(dir=arguments.scratch))
        try:
            measure(scratch / "run", form, arguments.entries, arguments.d)
        finally:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
