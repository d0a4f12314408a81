"""Datasets of Hugging Face as they lie on disk, in a bucket, and in the cache: files of splits."""

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from fastdup_ray import RunConfig
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.errors import InputError
from fastdup_ray.inputs import SkippedFiles, check_inputs, list_images, read_entry
from fastdup_ray.inputs.references import reference_mask
from fastdup_ray.inputs.splits import find_split
from fastdup_ray.inputs.suffixes import TABLE_SUFFIXES, get_split
from fastdup_ray.inputs.tables import is_table_name
from fastdup_ray.storage.tables import encode_names
from tests.helpers.tables import listed, picture, write_arrow, write_parquet

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path) -> Path:
    """Return a dataset in the layout of the hub."""
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("A dataset.")
    for name, rows in (("train-00000-of-00002", 4), ("train-00001-of-00002", 3), ("test-00000-of-00001", 2)):
        write_parquet(folder / "data" / f"{name}.parquet", rows=rows)
    return folder


def saved(folder: Path) -> Path:
    """Return a dataset in the layout of `DatasetDict.save_to_disk`."""
    for split, rows in (("test", 2), ("train", 3)):
        (folder / split).mkdir(parents=True)
        write_arrow(folder / split / "data-00000-of-00001.arrow", rows, 2)
        write_arrow(folder / split / "cache-1b2c.arrow", 1)
        (folder / split / "state.json").write_text("{}")
    return folder


def names(*locations: object) -> list[str]:
    return [ref.uri for ref in listed(*locations)]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("s3://bucket/a/test-A-00010-of-12345.parquet", "test-A"),
        ("data-00000-of-00001.arrow", "data"),
        ("validation-00000-of-00001-0123456789abcdef.parquet", "validation"),
        ("part-00000.parquet", None),
        ("train.parquet", None),
        ("-00000-of-00001.parquet", None),
        ("train-00000-of-00002.csv", None),
        ("cache-0123456789abcdef.arrow", None),
    ],
)
def test_parts_of_datasets_are_known_by_their_names(name, split):
    assert get_split(name) == split


def test_a_folder_is_all_of_its_splits(hub):
    data = hub / "data"
    expected = [("test-00000-of-00001", 2), ("train-00000-of-00002", 4), ("train-00001-of-00002", 3)]
    uris = [f"{data}/{name}.parquet!/{row:08d}-{row}.jpg" for name, rows in expected for row in range(rows)]
    assert names(hub) == names(data) == uris


@pytest.mark.parametrize("location", ["train", "data/train"])
def test_a_split_is_an_input(hub, location):
    found = listed(hub / location)
    assert len(found) == 7
    assert all("/data/train-0000" in ref.uri for ref in found)
    assert [read_entry(ref) for ref in found] == [picture(seed) for seed in (0, 1, 2, 3, 0, 1, 2)]
    check_inputs(RunConfig.of(input_dir=str(hub / location), work_dir="unused"))


def test_a_split_that_is_not_there_is_refused(hub):
    with pytest.raises(InputError):
        check_inputs(RunConfig.of(input_dir=str(hub / "tra"), work_dir="unused"))


def test_a_bucket_is_no_split():
    assert find_split("s3://train", DEFAULT_ACCESS) == find_split("s3://train/", DEFAULT_ACCESS) == []


def test_patterns_choose_splits(hub):
    config = RunConfig.of(input_dir=str(hub), work_dir="unused", include=["data/test-*"])
    assert len(list(list_images(config))) == 2


def test_a_saved_dataset_is_read_without_its_caches(tmp_path):
    folder = saved(tmp_path / "saved")
    assert [name.rpartition("/saved/")[2] for name in names(folder)] == [
        *(f"test/data-00000-of-00001.arrow!/0000000{row}-{row}.jpg" for row in range(2)),
        *(f"train/data-00000-of-00001.arrow!/0000000{row}-{row}.jpg" for row in range(3)),
    ]
    assert len(names(folder / "train")) == 3


def test_tables_without_images_are_skipped(tmp_path, hub):
    write_parquet(hub / "data" / "text-00000-of-00001.parquet", text=pa.array(["x"]))
    skipped = SkippedFiles()
    config = RunConfig.of(input_dir=str(hub), work_dir="unused")
    assert len(list(list_images(config, skipped))) == 9
    assert skipped.counts()[".parquet"] == 1


