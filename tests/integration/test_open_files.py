"""The number of files that are open or mapped does not grow with that of shards, ranges or cells."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fastdup_ray import RunConfig
from fastdup_ray.analysis import sorting
from fastdup_ray.common import layout
from fastdup_ray.common.layout import INDEXED, SCORED
from fastdup_ray.common.records import Entry, ImageRef, Limits
from fastdup_ray.errors import DamagedError
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.features import (
    LostEmbeddingsError,
    StoredEmbeddings,
    iter_embedding_blocks,
    lookup_entries,
    merge_ranges,
    merge_sets,
    open_ranges,
    open_whole_shards,
    write_range,
    write_shard,
)
from fastdup_ray.features.stored_embeddings import EmbeddingReader
from fastdup_ray.inputs.manifest import ENTRIES, Manifest, make_entries_table
from fastdup_ray.runs import features_stage, merge_stage, scoring
from fastdup_ray.storage import Store, download_cache, local, open_store
from fastdup_ray.storage.tables import encode_names
from tests.checker import check
from tests.helpers.commands import parse_counts
from tests.helpers.embeddings import unit_rows
from tests.helpers.images import save_cloudy
from tests.helpers.models import save_model
from tests.helpers.runs import SAME_BYTES, outputs, run_inline

D = 8
SHARDS = 300
IMAGES, FILES = 100, 45
"""Of whole runs, and the files that these may open."""
PLANTED = 2_000
FACTS = {"format_version": 1, "fingerprint": {"model": "m"}, "d": D, "n": SHARDS, "list_sha256": "l"}
LIMITS = Limits(1000)


def entry(number: int) -> Entry:
    return Entry(f"/{number:05d}", 10, "1", sha256="ab", width=10, height=10, format="JPEG", rows=1)


def put(store: Store, number: int, stem: str) -> None:
    """A shard of one image."""
    facts = FACTS | {"min_offset": number, "max_offset": number + 1}
    own = entry(number)
    write_shard(store, stem, make_entries_table([own]), [unit_rows(1, D, number)], facts)


def put_range(store: Store, number: int) -> None:
    """A range of one image."""
    own, stem = entry(number), layout.format_range_stem(number, number + 1)
    facts = FACTS | {"min_offset": number, "max_offset": number + 1}
    write_range(store, stem, encode_names([own.uri]), make_entries_table([own]), [unit_rows(1, D, number)], facts)


def listed(count: int) -> Manifest:
    return Manifest.from_refs(ImageRef(own.uri, own.size, own.mtime_or_etag) for own in map(entry, range(count)))


def expected(count: int) -> bytes:
    return np.concatenate([unit_rows(1, D, number) for number in range(count)]).tobytes()


def mapped_files() -> int:
    """Files of shards and features; scratch files, which have no name any more, are not counted: there are a few."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        names = [line for line in maps if not line.endswith("(deleted)\n")]
    return sum(layout.SHARDS in name or "features" in name for name in names)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def test_more_shards_than_descriptors_are_merged(store, tmp_path, few_descriptors):
    stems = [f"{layout.SHARDS}/{layout.format_range_stem(number, number + 1)}-x" for number in range(SHARDS)]
    for number, stem in enumerate(stems):
        put(store, number, stem)
    manifest = listed(SHARDS)
    found = lookup_entries(
        manifest, open_whole_shards(store, stems), [], LIMITS, list_optional_decoders(), store.scratch
    )
    assert len(found.embeddings) == SHARDS
    assert mapped_files() == 0
    merge_sets(store, found, FACTS)
    assert (tmp_path / "features.dat").read_bytes() == expected(SHARDS)


def test_more_ranges_than_descriptors_are_merged_and_scored(store, tmp_path, few_descriptors, monkeypatch):
    for number in range(SHARDS):
        put_range(store, number)
    ranges = open_ranges(store)
    assert len(ranges) == SHARDS
    assert mapped_files() == 0
    monkeypatch.setattr(scoring, "read_indexed_facts", lambda store: {"d": D})
    scoring.import_query_features(open_store(str(tmp_path / "index")), str(tmp_path), sys.maxsize)
    merge_ranges(store, ranges)
    for folder, files in ((tmp_path, INDEXED), (tmp_path / "index", SCORED)):
        assert (folder / files.name("features.dat")).read_bytes() == expected(SHARDS)


def test_shards_in_a_bucket_stay_neither_open_nor_mapped(bucket, monkeypatch):
    store, count = open_store(bucket.work_dir), 60
    stems = [f"{layout.SHARDS}/{layout.format_range_stem(number, number + 1)}-x" for number in range(count)]
    for number, stem in enumerate(stems):
        put(store, number, stem)
    before = len(os.listdir("/proc/self/fd"))
    manifest = listed(count)
    found = lookup_entries(
        manifest, open_whole_shards(store, stems), [], LIMITS, list_optional_decoders(), store.scratch
    )
    assert len(os.listdir("/proc/self/fd")) <= before + store.at_once + 5
    assert mapped_files() == 0
    monkeypatch.setattr(download_cache, "BUDGET", 1)  # from now on it holds one file at a time
    put(store, count, f"{layout.SHARDS}/another")
    assert not any(rows.path.exists() for rows in found.embeddings)
    merge_sets(store, found, FACTS)
    assert store.fetch("features.dat").read_bytes() == expected(count)


