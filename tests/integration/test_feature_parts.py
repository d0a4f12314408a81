"""Embeddings in parts: the outputs are those of one file, and a run writes no more than what is new."""

from pathlib import Path

import numpy as np
import pytest

import fastdup_ray as fastdup
from fastdup_ray.common import layout
from fastdup_ray.errors import DamagedError
from fastdup_ray.features import parts
from fastdup_ray.neighbors.partitioned import partition_layout
from fastdup_ray.storage.feature_parts import read_index
from tests.helpers.commands import run
from tests.helpers.damage import damage
from tests.helpers.images import save_cloudy
from tests.helpers.kills import dying_before
from tests.helpers.runs import PHOTOS, SAME_BYTES, outputs, run_inline

COUNT, ROWS = 12, 4
ONE, PARTS = 8192, 0
"""Values of `largest_features_file`."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", ROWS)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return save_cloudy(tmp_path / "in", COUNT, (40, 40))


def find(inputs: object, work_dir: object, largest: int = PARTS, **parameters: object):
    """A run without verification and report, unless they are asked for."""
    return run_inline(
        inputs, work_dir, **{"report": False, "verify": "off", "largest_features_file": largest} | parameters
    )


def one_file(inputs: object, work_dir: Path) -> Path:
    """The work_dir of the same run with one file."""
    find(inputs, work_dir, ONE)
    return work_dir


def part_files(work_dir: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of the last change of each part, by name."""
    files = (work_dir / layout.FEATURE_PARTS).glob("*.shard")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def new_rows(work_dir: Path, before: dict[str, tuple[int, int]]) -> int:
    """Embeddings in parts that were written since; no part that is as old as `before` was touched."""
    after = part_files(work_dir)
    assert all(before[name] == state for name, state in after.items() if name in before)
    index = read_index(work_dir / layout.FEATURES_INDEX)
    assert {part.name.rpartition("/")[2] for part in index.parts} == after.keys()
    return sum(part.rows for part in index.parts if part.name.rpartition("/")[2] not in before)


def assert_same(work_dir: Path, whole: Path) -> None:
    """The outputs are those of one file, which the first has not."""
    assert not (work_dir / "features.dat").exists()
    expected = outputs(whole)
    assert outputs(work_dir) == {name: content for name, content in expected.items() if name != "features.dat"}
    names, rows = fastdup.load_binary_feature(work_dir)
    expected_names, expected_rows = fastdup.load_binary_feature(whole / "features.dat")
    assert names == expected_names
    np.testing.assert_array_equal(rows, expected_rows)


def save_list(path: Path, images: list[Path]) -> Path:
    path.write_text("".join(f"{image}\n" for image in images))
    return path


def test_outputs_are_those_of_one_file(tmp_path):
    for name, largest in (("parts", PARTS), ("whole", ONE)):
        find(PHOTOS, tmp_path / name, largest, report=True, ccthreshold=0.8)
    assert len(part_files(tmp_path / "parts")) == 9
    assert_same(tmp_path / "parts", tmp_path / "whole")
    assert look_at(tmp_path / "parts") == look_at(tmp_path / "whole")


def look_at(work_dir: Path) -> list[object]:
    """What commands on a finished run read from its embeddings."""
    fastdup.make_plan(work_dir)
    fastdup.select_subset(work_dir, 5)
    fastdup.cluster_images(work_dir, 4)
    page = Path(fastdup.create_embedding_map(work_dir, thumbnails=False)).read_text()
    files = ((work_dir / name).read_bytes() for name in (layout.SUBSET_TXT, layout.CLUSTERS_CSV))
    plan = (work_dir / layout.PLAN_CSV).read_text().replace(str(work_dir), "").partition("\n")[2]
    found = fastdup.RunResult.open(work_dir).search(PHOTOS / "originals" / "cat.jpg", 5)
    return [*files, plan, found.to_pylist(), len(page)]


@pytest.mark.parametrize("parameters", [{"faiss_mode": "HNSW8"}, {"faiss_mode": "partitioned"}, {"invariant": "flip"}])
def test_each_search_reads_parts(parameters, images, tmp_path, monkeypatch):
    monkeypatch.setattr(partition_layout, "BLOCK", 5)
    for name, largest in (("parts", PARTS), ("whole", ONE)):
        find(images[0].parent, tmp_path / name, largest, **parameters)
    assert_same(tmp_path / "parts", tmp_path / "whole")
    invariant = layout.INVARIANT_CSV
    if "invariant" in parameters:
        assert (tmp_path / "parts" / invariant).read_bytes() == (tmp_path / "whole" / invariant).read_bytes()
        assert (tmp_path / "parts" / "turned_features.parts" / "index.parquet").exists()