def test_other_tables_in_a_folder_are_read_if_they_are_asked_for(tmp_path):
    (tmp_path / "part").mkdir()
    write_parquet(tmp_path / "part" / "0.parquet", rows=2)
    write_arrow(tmp_path / "b.arrow", rows=1)
    write_parquet(tmp_path / "n.parquet", n=pa.array([1]))
    (tmp_path / "a.jpg").write_bytes(picture(0))
    skipped = SkippedFiles()
    found = [
        [ref.uri[len(str(tmp_path)) + 1 :] for ref in list_images(config, skipped)]
        for patterns in ([], ["*.jpg"], ["*.parquet"], ["*.arrow", "part"])
        for config in [RunConfig.of(input_dir=str(tmp_path), work_dir="unused", include=patterns)]
    ]
    rows = ["part/0.parquet!/00000000-0.jpg", "part/0.parquet!/00000001-1.jpg"]
    assert found == [["a.jpg"], ["a.jpg"], rows, ["b.arrow!/00000000-0.jpg", *rows]]
    assert skipped.counts() == {".parquet": 3, ".arrow": 1}


def test_suffixes_of_tables_are_those_that_are_read():
    assert all(is_table_name(f"a{suffix}") for suffix in TABLE_SUFFIXES)


def test_damaged_parts_are_bad_images(hub):
    (hub / "data" / "train-00000-of-00002.parquet").write_bytes(b"PAR1")
    assert names(hub)[2] == str(hub / "data" / "train-00000-of-00002.parquet")


@pytest.mark.parametrize(("reference", "part"), [("", "/hub/"), ("/train", "/train-"), ("/data/train", "/train-")])
def test_a_split_of_references_is_all_of_its_images(hub, reference, part):
    every = [*names(hub), str(hub / "other.jpg")]
    assert reference_mask([f"{hub}{reference}"], encode_names(every)).tolist() == [part in name for name in every]


def cache(home: Path, monkeypatch) -> Path:
    """Return the folder of a dataset in the cache of huggingface_hub, which is offline."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(home))
    folder = home / "hub" / "datasets--owner--photos"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION)
    return folder / "snapshots" / REVISION


def test_a_dataset_of_the_hub_is_read_from_its_cache(hub, tmp_path, monkeypatch):
    folder = cache(tmp_path / "home", monkeypatch)
    folder.parent.mkdir()
    hub.rename(folder)
    assert names("hf:owner/photos") == names(folder)
    assert names("hf:owner/photos/test") == names(folder / "test")
    assert names("hf:owner/photos/data/train") == names(folder / "train")
    all_names = encode_names(names(folder))
    assert reference_mask(["hf:owner/photos/test"], all_names).tolist() == [True] * 2 + [False] * 7
    for wrong in ("hf:owner/photos/tra", "hf:owner/missing", "hf:photos", "hf:"):
        with pytest.raises(InputError):
            check_inputs(RunConfig.of(input_dir=wrong, work_dir="unused"))


def test_files_with_numbers_belong_to_the_split_of_their_folder(tmp_path, monkeypatch):
    folder = cache(tmp_path / "home", monkeypatch)
    for place in ("default/train/0000", "default/test/0000", "other/train/0000"):
        (folder / place).parent.mkdir(parents=True)
        write_parquet(folder / f"{place}.parquet", rows=2)
    assert len(names("hf:owner/photos/train")) == 4
    assert len(names("hf:owner/photos/default/train")) == 2


def test_the_cache_of_datasets_is_used(tmp_path, monkeypatch):
    cache(tmp_path / "home", monkeypatch)
    folder = tmp_path / "home" / "datasets" / "owner___scans" / "default" / "0.0.0" / "abc"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    write_arrow(folder / "scans-train.arrow", 3)
    write_arrow(folder / "scans-test-00000-of-00001.arrow", 2)
    write_arrow(folder / "cache-abc.arrow", 1)
    assert len(names("hf:owner/scans")) == 5
    assert names("hf:owner/scans/train") == names(folder / "scans-train.arrow")
    assert len(names("hf:owner/scans/test")) == 2


def test_without_huggingface_hub_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError) as caught:
        names("hf:owner/anything")
    assert "pip install 'fastdup-ray[hf]'" in str(caught.value)


def test_a_folder_with_such_a_name_is_a_folder(tmp_path, monkeypatch):
    (tmp_path / "hf:owner" / "photos").mkdir(parents=True)
    (tmp_path / "hf:owner" / "photos" / "a.jpg").write_bytes(picture(1))
    monkeypatch.chdir(tmp_path)
    assert names("hf:owner/photos") == [str(tmp_path / "hf:owner" / "photos" / "a.jpg")]
