"""Labels and captions in files beside the images, such as those of a WebDataset."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fastdup_ray import RunConfig
from fastdup_ray.inputs.label_files import LARGEST, LONGEST
from fastdup_ray.inputs.labels import read_labels
from fastdup_ray.storage.tables import encode_names
from tests.checker import check
from tests.helpers.archives import KINDS, pack
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import csv_rows, run_inline

CAT, DOG = encode(cloudy(1, (160, 120)), "JPEG"), encode(cloudy(2, (160, 120)), "JPEG")
SAMPLES = {
    "cat.jpg": CAT,
    "cat.cls": b"3\n",
    "cat.json": json.dumps({"caption": "A cat,\n asleep", "size": [1, 2]}).encode(),
    "more/cat.jpg": CAT,
    "more/cat.cls": b"4",
    "more/cat.json": json.dumps({"caption": None}).encode(),
    "dog.v2.jpg": DOG,
    "dog.cls": b"5",
    "dog.json": b"[no JSON",
}


def unpack(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def labels_of(work_dir: Path) -> dict[str, str | None]:
    """By the name of the image below its folder or archive."""
    table = pq.read_table(work_dir / "images.parquet")
    names = [name.rpartition("!/")[2].rpartition("/in/")[2] for name in table["filename"].to_pylist()]
    return dict(zip(names, table["label"].to_pylist(), strict=True))


@pytest.mark.parametrize("kind", ["folder", *KINDS])
def test_the_labels_of_samples_stand_in_the_tables_and_in_the_report(kind, tmp_path):
    samples = unpack(tmp_path / "in", SAMPLES) if kind == "folder" else pack(tmp_path / f"in{kind}", SAMPLES)
    result = run_inline(samples, tmp_path / "out", labels=".cls")
    assert labels_of(tmp_path / "out") == {"cat.jpg": "3", "more/cat.jpg": "4", "dog.v2.jpg": "5"}
    assert [row[3:] for row in csv_rows(tmp_path / "out/label_conflicts.csv")[1:]] == [["3", "4"], ["4", "3"]]
    assert result.summary["skipped"] == {}
    assert "Images by label" in (tmp_path / "out/report/index.html").read_text()
    assert check(tmp_path / "out") == []


def test_a_field_of_a_json_file_is_the_caption(tmp_path):
    run_inline(pack(tmp_path / "in.tar", SAMPLES), tmp_path / "out", labels=".json:caption", report=False)
    assert labels_of(tmp_path / "out") == {"cat.jpg": "A cat, asleep", "more/cat.jpg": None, "dog.v2.jpg": None}
    run_inline(tmp_path / "in.tar", tmp_path / "out", labels=".json:size", report=False)
    assert labels_of(tmp_path / "out")["cat.jpg"] == "[1, 2]"


def test_a_caption_that_changed_is_a_new_run(tmp_path):
    unpack(tmp_path / "in", SAMPLES)
    run_inline(tmp_path / "in", tmp_path / "out", labels=".cls")
    before = (tmp_path / "out/summary.json").stat().st_mtime_ns
    run_inline(tmp_path / "in", tmp_path / "out", labels=".cls")
    assert (tmp_path / "out/summary.json").stat().st_mtime_ns == before
    (tmp_path / "in/cat.cls").write_bytes(b"6")
    run_inline(tmp_path / "in", tmp_path / "out", labels=".cls")
    assert labels_of(tmp_path / "out")["cat.jpg"] == "6"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (b"  two\t words \r\n", "two words"),
        (b"", None),
        (b" \n", None),
        (b"\xef\xbb\xbfcaf\xc3\xa9", "café"),
        (b"caf\xe9", "caf\\xe9"),
        (b"x" * (LONGEST + 1), "x" * LONGEST),
        (b"x" * (LARGEST + 1), None),
    ],
)
def test_a_label_is_one_short_line(text, label, tmp_path):
    unpack(tmp_path, {"a.jpg": CAT, "a.txt": text, "b.jpg": CAT})
    names = encode_names([str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg"), "/not/there.jpg"])
    assert read_labels(".txt", names).to_pylist() == [label, None, None]


def test_a_file_of_that_name_is_a_list_of_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunConfig.of(input_dir="a", labels=".cls").labels == ".cls"
    (tmp_path / ".cls").write_text("filename,label\na.jpg,x\n")
    assert RunConfig.of(input_dir="a", labels=".cls").labels == os.path.abspath(".cls")


def test_labels_in_a_bucket_are_read_there(bucket, tmp_path):
    for name, data in SAMPLES.items():
        bucket.put(f"in/{name}", data)
    run_inline(bucket.uri("in"), tmp_path / "out", labels=".cls", report=False)
    assert set(labels_of(tmp_path / "out").values()) == {"3", "4", "5"}