def test_a_rerun_writes_what_is_new(images, tmp_path):
    find(images[0].parent, tmp_path / "parts")
    before = part_files(tmp_path / "parts")
    assert len(before) == COUNT / ROWS
    save_cloudy(tmp_path / "other", COUNT + 1, (41, 41))[-1].replace(images[5])
    result = find(images[0].parent, tmp_path / "parts")
    assert result.summary["read"] == 1
    assert new_rows(tmp_path / "parts", before) == 1
    assert_same(tmp_path / "parts", one_file(images[0].parent, tmp_path / "whole"))


def test_another_order_writes_nothing_but_the_index(images, tmp_path):
    find(save_list(tmp_path / "list.txt", images), tmp_path / "parts")
    before = part_files(tmp_path / "parts")
    save_list(tmp_path / "list.txt", [*images[7:], *images[6::-1]])
    for name, largest in (("parts", PARTS), ("whole", ONE)):
        find(tmp_path / "list.txt", tmp_path / name, largest)
    assert new_rows(tmp_path / "parts", before) == 0
    assert part_files(tmp_path / "parts") == before
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_a_part_is_written_anew_once_less_than_half_of_it_is_used(images, tmp_path):
    find(images[0].parent, tmp_path / "parts")
    before = part_files(tmp_path / "parts")
    for image in images[:2]:
        image.unlink()
    find(images[0].parent, tmp_path / "parts")
    assert part_files(tmp_path / "parts") == before
    images[2].unlink()
    find(images[0].parent, tmp_path / "parts")
    assert new_rows(tmp_path / "parts", before) == 1
    assert len(part_files(tmp_path / "parts")) == len(before)
    assert_same(tmp_path / "parts", one_file(images[0].parent, tmp_path / "whole"))


