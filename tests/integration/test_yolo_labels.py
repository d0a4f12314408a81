"""Runs on the boxes of YOLO's text files, and what goes back to such files."""

import csv
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import fastdup_ray as fastdup
from fastdup_ray import RunResult
from fastdup_ray.errors import InputError
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.thumbnails import make_thumbnail
from fastdup_ray.inputs.annotations import Annotations
from tests.checker import check
from tests.conftest import Bucket
from tests.helpers.boxes import CAT, COFFEE, COPY, FLOWERS, make_coco, save_json, save_photos
from tests.helpers.commands import call
from tests.helpers.runs import csv_rows, run_inline

FACE, FACE_NAME = "0.425 0.35 0.4 0.500000", "#xywh=percent:22.5,10,40,50"
TEXTS = {
    "cat.txt": f"0 {FACE}\n0 {FACE}\r\n\n",  # annotated twice
    "more photos/cat copy.txt": f"2 {FACE}",  # mislabelled, and the same pixels
    "coffee.txt": "1 0.333333 0.4 0.333333 0.300000 0.875\n1   0.2 0.2 0.3 0.2 0.3 0.4\n",
    "daffodils.txt": "",
}
NAMES = "path: ../x\nnames:\n  0: cat\n  1: cup\n  2: dog\n"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A data set as ultralytics has them: images/, labels/ and data.yaml."""
    save_photos(tmp_path / "ds" / "images")
    save_texts(tmp_path / "ds" / "labels")
    (tmp_path / "ds" / "data.yaml").write_text(NAMES)
    return tmp_path / "ds"


def save_texts(folder: Path) -> None:
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())


def names(work_dir: Path) -> list[str]:
    return [row[1] for row in csv_rows(work_dir / "features.dat.csv")[1:]]


def read_zip(path: str) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_each_line_is_an_image(dataset, tmp_path):
    result = run_inline(dataset / "images", tmp_path / "out", annotations=dataset / "labels")
    root = f"{dataset}/images"
    assert names(tmp_path / "out") == [
        f"{root}/{CAT}{FACE_NAME}",
        f"{root}/{CAT}{FACE_NAME}&n=2",
        f"{root}/{COFFEE}#xywh=percent:16.66665,25,33.3333,30",
        f"{root}/{COFFEE}#xywh=percent:20,20,10,20",
        f"{root}/{COPY}{FACE_NAME}",
    ]
    images = result.images
    assert images["label"].to_pylist() == ["cat", "cat", "cup", "cup", "dog"]
    with Image.open(dataset / "images" / CAT) as image:
        width, height = image.size
    assert images["width"][0].as_py() == int(width * 0.625 + 0.5) - int(width * 0.225 + 0.5)
    assert images["height"][0].as_py() == int(height * 0.6 + 0.5) - int(height * 0.1 + 0.5)
    assert csv_rows(tmp_path / "out" / "exact_copies.csv")[1:] == [
        [f"{root}/{CAT}{FACE_NAME}&n=2", f"{root}/{CAT}{FACE_NAME}", "bytes"],
        [f"{root}/{COPY}{FACE_NAME}", f"{root}/{CAT}{FACE_NAME}", "pixels"],
    ]
    conflicts = {tuple(row[:2]) for row in csv_rows(tmp_path / "out" / "label_conflicts.csv")[1:]}
    assert (f"{root}/{CAT}{FACE_NAME}", f"{root}/{COPY}{FACE_NAME}") in conflicts
    assert check(tmp_path / "out", dataset / "images") == []
    with strict_pillow(10**8):
        thumbnail = make_thumbnail(f"{root}/{CAT}{FACE_NAME}")
    assert thumbnail.facts is not None
    assert (thumbnail.facts.width, thumbnail.facts.sha256) == (images["width"][0].as_py(), images["sha256"][0].as_py())
    assert fastdup.compare(f"{root}/{CAT}{FACE_NAME}", f"{root}/{COPY}{FACE_NAME}").relation == "same"
    found = RunResult.open(tmp_path / "out").search(f"{root}/{CAT}{FACE_NAME}", 3, verify=True).to_pydict()
    assert found["relation"] == ["same", "same", "same"]
    parts = fastdup.split_dataset(tmp_path / "out", parts="train=0.5,test=0.5")
    part_of = {row[0].partition("#")[0]: row[1] for row in csv_rows(Path(parts.path))[1:]}
    assert part_of[f"{root}/{CAT}"] == part_of[f"{root}/{COPY}"]


def test_the_pixels_are_those_of_the_same_boxes_in_coco(dataset, tmp_path):
    """Also in a photo that is stored sideways."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = dataset / "images" / CAT
    with Image.open(photo) as image:
        width, height = image.size
        image.transpose(Image.Transpose.ROTATE_90).save(photo, exif=exif, quality=95)
    left, top, right, bottom = (int(edge + 0.5) for edge in (width * 0.225, height * 0.1, width * 0.625, height * 0.6))
    coco = make_coco([(CAT, [left, top, right - left, bottom - top], "cat")])
    run_inline(dataset / "images", tmp_path / "coco", annotations=save_json(tmp_path / "coco.json", coco), report=False)
    run_inline(dataset / "images", tmp_path / "yolo", annotations=dataset / "labels", report=False)
    (own, *_), (other, *_) = (fastdup.load_binary_feature(tmp_path / kind)[1].tolist() for kind in ("yolo", "coco"))
    assert own == other
    both = tmp_path / "both.txt"
    both.write_text(f"{photo}#xywh={left},{top},{right - left},{bottom - top}\n{photo}{FACE_NAME}\n")
    run_inline(both, tmp_path / "both", report=False)
    assert [row[2] for row in csv_rows(tmp_path / "both" / "exact_copies.csv")[1:]] == ["pixels"]


