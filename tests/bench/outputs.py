"""What follows the search: seconds, CPU seconds and memory up to each file that a run leaves, on made-up neighbours.

python -m tests.bench.outputs [--rows 250000 1000000 5000000] [--scratch DIR] [--no-pagerank] [--no-report]

Rows stand in fours, scattered over the list: of each the two neighbours are of its four. Nine in ten pairs are above
`threshold`, eight in ten fours are groups, each tenth row is a byte-identical copy. features.dat is a hole of the right
size, as nothing but the report reads it. Memory is what cannot be dropped: pages of mapped files are not counted.
"""

import argparse
import math
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastdup_ray.common import layout
from fastdup_ray.config import RunConfig
from fastdup_ray.inputs.manifest import ENTRIES, KEY
from fastdup_ray.neighbors.metrics import COSINE
from fastdup_ray.neighbors.neighbor_files import StoredNeighbors, create_neighbors
from fastdup_ray.runs.outputs_stage import write_outputs
from fastdup_ray.storage import open_store
from fastdup_ray.storage.local import LocalStore
from tests.bench.rows import D

BLOCK = 1 << 18
K = 2
EVERY = 0.01
"""Seconds between two looks at the memory."""


class Fours:
    """n rows, n divisible by four: the fours, what their rows are to each other, and which are copies."""

    def __init__(self, n: int):
        self._n = n
        self._step = next(step for step in range(int(0.618 * n), n) if math.gcd(step, n) == 1)
        self._back = pow(self._step, -1, n)

    def neighbors_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(b, 2) int64 and float64: indices and cosines, the closest first."""
        place = rows * self._back % self._n
        others = place[:, None] ^ np.array([1, 2])
        cosine = _cosine(np.minimum(place[:, None], others), np.maximum(place[:, None], others))
        order = np.argsort(-cosine, axis=1, kind="stable")
        return np.take_along_axis(others, order, 1) * self._step % self._n, np.take_along_axis(cosine, order, 1)

    def contents_of(self, rows: np.ndarray) -> np.ndarray:
        """(b,) uint64, equal for byte-identical pictures."""
        place = rows * self._back % self._n
        return np.where(place % 10 == 1, place ^ 1, place).astype(np.uint64)


def _cosine(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Of two in one four: eight of ten fours are close, one in ten is of strangers."""
    drawn = (low * 7_919 + high * 104_729) % 39_989 / 39_989
    kind = (low // 4) % 10
    least = np.select([kind < 8, kind < 9], [0.961, 0.86], 0.1)
    return np.round(least + np.where(kind < 8, 0.039, 0.09) * drawn, 6)


def prepare(work_dir: Path, n: int) -> None:
    """Writes features.dat, its names, a manifest and neighbours."""
    fours, parts = Fours(n), [np.arange(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
    with open(work_dir / layout.FEATURES, "wb") as file:
        file.truncate(4 * D * n)
    with (
        create_neighbors(open_store(work_dir), n, K, COSINE) as neighbors,
        open(work_dir / layout.FEATURES_CSV, "w") as names,
        pq.ParquetWriter(work_dir / layout.MANIFEST, ENTRIES) as manifest,
    ):
        names.write("index,filename\n")
        for rows in parts:
            neighbors.indices[rows], neighbors.similarity[rows] = fours.neighbors_of(rows)
            uris = [f"/pictures/{row // 1000:06d}/{row:09d}.jpg" for row in rows.tolist()]
            names.writelines(f"{row},{uri}\n" for row, uri in zip(rows.tolist(), uris, strict=True))
            tokens = [str(10**18 + row) for row in rows.tolist()]
            keys = pa.table([uris, rows % 3_000_000, tokens], schema=pa.schema([ENTRIES.field(name) for name in KEY]))
            manifest.write_table(make_entries(keys, rows, fours.contents_of(rows)))


def make_entries(keys: pa.Table, first_rows: np.ndarray, contents: np.ndarray) -> pa.Table:
    """Return the table `ENTRIES` of images with keys, whose bytes are equal where their contents are."""
    odd = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
    digits = (contents[:, None] * odd + odd).tobytes().hex().encode()
    offsets, numbers = 64 * np.arange(len(keys) + 1), contents.astype(np.int64)
    known = {name: keys[name] for name in keys.column_names}
    known |= {"sha256": pa.LargeStringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(digits))}
    known |= {"width": 200 + numbers % 1_999, "height": 200 + numbers % 1_709}
    known |= {"format": pa.repeat(pa.scalar("JPEG", pa.large_string()), len(keys)), "first_row": first_rows}
    known |= {"rows": np.ones(len(keys), np.int64), "unseen": pa.repeat(pa.scalar("", pa.large_string()), len(keys))}
    known |= {"brightness": numbers % 255 / 1, "contrast": numbers % 127 / 1, "blur": numbers % 1_023 / 1}
    known |= {"unique_colors": numbers % 9_999}
    nulls = {field.name: pa.nulls(len(keys), field.type) for field in ENTRIES if field.name not in known}
    return pa.table({field.name: known.get(field.name, nulls.get(field.name)) for field in ENTRIES}, ENTRIES)


class Watch:
    """Seconds, CPU seconds and the most memory since the last look."""

    def __init__(self) -> None:
        self._most, self._ended, self._before = 0, threading.Event(), measure_unshared()
        self._start = time.perf_counter(), time.process_time()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._ended.wait(EVERY):
            self._most = max(self._most, measure_unshared())

    def lap(self, name: str, entries: int = 0) -> None:
        """Print a line. Memory is in MB, or in bytes per entry above that of the start."""
        now = time.perf_counter(), time.process_time()
        wall, cpu = (one - other for one, other in zip(now, self._start, strict=True))
        most = max(self._most, measure_unshared())
        memory = f"{(most - self._before) / entries:.0f}" if entries else f"{most / 1e6:.0f}"
        print(f"{name}\t{wall:.2f}\t{cpu:.2f}\t{memory}", flush=True)
        self._start, self._most = (time.perf_counter(), time.process_time()), 0


def measure_unshared() -> int:
    """Bytes of this process that are of no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def measure(work_dir: Path, n: int, **parameters: bool) -> None:
    """Prints a line for each file; nothing else runs in this process."""
    watch, create = Watch(), LocalStore.create
    watch.lap("(start)")

    @contextmanager
    def watched(self: LocalStore, name: str) -> Iterator[Path]:
        with create(self, name) as path:
            yield path
        watch.lap(name)

    config = RunConfig.of(work_dir=str(work_dir), run_mode=2, thumbnails=False, **parameters)
    summary = {"counts": {"entries": n, "images": n, "bad": 0}, "seconds": {}, "d": D, "n": n}
    neighbors = StoredNeighbors({"index": "none", "k": K}, COSINE, layout.INDEXED)
    with patch.object(LocalStore, "create", watched):
        write_outputs(open_store(str(work_dir)), config, layout.FEATURES, neighbors, summary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 1_000_000, 5_000_000])
    parser.add_argument("--scratch", type=Path, help="a folder for what is made, three kilobytes a row")
    parser.add_argument("--no-pagerank", action="store_true")
    parser.add_argument("--no-report", action="store_true")
    args = parser.parse_args()
    asked = {"run_pagerank": not args.no_pagerank, "report": not args.no_report}
    for n in args.rows:
        print(f"{n:,} rows\tseconds\tCPU\tMB", flush=True)
        with tempfile.TemporaryDirectory(dir=args.scratch) as work_dir:
            for step, keywords in ((prepare, {}), (measure, asked)):  # what one process held is not seen in the next
                process = get_context("spawn").Process(target=step, args=(Path(work_dir), n), kwargs=keywords)
                process.start()
                process.join()
                if process.exitcode:
                    sys.exit(process.exitcode)


if __name__ == "__main__":
    main()