def test_many_reruns_leave_few_parts(images, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_ROWS", 32)
    written = []
    for count in range(1, COUNT + 1):
        before = part_files(tmp_path / "parts")
        find(save_list(tmp_path / "list.txt", images[:count]), tmp_path / "parts")
        written.append(new_rows(tmp_path / "parts", before))
    assert written == [1, 2, 1, 4, 1, 2, 1, 8, 1, 2, 1, 4]
    assert_same(tmp_path / "parts", one_file(tmp_path / "list.txt", tmp_path / "whole"))


def test_either_form_becomes_the_other(images, tmp_path):
    for name, forms in (("parts", (ONE, PARTS)), ("whole", (PARTS, ONE))):
        for largest in forms:
            assert find(images[0].parent, tmp_path / name, largest).summary["read"] in (0, COUNT)
    assert_same(tmp_path / "parts", tmp_path / "whole")
    assert not (tmp_path / "whole" / layout.FEATURE_PARTS).exists()
    assert find(images[0].parent, tmp_path / "whole", PARTS).summary["read"] == 0


def test_modes_start_from_parts(images, tmp_path):
    """Modes 1 and 2, and scorings of images and of embeddings."""
    (tmp_path / "test").mkdir()
    for image in images[8:]:
        image.rename(tmp_path / "test" / image.name)
    save_list(tmp_path / "list.txt", images[:8])
    for name, largest in (("parts", PARTS), ("whole", ONE)):
        for start in (0, 4):
            bounds = {"min_offset": start, "max_offset": start + 4}
            find(tmp_path / "list.txt", tmp_path / name, largest, run_mode=1, **bounds)
        for location in (tmp_path / name, tmp_path / name / "features.dat"):
            find(None, location, largest, run_mode=2)
        find(tmp_path / "test", tmp_path / f"{name}-test", largest, run_mode=1)
    assert_same(tmp_path / "parts", tmp_path / "whole")
    for mode in (3, 4):
        for name, largest in (("parts", PARTS), ("whole", ONE)):
            new = tmp_path / "test" if mode == 3 else tmp_path / f"{name}-test" / "features.dat"
            find(new, tmp_path / name, largest, run_mode=mode)
        for file in ("similarity.csv", "test_features.dat.csv", "test_images.parquet"):
            assert (tmp_path / "parts" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert (tmp_path / "parts" / "test_features.parts" / "index.parquet").exists()
    find(tmp_path / "list.txt", tmp_path / "parts", overwrite=True)
    assert not (tmp_path / "parts" / "test_features.parts").exists()


KILLED_BEFORE = {
    "the index": ("index.parquet",),
    "the manifest": ("parts/manifest.parquet",),
    "the index, twice": ("features.dat.csv", "index.parquet"),
    "the description": ("merged.json",),
}


@pytest.mark.parametrize("names", KILLED_BEFORE.values(), ids=KILLED_BEFORE)
def test_a_merge_that_is_killed_goes_on(names, images, tmp_path):
    options = ("--largest-features-file", PARTS, "--no-report", "--verify", "off")
    words = images[0].parent, "--work-dir", tmp_path / "parts", "--executor", "inline", *options
    assert run(*words).returncode == 0
    for seed, name in enumerate(names):
        save_cloudy(tmp_path / f"{seed}", COUNT + 2, (41, 41))[-1 - seed].replace(images[seed])
        folder = tmp_path / f"kill-{seed}"
        folder.mkdir()
        assert run(*words, PYTHONPATH=dying_before(folder, name)).returncode < 0
    assert find(images[0].parent, tmp_path / "parts").summary["read"] == 0
    assert_same(tmp_path / "parts", one_file(images[0].parent, tmp_path / "whole"))
    new_rows(tmp_path / "parts", {})


@pytest.mark.parametrize("how", ["cut", "flipped", "gone", "index"])
def test_damage_costs_the_images_of_one_part(how, images, tmp_path):
    find(images[0].parent, tmp_path / "parts")
    whole = one_file(images[0].parent, tmp_path / "whole")
    part = tmp_path / "parts" / layout.FEATURES_INDEX if how == "index" else part_of(tmp_path / "parts", 5)
    if how == "gone":
        part.unlink()
    else:
        damage(part, how)
    read = fastdup.make_plan if how == "index" else fastdup.load_binary_feature  # a plan without pairs reads no part
    with pytest.raises((DamagedError, FileNotFoundError)):
        read(tmp_path / "parts")
    assert find(images[0].parent, tmp_path / "parts").summary["read"] == (0 if how == "index" else ROWS)
    assert_same(tmp_path / "parts", whole)
    new_rows(tmp_path / "parts", {})


def part_of(work_dir: Path, row: int) -> Path:
    index = read_index(work_dir / layout.FEATURES_INDEX)
    return work_dir / index.parts[int(index.locate(np.array([row]))[0][0])].name


def test_embeddings_of_the_user_replace_parts(images, tmp_path):
    find(images[0].parent, tmp_path / "parts")
    rows = np.eye(3, dtype=np.float32)
    fastdup.save_binary_feature(tmp_path / "parts", ["a", "b", "c"], rows, overwrite=True)
    names, stored = fastdup.load_binary_feature(tmp_path / "parts")
    assert names == ["a", "b", "c"]
    np.testing.assert_array_equal(stored, rows)
    assert not (tmp_path / "parts" / layout.FEATURE_PARTS).exists()


def test_parts_in_a_bucket(bucket, images, tmp_path):
    find(images[0].parent, bucket.work_dir)
    before = {name for name in bucket.output_names() if name.endswith(".shard")}
    assert len(before) == COUNT / ROWS
    save_cloudy(tmp_path / "other", COUNT + 1, (41, 41))[-1].replace(images[5])
    assert find(images[0].parent, bucket.work_dir).summary["read"] == 1
    after = {name for name in bucket.output_names() if name.endswith(".shard")}
    assert len(after - before) == 1
    assert after > before
    expected = outputs(one_file(images[0].parent, tmp_path / "whole"))
    made = bucket.outputs()
    assert {name: made.get(name) for name in SAME_BYTES if name in expected and name != "features.dat"} == {
        name: content for name, content in expected.items() if name != "features.dat"
    }
    names, rows = fastdup.load_binary_feature(f"{bucket.work_dir}/features.dat")
    expected_names, expected_rows = fastdup.load_binary_feature(tmp_path / "whole")
    assert names == expected_names
    np.testing.assert_array_equal(rows, expected_rows)
