"""What a finished run says to programs: tables, data frames, FiftyOne's JSON, lists of files."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from fastdup_ray import RunResult, export, load_binary_feature, make_plan
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.errors import ConfigError, InputError
from tests.helpers.commands import call
from tests.helpers.images import save_cloudy
from tests.helpers.runs import csv_rows, run_inline


@pytest.fixture
def out(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "file"),
    [
        ("similarity", "similarity.csv"),
        ("outliers", "outliers.csv"),
        ("exact_copies", "exact_copies.csv"),
        ("bad", "features.bad.csv"),
        ("components", "connected_components.csv"),
    ],
)
def test_every_table_is_arrow_and_has_what_the_csv_has(out, table, file):
    found = getattr(RunResult.open(out.as_posix()), table)
    header, *rows = csv_rows(out / file)
    assert isinstance(found, pa.Table)
    assert found.column_names[: len(header)] == header
    assert found.num_rows == len(rows) > 0
    frame = found.to_pandas()
    for name, column in zip(header, zip(*rows, strict=True), strict=True):
        if pd.api.types.is_numeric_dtype(frame[name]):
            assert [float(cell) if cell else None for cell in column] == pytest.approx(
                [None if pd.isna(value) else value for value in frame[name]]
            )
        else:
            assert list(column) == list(frame[name])


def test_one_data_frame_says_it_all_of_each_image(out, truth):
    frame = RunResult.open(str(out)).to_pandas()
    names, _ = load_binary_feature(str(out / "features.dat"))
    assert list(frame["filename"]) == names
    copies = {row[0]: row[1:] for row in csv_rows(out / "exact_copies.csv")[1:]}
    assert {
        row.filename: [row.copy_of, row.copy_kind] for row in frame.itertuples() if isinstance(row.copy_of, str)
    } == copies
    for _, group in frame[frame["count"] > 1].groupby("component_id"):
        assert len({truth[name].group for name in group["filename"]}) == 1
        assert set(group["count"]) == {len(group)}


def test_a_scoring_has_tables_of_its_own(tmp_path):
    paths = save_cloudy(tmp_path / "in", 4)
    (tmp_path / "new").mkdir()
    shutil.copyfile(paths[3], tmp_path / "new" / "copy.jpg")
    run_inline(tmp_path / "in", tmp_path / "out")
    before = RunResult.open(str(tmp_path / "out")).similarity
    result = run_inline(tmp_path / "new", tmp_path / "out", run_mode=3)
    again = RunResult.open(str(tmp_path / "out"), scored=True)
    assert again.counts == result.counts
    assert again.images.num_rows == 1
    assert again.to_pandas().loc[0, "copy_of"] == str(paths[3])
    assert RunResult.open(str(tmp_path / "out")).similarity == before


def test_no_finished_run_is_told(tmp_path):
    with pytest.raises(InputError, match="No finished run in"):
        RunResult.open(str(tmp_path))
    with pytest.raises(InputError, match="No finished scoring in"):
        RunResult.open(str(tmp_path), scored=True)


# --- files ------------------------------------------------------------------------------------------------------------


def test_lists_follow_the_plan_and_together_are_all_images(out, capsys):
    names, _ = load_binary_feature(str(out / "features.dat"))
    suggested = {row.filename for row in make_plan(out, out.parent / "plan.json").rows if row.is_dropped}
    for format in ("drop-list", "keep-list"):
        assert call("export", out, "--format", format) == 0
        assert "fastdup-ray plan" in capsys.readouterr().out
    dropped, kept = ((out / name).read_text().splitlines() for name in ("drop.txt", "keep.txt"))
    assert set(dropped) == suggested
    assert sorted(dropped + kept) == sorted(names)
    assert dropped
    make_plan(out)
    plan = (out / "plan.csv").read_text().replace(",drop,", ",keep,", 1)
    (out / "plan.csv").write_text(plan)
    told = export(out, "drop-list")
    assert (told.count, told.by) == (len(dropped) - 1, str(out / "plan.csv"))
    assert (out / "drop.txt").read_text().splitlines() == [
        row.filename for row in read_plan(out / "plan.csv") if row.is_dropped
    ]
    told = export(out, "drop-list", save_path=out.parent / "else.txt", plan=out.parent / "plan.json")
    assert told.count == len(dropped)
    assert (out.parent / "else.txt").read_text().splitlines() == dropped


def test_a_kept_list_is_an_input_without_copies(out, tmp_path):
    export(out, "keep-list", tmp_path / "keep.txt")
    result = run_inline(tmp_path / "keep.txt", tmp_path / "again")
    assert result.counts["exact_copies"] == 0
    assert result.counts["bad"] == 0
    assert result.counts["images"] == len((tmp_path / "keep.txt").read_text().splitlines())


def test_odd_names_come_whole(tmp_path):
    paths = save_cloudy(tmp_path / "in", 2)
    odd = tmp_path / "in" / "b\nnew, line.jpg"
    shutil.copyfile(paths[0], odd)
    latin = os.fsdecode(os.fsencode(tmp_path / "in") + b"/z\xe9.jpg")
    shutil.copyfile(paths[1], latin)
    run_inline(tmp_path / "in", tmp_path / "out")
    with pytest.raises(InputError, match=r"line break .*null=True"):
        export(tmp_path / "out", "drop-list")
    assert not (tmp_path / "out" / "drop.txt").exists()
    export(tmp_path / "out", "drop-list", null=True)
    listed = (tmp_path / "out" / "drop.txt").read_bytes().split(b"\0")
    assert listed == [os.fsencode(odd), os.fsencode(latin), b""]


def test_fiftyone_has_a_sample_for_each_picture(out, truth):
    told = export(out, "fiftyone")
    content = json.loads((out / "fiftyone.json").read_text(encoding="utf-8"))
    assert content["name"] == "out"
    assert content["media_type"] == "image"
    samples = {sample["filepath"]: sample for sample in content["samples"]}
    frame = RunResult.open(str(out)).to_pandas().set_index("filename")
    assert set(samples) == set(frame.index)
    assert told.count == len(samples)
    dropped = {row.filename: row.keeper for row in make_plan(out).rows if row.is_dropped}
    outliers = {row[0] for row in csv_rows(out / "outliers.csv")[1:]}
    for name, sample in samples.items():
        row = frame.loc[name]
        assert sample["metadata"] == {
            "_cls": "ImageMetadata",
            "size_bytes": os.path.getsize(name),
            "mime_type": f"image/{row.format.lower()}",
            "width": row.width,
            "height": row.height,
        }
        assert sample["tags"] == ["drop" if name in dropped else "keep"] + ["outlier"] * (name in outliers)
        assert sample.get("keeper") == dropped.get(name)
        assert sample["component_id"] == row.component_id
        assert sample["count"] == row["count"]
        assert sample["brightness"] == pytest.approx(row.brightness)
        assert None not in sample.values()


def test_fiftyone_has_labels_as_classifications(tmp_path):
    save_cloudy(tmp_path / "in" / "cats", 2)
    run_inline(tmp_path / "in", tmp_path / "out", labels="folder")
    export(tmp_path / "out", "fiftyone")
    samples = json.loads((tmp_path / "out" / "fiftyone.json").read_text())["samples"]
    assert [sample["label"] for sample in samples] == [{"_cls": "Classification", "label": "cats"}] * 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"format": "parquet"}, "Invalid value for format: 'parquet' .*fiftyone, drop-list, keep-list"),
        ({"format": "fiftyone", "null": True}, "Invalid value for null"),
    ],
)
def test_wrong_parameters_are_told(out, arguments, text):
    with pytest.raises(ConfigError, match=text):
        export(out, **arguments)


def test_a_missing_run_and_a_missing_plan_are_told(out, tmp_path, capsys):
    assert call("export", tmp_path / "none", "--format", "drop-list") == 1
    assert "No finished run in" in capsys.readouterr().err
    assert call("export", out, "--format", "drop-list", "--plan", tmp_path / "no.csv") == 1
    assert "no.csv" in capsys.readouterr().err
    assert call("export", out, "--format", "other") == 2


def test_a_bucket_keeps_what_is_exported(bucket):
    for seed, path in enumerate(("a.jpg", "b.jpg")):
        bucket.put(path, (Path(__file__).parents[1] / "data/photos/originals/cat.jpg").read_bytes() + b"\0" * seed)
    run_inline(bucket.pictures, bucket.work_dir)
    told = export(bucket.work_dir, "drop-list")
    assert told.path == f"{bucket.work_dir}/drop.txt"
    assert bucket.output("drop.txt").decode() in (f"{bucket.uri('a.jpg')}\n", f"{bucket.uri('b.jpg')}\n")