@pytest.mark.parametrize("damage", ["gone", "cut", "replaced", "gone and replaced in a bucket"])
def test_a_shard_that_goes_after_the_look_up_is_read_again(damage, store, tmp_path, monkeypatch, request):
    if "bucket" in damage:
        store = open_store(request.getfixturevalue("bucket").work_dir)
    stems = [f"{layout.SHARDS}/{layout.format_range_stem(number, number + 1)}-x" for number in range(3)]
    for number, stem in enumerate(stems):
        put(store, number, stem)

    def lose(*args):
        found = lookup_entries(*args)
        if damage == "gone":
            store.remove(stems[1] + layout.SHARD)
        elif damage == "cut":
            os.truncate(tmp_path / f"{stems[1]}{layout.SHARD}", 4)
        else:  # by other rows, as many
            store.remove(stems[1] + layout.SHARD)
            monkeypatch.setattr(download_cache, "BUDGET", 1)
            put(store, 7, stems[1])
        return found

    monkeypatch.setattr(merge_stage, "lookup_entries", lose)
    config = RunConfig.of(input_dir="x", work_dir=store.location)
    merged = merge_stage.merge_features(store, config, listed(3), stems, FACTS, None)
    assert merged.counts is None
    assert merged.missing.tolist() == [1]
    assert not store.exists("features.dat")
    assert not store.exists(layout.MERGED)


def test_a_shard_that_is_put_again_as_it_was_is_merged(store, tmp_path):
    stem = f"{layout.SHARDS}/x"
    put(store, 0, stem)
    found = lookup_entries(
        listed(1), open_whole_shards(store, [stem]), [], LIMITS, list_optional_decoders(), store.scratch
    )
    store.remove(stem + layout.SHARD)
    put(store, 0, stem)
    merge_sets(store, found, FACTS)
    assert (tmp_path / "features.dat").read_bytes() == expected(1)


def test_rows_of_a_range_that_is_replaced_are_not_scored(store, tmp_path, monkeypatch):
    monkeypatch.setitem(FACTS, "n", 3)
    for number in range(3):
        put_range(store, number)

    def replace_then_merge(*args):
        (tmp_path / f"{layout.format_range_stem(1, 2)}.dat").write_bytes(unit_rows(1, D, 7).tobytes())
        merge_sets(*args)

    monkeypatch.setattr(scoring, "read_indexed_facts", lambda store: {"d": D})
    monkeypatch.setattr(scoring, "merge_sets", replace_then_merge)
    with pytest.raises(DamagedError):
        scoring.import_query_features(open_store(str(tmp_path / "index")), str(tmp_path), sys.maxsize)
    assert not (tmp_path / "index" / SCORED.name("features.dat")).exists()


def test_rows_that_are_gone_say_whose_they_are(store):
    put(store, 0, f"{layout.SHARDS}/x")
    (shard,) = open_whole_shards(store, [f"{layout.SHARDS}/x"])
    store.remove(f"{layout.SHARDS}/x{layout.SHARD}")
    with EmbeddingReader() as reader, pytest.raises(LostEmbeddingsError) as caught:
        reader.read(shard.embeddings, 0, np.empty(shard.embeddings.shape, np.float32))
    assert caught.value.embeddings is shard.embeddings


def test_sets_that_alternate_in_the_list_are_each_opened_once(store, monkeypatch):
    stems = [f"{layout.SHARDS}/{number}" for number in range(2)]
    for number, stem in enumerate(stems):
        own = [entry(place) for place in range(number, 100, 2)]
        rows = [unit_rows(1, D, place) for place in range(number, 100, 2)]
        write_shard(store, stem, make_entries_table(own), rows, FACTS)
    opened = []
    monkeypatch.setattr(
        StoredEmbeddings, "open", lambda rows, open=StoredEmbeddings.open: opened.append(rows) or open(rows)
    )
    monkeypatch.setitem(iter_embedding_blocks.__globals__, "BYTES_PER_BLOCK", 7 * 4 * D)
    found = lookup_entries(
        listed(100), open_whole_shards(store, stems), [], LIMITS, list_optional_decoders(), store.scratch
    )
    assert np.concatenate(list(iter_embedding_blocks(found))).tobytes() == expected(100)
    assert len(opened) == 2


