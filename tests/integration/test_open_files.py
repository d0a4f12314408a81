"""The number of files that are open or mapped does not grow with that of shards, ranges or cells."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray import RunConfig, layout, steps
from fastdup_ray.analysis import sorting
from fastdup_ray.features import LostRowsError, look_up, merge, merge_ranges, open_ranges, whole_shards, write_shard
from fastdup_ray.layout import INDEXED, SCORED
from fastdup_ray.manifest import ENTRIES, Manifest, entries_table
from fastdup_ray.records import Entry, ImageRef, Limits
from fastdup_ray.scoring import take_scored
from fastdup_ray.storage import Store, cache, open_store
from fastdup_ray.tables import encoded
from tests.conftest import outputs, save_cloudy, unit_rows

D = 8
SHARDS = 300
FACTS = {"format_version": 1, "fingerprint": {"model": "m"}, "d": D, "n": SHARDS, "list_sha256": "l"}
LIMITS = Limits(1000)


def entry(number: int) -> Entry:
    return Entry(f"/{number:05d}", 10, "1", sha256="ab", width=10, height=10, format="JPEG", rows=1)


def put(store: Store, number: int, stem: str) -> None:
    """A shard of one image."""
    facts = FACTS | {"min_offset": number, "max_offset": number + 1}
    own = entry(number)
    write_shard(store, stem, encoded([own.uri]), entries_table([own]), [unit_rows(1, D, number)], facts)


def listed(count: int) -> Manifest:
    return Manifest.of(ImageRef(own.uri, own.size, own.mtime_or_etag) for own in map(entry, range(count)))


def expected(count: int) -> bytes:
    return np.concatenate([unit_rows(1, D, number) for number in range(count)]).tobytes()


def mapped_files() -> int:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return sum(layout.SHARDS in line or "features" in line for line in maps)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """This process may open 40 files more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 40, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def test_more_shards_than_descriptors_are_merged(store, tmp_path, few_descriptors):
    stems = [f"{layout.SHARDS}/{layout.range_stem(number, number + 1)}-x" for number in range(SHARDS)]
    for number, stem in enumerate(stems):
        put(store, number, stem)
    manifest = listed(SHARDS)
    found = look_up(manifest, whole_shards(store, stems), [], LIMITS)
    assert len(found.sets) == SHARDS and mapped_files() == 0
    merge(store, manifest.uris(), found, FACTS)
    assert (tmp_path / "features.dat").read_bytes() == expected(SHARDS)


def test_more_ranges_than_descriptors_are_merged_and_scored(store, tmp_path, few_descriptors, monkeypatch):
    for number in range(SHARDS):
        put(store, number, layout.range_stem(number, number + 1))
    ranges = open_ranges(store)
    assert len(ranges) == SHARDS and mapped_files() == 0
    monkeypatch.setattr("fastdup_ray.scoring.indexed_facts", lambda store: {"d": D})
    take_scored(str(tmp_path / "index"), str(tmp_path))
    merge_ranges(store, ranges)
    for folder, files in ((tmp_path, INDEXED), (tmp_path / "index", SCORED)):
        assert (folder / files.of("features.dat")).read_bytes() == expected(SHARDS)


def test_shards_in_a_bucket_stay_neither_open_nor_mapped(bucket, monkeypatch):
    store, count = open_store(bucket.work_dir), 30
    stems = [f"{layout.SHARDS}/{layout.range_stem(number, number + 1)}-x" for number in range(count)]
    for number, stem in enumerate(stems):
        put(store, number, stem)
    before = len(os.listdir("/proc/self/fd"))
    manifest = listed(count)
    found = look_up(manifest, whole_shards(store, stems), [], LIMITS)
    assert len(os.listdir("/proc/self/fd")) <= before + 5 and mapped_files() == 0
    monkeypatch.setattr(cache, "BUDGET", 1)  # from now on it holds one file at a time
    put(store, count, f"{layout.SHARDS}/another")
    assert not any(shard.rows.path.exists() for shard in found.sets)
    merge(store, manifest.uris(), found, FACTS)
    assert store.fetch("features.dat").read_bytes() == expected(count)