def test_every_usual_layout_has_the_same_boxes(dataset, tmp_path):
    """Without a run: the names of the boxes are what a run lists."""
    beside, roboflow = tmp_path / "beside", tmp_path / "roboflow"
    save_texts(save_photos(beside))
    (beside / "classes.txt").write_text("cat\ncup\ndog\n")
    shutil.copytree(dataset / "images", roboflow / "train" / "images")
    shutil.copytree(dataset / "labels", roboflow / "train" / "labels")
    shutil.copy(dataset / "data.yaml", roboflow / "data.yaml")
    (roboflow / "README.txt").write_text("not 1 label")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in (dataset / "images").rglob("*.*"):
            archive.write(path, path.relative_to(dataset / "images").as_posix())
    found = {}
    for annotations, root in (
        (dataset / "labels", dataset / "images"),
        (dataset / "data.yaml", dataset / "images"),
        (dataset / "data.yaml", dataset),
        (dataset, dataset),
        (beside, beside),
        (roboflow / "data.yaml", roboflow),
        (dataset / "labels", tmp_path / "photos.zip"),
    ):
        source = Annotations(str(annotations), str(root))
        source.check()
        refs = list(source.list_boxes())
        assert all(ref.mtime_or_etag for ref in refs)
        boxes = [os.path.basename(ref.uri.replace("!/", "/")) for ref in refs]
        labels = source.read_labels(source.names(source.read())).to_pylist()
        found[annotations, root] = sorted(zip(boxes, labels, strict=True))
    first = found[dataset / "labels", dataset / "images"]
    assert len(first) == 5
    assert {label for _, label in first} == {"cat", "cup", "dog"}
    assert all(boxes == first for boxes in found.values())
    (dataset / "data.yaml").unlink()
    source = Annotations(f"{dataset}/labels", f"{dataset}/images")
    assert source.read_labels(source.names(source.read())).to_pylist() == ["0", "0", "1", "1", "2"]


