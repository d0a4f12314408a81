"""Looking up as many entries as a list may have, and merging them: seconds, and memory that cannot be dropped.

python -m tests.bench.look_up [--entries 34000000] [--sets 64] [--name 20] [--scratch DIR]

The sha256 of 33.55 million entries are 2 GiB of text, and so are the names of 8 million with 256 bytes each.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from fastdup_ray.common import layout
from fastdup_ray.common.records import Limits
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.features import find_missing, lookup_entries, merge_sets
from fastdup_ray.storage import open_store
from tests.bench.outputs import Watch
from tests.helpers.planted import manifest_of, sets_of, write_planted

KNOWN = 0.99
"""Part of the entries that the sets have."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=34_000_000)
    parser.add_argument("--sets", type=int, default=64)
    parser.add_argument("--name", type=int, default=20, help="bytes of a name")
    parser.add_argument("--scratch", type=Path, help="a folder for what is made, half a kilobyte an entry")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        measure(folder, args.entries, args.sets, args.name)


def measure(folder: str, entries: int, sets: int, width: int) -> None:
    """Print a line for each step: seconds, CPU seconds, bytes per entry."""
    store, limits, decoders = open_store(folder), Limits(1000), list_optional_decoders()
    known = int(KNOWN * entries)
    embeddings = write_planted(store, known)
    manifest = manifest_of(store, entries, width)
    watch = Watch()
    missing = find_missing(manifest, sets_of(embeddings, sets, width), limits, decoders, store.scratch)
    watch.lap("find_missing", entries)
    assert np.array_equal(missing, np.arange(entries - known))
    manifest = manifest.window(entries - known, entries)
    watch.lap("", entries)
    found = lookup_entries(manifest, sets_of(embeddings, sets, width), [], limits, decoders, store.scratch)
    watch.lap("lookup_entries", entries)
    assert len(found.missing) == 0
    merge_sets(store, found, {"d": 1, "list_sha256": manifest.digest})
    watch.lap("merge_sets", entries)
    assert np.array_equal(np.fromfile(store.fetch(layout.FEATURES), "<f4"), np.arange(known, dtype=np.float32)[::-1])
    with pq.ParquetFile(store.fetch(layout.MANIFEST)) as file:
        first = file.read_row_group(0, ["sha256"])["sha256"][0].as_py()
    assert first == f"{known - 1:064d}"


if __name__ == "__main__":
    main()
