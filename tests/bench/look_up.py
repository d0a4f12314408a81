"""Looking up as many entries as a list may have: seconds, and the most memory of the process.

python -m tests.bench.look_up [--entries 34000000] [--sets 64] [--name 20]

The sha256 of 33.55 million entries are 2 GiB of text, and so are the names of 8 million with 256 bytes each.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from fastdup_ray.common.records import Limits
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.features import FeatureSet, StoredEmbeddings, find_missing, lookup_entries
from fastdup_ray.inputs.manifest import ENTRIES, Manifest
from fastdup_ray.storage import open_store

DIGITS = 12
KNOWN = 0.99
"""Part of the entries that the sets have."""


def texts(numbers: np.ndarray, width: int) -> pa.LargeStringArray:
    """The numbers with leading zeros."""
    digits = np.full((len(numbers), width), ord("0"), np.uint8)
    digits[:, -DIGITS:] += (numbers[:, None] // 10 ** np.arange(DIGITS)[::-1] % 10).astype(np.uint8)
    offsets = np.arange(len(numbers) + 1, dtype=np.int64) * width
    return pa.LargeStringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(digits))


def sets_of(count: int, sets: int, width: int) -> Iterator[FeatureSet]:
    """Feature sets of the entries 0 to count - 1, whose rows nobody reads."""
    for numbers in np.array_split(np.arange(count), sets):
        columns = {field.name: pa.nulls(len(numbers), field.type) for field in ENTRIES}
        columns |= {"uri": texts(numbers, width), "size": numbers, "sha256": texts(numbers, 64)}
        columns |= {"mtime_or_etag": pa.repeat(pa.scalar("1"), len(numbers)), "format": pa.repeat("JPEG", len(numbers))}
        columns |= {"first_row": numbers - numbers[0], "rows": np.ones(len(numbers), np.int32)}
        table = pa.table([pa.array(columns[field.name]).cast(field.type) for field in ENTRIES], ENTRIES)
        rows = StoredEmbeddings(open_store("."), "", Path(), (0, 0, 0), "", (len(numbers), 1))
        yield FeatureSet(table, {}, rows)


def manifest_of(count: int, sets: int, width: int) -> Manifest:
    """The entries from the last to the first."""
    batches = [
        pa.record_batch(
            [texts(numbers, width).cast(pa.large_binary()), numbers, ["1"] * len(numbers)],
            schema=pa.schema([("uri", pa.large_binary()), ("size", pa.int64()), ("mtime_or_etag", pa.large_string())]),
        )
        for numbers in np.array_split(np.arange(count)[::-1], sets)
    ]
    return Manifest(pa.Table.from_batches(batches).combine_chunks())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=34_000_000)
    parser.add_argument("--sets", type=int, default=64)
    parser.add_argument("--name", type=int, default=20, help="bytes of a name")
    args = parser.parse_args()
    known, limits = int(KNOWN * args.entries), Limits(1000)
    manifest = manifest_of(args.entries, args.sets, args.name)

    start = time.perf_counter()
    missing = find_missing(manifest, sets_of(known, args.sets, args.name), limits, list_optional_decoders())
    assert np.array_equal(missing, np.arange(args.entries - known))
    _tell("find_missing", start)
    start = time.perf_counter()
    found = lookup_entries(manifest, sets_of(known, args.sets, args.name), [], limits, list_optional_decoders())
    assert np.array_equal(found.missing, missing)
    _tell("look_up", start)
    for place in (len(missing), args.entries // 2, args.entries - 1):
        number = args.entries - 1 - place
        assert found.entries["sha256"][place].as_py() == f"{number:064d}"
    print(f"{args.entries:,} entries: sha256 {found.entries['sha256'].nbytes >> 20:,} MiB")


def _tell(what: str, start: float) -> None:
    seconds, memory = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{what}: {seconds:.1f} s, at most {memory:.1f} GB so far", flush=True)


if __name__ == "__main__":
    main()