def test_bad_lines_are_listed_or_left_out(dataset, tmp_path, caplog):
    labels = dataset / "labels"
    (labels / "coffee.txt").write_text(
        "1 0.5 0.5 0 0.2\n1 0.05 0.5 0.2 0.2\n1 1.5 0.5 0.2 0.2\n1 0.5 0.5 0.2\n# a comment\n"
        "1 500 0.5 0.2 0.2\n1 0.9 0.9 0.4 0.4\n9 0.5 0.5 0.2 0.2\n"
    )
    (labels / "gone.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (dataset / "images" / FLOWERS).write_bytes(b"no photo")
    (labels / "daffodils.txt").write_bytes(b"\xef\xbb\xbf0 0.5 0.5 0.5 0.5\n\xff\xfe 1 2 3 4\n")
    result = run_inline(dataset / "images", tmp_path / "out", annotations=labels, report=False)
    root = f"{dataset}/images/"
    bad = {row[0].removeprefix(root): row[1] for row in csv_rows(tmp_path / "out" / "features.bad.csv")[1:]}
    assert bad == {
        f"{COFFEE}#xywh=percent:50,40,0,20": "TOO_SMALL",
        f"{COFFEE}#xywh=percent:140,40,20,20": "BOUNDING_BOX_OUTSIDE",
        f"{FLOWERS}#xywh=percent:25,25,50,50": "NOT_AN_IMAGE",
    }
    own = {row["filename"].removeprefix(root): row for row in result.images.to_pylist()}
    with Image.open(dataset / "images" / COFFEE) as image:
        width = image.size[0]
    assert own[f"{COFFEE}#xywh=percent:0,40,15,20"]["width"] == int(width * 0.15 + 0.5)  # clipped
    assert own[f"{COFFEE}#xywh=percent:70,70,40,40"]["width"] == width - int(width * 0.7 + 0.5)
    assert own[f"{COFFEE}#xywh=percent:40,40,20,20"]["label"] == "9"
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("4 of 13 annotations" in line and "no valid box 4" in line for line in lines)
    assert any(line.endswith(": 1.") for line in lines)


# --- export -----------------------------------------------------------------------------------------------------------


def test_lines_that_are_kept_are_not_rewritten(dataset, tmp_path):
    (dataset / "labels" / "gone.txt").write_text("0 0.5 0.5 0.5 0.5\n")  # without a photo
    run_inline(dataset / "images", tmp_path / "out", annotations=dataset / "labels", report=False)
    plan = fastdup.make_plan(tmp_path / "out")
    assert "--format yolo" in plan.text()
    dropped = {row.filename.rpartition("/")[2] for row in plan.rows if row.is_dropped}
    assert len(dropped) == 2
    written = read_zip(fastdup.export(tmp_path / "out", "yolo").path)
    expected = {f"labels/{name}": text for name, text in TEXTS.items()} | {
        "labels/gone.txt": "0 0.5 0.5 0.5 0.5\n",
        "data.yaml": NAMES,
    }
    if f"{CAT}{FACE_NAME}" in dropped:  # both boxes of it: the keeper is that of the copy
        del expected["labels/cat.txt"]
    else:
        expected["labels/cat.txt"] = f"0 {FACE}\n\n"
        del expected["labels/more photos/cat copy.txt"]
    assert written == expected
    again = fastdup.export(tmp_path / "out", "yolo", tmp_path / "again.zip")
    assert read_zip(again.path) == written
    assert again.count == len(written) - 1
    with zipfile.ZipFile(again.path) as archive:
        archive.extractall(tmp_path / "new")
    kept = run_inline(dataset / "images", tmp_path / "clean", annotations=tmp_path / "new" / "labels", report=False)
    assert csv_rows(tmp_path / "clean" / "exact_copies.csv")[1:] == []
    assert kept.counts["images"] == 3
    with pytest.raises(InputError):
        fastdup.export(tmp_path / "out", "coco")
    with open(fastdup.export(tmp_path / "out", "csv").path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    run_inline(dataset / "images", tmp_path / "csv", annotations=tmp_path / "out" / "kept.csv", report=False)
    features = [fastdup.load_binary_feature(tmp_path / name)[1].tolist() for name in ("csv", "clean")]
    assert sorted(features[0]) == sorted(features[1])  # the same pixels


def test_boxes_of_coco_have_the_same_pixels_after_an_export_to_yolo(dataset, tmp_path):
    boxes = [(CAT, [101, 31, 177, 151], "cat"), (COFFEE, [99, 101, 201, 119], "cup"), (COFFEE, [0, 0, 77, 33], "cup")]
    coco = save_json(tmp_path / "coco.json", make_coco(boxes))
    run_inline(dataset / "images", tmp_path / "coco", annotations=coco, report=False)
    with zipfile.ZipFile(fastdup.export(tmp_path / "coco", "yolo").path) as archive:
        archive.extractall(tmp_path / "yolo")
    run_inline(dataset / "images", tmp_path / "out", annotations=tmp_path / "yolo" / "labels", report=False)
    (_, first), (_, second) = (fastdup.load_binary_feature(tmp_path / name) for name in ("coco", "out"))
    assert first.tolist() == second.tolist()
    labels = [RunResult.open(tmp_path / name).images["label"].to_pylist() for name in ("coco", "out")]
    assert labels[0] == labels[1] == ["cat", "cup", "cup"]


def test_texts_of_dropped_photos_are_left_out(dataset, tmp_path):
    run_inline(dataset / "images", tmp_path / "out", report=False)
    (dropped,) = [row.filename for row in fastdup.make_plan(tmp_path / "out").rows if row.is_dropped]
    gone = f"labels/{os.path.splitext(os.path.relpath(dropped, dataset / 'images'))[0]}.txt"
    written = read_zip(fastdup.export(tmp_path / "out", "yolo", annotations=dataset / "data.yaml").path)
    expected = {f"labels/{name}": text for name, text in TEXTS.items()} | {"data.yaml": NAMES}
    del expected[gone]
    assert written == expected


# --- runs, again and elsewhere ----------------------------------------------------------------------------------------


def test_a_run_sees_what_changed(dataset, tmp_path):
    run_inline(dataset / "images", tmp_path / "out", annotations=dataset / "labels", report=False)
    stamp = (tmp_path / "out" / "summary.json").stat().st_mtime_ns
    run_inline(dataset / "images", tmp_path / "out", annotations=dataset / "labels", report=False)
    assert (tmp_path / "out" / "summary.json").stat().st_mtime_ns == stamp
    (dataset / "data.yaml").write_text("names: [kitten, cup, dog]")
    (dataset / "labels" / "daffodils.txt").write_text("1 0.5 0.5 0.5 0.5")
    more = run_inline(
        dataset / "images", tmp_path / "out", annotations=dataset / "labels", report=False, incremental=True
    )
    assert more.summary["read"] == 1
    assert "kitten" in more.images["label"].to_pylist()


def test_labels_and_photos_may_be_in_a_bucket(bucket: Bucket, dataset, tmp_path):
    own = run_inline(dataset / "images", tmp_path / "out", annotations=dataset / "labels", report=False)
    bucket.put_folder(dataset / "images")
    for path in dataset.rglob("*"):
        if path.suffix in (".txt", ".yaml"):
            labels = bucket.put(f"ds/{path.relative_to(dataset).as_posix()}", path.read_bytes())
    labels = f"{labels.partition('/ds/')[0]}/ds/labels"
    result = run_inline(bucket.pictures, bucket.work_dir, annotations=labels, report=False)
    uris = [name.replace(f"{dataset}/images", bucket.pictures) for name in own.images["filename"].to_pylist()]
    assert result.images["filename"].to_pylist() == uris
    assert result.images["label"].to_pylist() == own.images["label"].to_pylist()
    assert result.counts == own.counts
    same = [Annotations(name, bucket.pictures) for name in (labels, f"{labels}/")]
    assert same[0].names(same[0].read()) == same[1].names(same[1].read())
    for gone in ("gone/", "gone.json", "gone.yaml"):
        with pytest.raises(InputError, match=gone.rstrip("/")):
            source = Annotations(f"{labels}/{gone}", bucket.pictures)
            source.check()
            source.read()
    written = read_zip(fastdup.export(result.work_dir, "yolo", tmp_path / "s3.zip").path)
    assert written == read_zip(fastdup.export(tmp_path / "out", "yolo").path)


def test_what_is_no_data_set_is_one_line(dataset, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "x.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "bad.yaml").write_text("names: [")
    (tmp_path / "background").mkdir()
    (tmp_path / "background" / "cat.txt").touch()
    (tmp_path / "large").mkdir()
    with open(tmp_path / "large" / "cat.txt", "wb") as file:
        file.truncate((16 << 20) + 1)
    for annotations in ("empty", "others", "bad.yaml", "gone", "gone.yaml", "background", "large"):
        out = tmp_path / f"out {annotations}"
        assert call("run", dataset / "images", "--annotations", tmp_path / annotations, "-o", out) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert str(tmp_path / annotations) in line
        assert not (out / "features.dat").exists()