@pytest.mark.parametrize("damage", ["gone", "cut", "gone and replaced in a bucket"])
def test_a_shard_that_goes_after_the_look_up_is_read_again(damage, store, tmp_path, monkeypatch, request):
    if "bucket" in damage:
        store = open_store(request.getfixturevalue("bucket").work_dir)
    stems = [f"{layout.SHARDS}/{layout.range_stem(number, number + 1)}-x" for number in range(3)]
    for number, stem in enumerate(stems):
        put(store, number, stem)

    def lose(*args):
        found = look_up(*args)
        if damage == "gone":
            store.remove(stems[1] + ".dat")
        elif damage == "cut":
            os.truncate(tmp_path / f"{stems[1]}.dat", 4)
        else:
            monkeypatch.setattr(cache, "BUDGET", 1)
            put(store, 7, stems[1])
        return found

    monkeypatch.setattr(steps, "look_up", lose)
    config = RunConfig.of(input_dir="x", work_dir=store.location)
    merged = steps.merge_features(store.location, config, listed(3), stems, FACTS, None)
    assert merged.counts is None and merged.missing.tolist() == [1]
    assert not store.exists("features.dat") and not store.exists(layout.MERGED)


def test_rows_that_are_gone_say_whose_they_are(store):
    put(store, 0, f"{layout.SHARDS}/x")
    (shard,) = whole_shards(store, [f"{layout.SHARDS}/x"])
    store.remove(f"{layout.SHARDS}/x.dat")
    with pytest.raises(LostRowsError) as caught:
        shard.rows[:]
    assert caught.value.rows is shard.rows


def test_sorted_runs_share_one_file(store, monkeypatch, few_descriptors):
    monkeypatch.setattr(sorting, "RUN", 100)
    monkeypatch.setattr(sorting, "PART", 10)
    numbers = np.random.default_rng(0).integers(0, 10**9, 100 * SHARDS + 7)
    found = np.concatenate(list(sorting.in_order(np.array_split(numbers, 50), store.scratch)))
    assert np.array_equal(found, np.sort(numbers))


def test_no_column_of_the_manifest_ends_at_two_gigabytes():
    for schema in (ENTRIES, listed(1).keys().schema, listed(1).uris().type):
        kinds = [field.type for field in schema] if isinstance(schema, pa.Schema) else [schema]
        assert not {pa.string(), pa.binary()} & {*kinds}


@pytest.mark.slow
def test_a_whole_run_and_one_after_a_kill_have_more_shards_than_descriptors(tmp_path):
    save_cloudy(tmp_path / "photos", 150, (24, 24))
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))
from fastdup_ray.cli import main
main(["run", sys.argv[1], "--work-dir", sys.argv[2], "--executor", "inline", "--no-report", *sys.argv[3:]])
"""

    def run(work_dir: Path, *arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", code, tmp_path / "photos", work_dir, *arguments]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)

    small = run(tmp_path / "small", "--shard-size", "1")
    assert small.returncode == 0, small.stderr
    assert run(tmp_path / "large").returncode == 0
    assert outputs(tmp_path / "small") == outputs(tmp_path / "large")

    ranges = tmp_path / "ranges"
    for first in range(0, 150, 50):  # what killed runs have left, as shards of one image each
        offsets = "--run-mode", "1", "--min-offset", str(first), "--max-offset", str(first + 50), "--shard-size", "1"
        assert run(ranges, *offsets).returncode == 0
    again = run(ranges, "--shard-size", "1")
    assert again.returncode == 0 and "0 read in this run" in again.stdout
    assert (ranges / "features.dat").read_bytes() == (tmp_path / "large" / "features.dat").read_bytes()