def test_sorted_runs_share_one_file(store, monkeypatch, few_descriptors):
    monkeypatch.setattr(sorting, "NUMBERS_PER_RUN", 100)
    monkeypatch.setattr(sorting, "NUMBERS_PER_BLOCK", 10)
    numbers = np.random.default_rng(0).integers(0, 10**9, 100 * SHARDS + 7)
    found = np.concatenate(list(sorting.sort_blocks(np.array_split(numbers, 50), store.scratch)))
    assert np.array_equal(found, np.sort(numbers))


def test_no_column_of_the_manifest_ends_at_two_gigabytes():
    for schema in (ENTRIES, next(listed(1).key_blocks()).schema, listed(1).uris(0, 1).type):
        kinds = [field.type for field in schema] if isinstance(schema, pa.Schema) else [schema]
        assert not {pa.string(), pa.binary()} & {*kinds}


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
from fastdup_ray.cli.main import main
main(sys.argv[2:])
"""
INLINE = ("--executor", "inline", "--no-report")


def start_limited(files: int, *arguments: object) -> subprocess.Popen:
    """A command of `fastdup-ray` in a process that may open so many files."""
    command = map(str, (sys.executable, "-c", LIMITED, files, *arguments))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run_limited(files: int, *arguments: object) -> str:
    """What the command prints."""
    with start_limited(files, *arguments) as process:
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


@pytest.fixture(scope="module")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `IMAGES`, and the work_dir of a run on them beside it."""
    folder = tmp_path_factory.mktemp("many")
    save_cloudy(folder / "photos", IMAGES, (24, 24))
    run_inline(folder / "photos", folder / "out", report=False)
    return folder


@pytest.mark.slow
def test_a_run_and_one_after_a_kill_have_more_shards_than_descriptors(tmp_path, many_images):
    arguments = "run", many_images / "photos", "--work-dir", tmp_path / "out", "--shard-size", 1, *INLINE
    with start_limited(FILES, *arguments) as process:
        while process.poll() is None and len(list(tmp_path.glob("out/shards/features-*.shard"))) < IMAGES - 30:
            time.sleep(0.01)
        process.kill()
    left = len(list(tmp_path.glob("out/shards/features-*.shard")))
    assert FILES < left < IMAGES
    told = run_limited(FILES, *arguments)
    assert parse_counts(told)[0] == IMAGES - left
    assert outputs(tmp_path / "out") == outputs(many_images / "out")


@pytest.mark.slow
def test_more_ranges_than_descriptors_are_taken_by_mode_2_and_by_another_run(tmp_path, many_images):
    for first in range(IMAGES):
        run_inline(many_images / "photos", tmp_path / "out", run_mode=1, min_offset=first, max_offset=first + 1)
    run_limited(FILES, "run", "--work-dir", tmp_path / "out", "--run-mode", 2, *INLINE)
    assert outputs(tmp_path / "out") == outputs(many_images / "out")
    again = run_limited(FILES, "run", many_images / "photos", "--work-dir", tmp_path / "out", *INLINE)
    assert parse_counts(again)[0] == 0


@pytest.mark.slow
def test_a_bucket_has_more_shards_than_descriptors(many_images, bucket):
    files = FILES + open_store(bucket.work_dir).at_once
    run_limited(files, "run", many_images / "photos", "--work-dir", bucket.work_dir, "--shard-size", 1, *INLINE)
    assert {name: bucket.output(name) for name in SAME_BYTES} == outputs(many_images / "out")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `in` of `PLANTED` images, and a work_dir `out` with a feature shard of 8 numbers for each of them."""
    folder = tmp_path_factory.mktemp("planted")
    numbers = np.random.default_rng(0)
    (folder / "in").mkdir()
    for seed in range(PLANTED):
        noise = numbers.integers(0, 256, 3) + numbers.integers(-20, 21, (16, 16, 3))
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / "in" / f"{seed:04d}.png")
    model = save_model(folder / "model.onnx", shape=("n", 3, 16, 16), weights=np.eye(3, D, dtype=np.float32))

    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "sync", lambda path: None)  # what a power failure would leave is no matter here
        patch.setattr(features_stage, "merge_features", stop)
        with pytest.raises(Stopped):
            run_inline(folder / "in", folder / "out", model_path=model, shard_size=1)
    assert len(list((folder / "out" / layout.SHARDS).glob("*.shard"))) == PLANTED
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("executor", "files"), [("inline", 256), ("ray", 1024)])
def test_few_files_are_enough_for_2000_shards_up_to_the_plan(tmp_path, planted, executor, files):
    out = shutil.copytree(planted / "out", tmp_path / "out")
    own = "--model-path", planted / "model.onnx", "--executor", executor, "--num-threads", 1
    told = run_limited(files, "run", planted / "in", "--work-dir", out, *own)
    assert parse_counts(told)[0] == 0
    run_limited(files, "plan", out)
    assert (out / layout.PLAN_CSV).exists()
    assert check(out) == []
