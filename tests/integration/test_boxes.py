"""Runs on the boxes of annotation files, and what goes back to such files."""

import json
import os
import shlex
import shutil
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import fastdup_ray as fastdup
from fastdup_ray import RunConfig, RunResult
from fastdup_ray.curation.report_service import ReportService
from fastdup_ray.errors import ConfigError, InputError, WorkDirError
from fastdup_ray.extract import boxes as decoded
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.thumbnails import CHANGED, make_thumbnail
from tests.checker import check
from tests.conftest import Bucket
from tests.helpers.boxes import CAT, COFFEE, COPY, FLOWERS, make_coco, save_json, save_photos
from tests.helpers.commands import call
from tests.helpers.runs import csv_rows, outputs, run_inline
from tests.helpers.s3_server import OPEN

FACE, SAUCER, BLOOM = [100.2, 30.4, 180.3, 150.1], [100, 100, 200, 120], [40, 60, 150, 170]
PLANTED = [
    (CAT, FACE, "cat"),
    (COPY, FACE, "dog"),  # mislabelled, and the same pixels
    (COFFEE, SAUCER, "cup"),
    (CAT, FACE, "cat"),  # annotated twice
    (FLOWERS, BLOOM, "flower"),
    (COFFEE, [300, 10, 80, 80], "cup"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_photos(tmp_path / "in")


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return save_json(tmp_path / "coco.json", make_coco(PLANTED))


def names(work_dir: Path) -> list[str]:
    return [row[1] for row in csv_rows(work_dir / "features.dat.csv")[1:]]


def count_decoded(monkeypatch) -> list[int]:
    """Sizes of the files that are decoded for their boxes, from now on."""
    sizes: list[int] = []
    decode = decoded.decode_photo

    def decode_and_count(data: bytes, *args, **options):
        sizes.append(len(data))
        return decode(data, *args, **options)

    monkeypatch.setattr(decoded, "decode_photo", decode_and_count)
    return sizes


def test_each_box_is_an_image(folder, coco, tmp_path):
    result = run_inline(folder, tmp_path / "out", annotations=coco)
    face, saucer = "#xywh=100,30,181,151", "#xywh=100,100,200,120"
    assert names(tmp_path / "out") == [
        f"{folder}/{CAT}{face}",
        f"{folder}/{CAT}{face}&n=2",
        f"{folder}/{COFFEE}{saucer}",
        f"{folder}/{COFFEE}#xywh=300,10,80,80",
        f"{folder}/{FLOWERS}#xywh=40,60,150,170",
        f"{folder}/{COPY}{face}",
    ]
    assert result.images["label"].to_pylist() == ["cat", "cat", "cup", "cup", "flower", "dog"]
    assert result.images["width"].to_pylist() == [181, 181, 200, 80, 150, 181]
    assert csv_rows(tmp_path / "out" / "exact_copies.csv")[1:] == [
        [f"{folder}/{CAT}{face}&n=2", f"{folder}/{CAT}{face}", "bytes"],
        [f"{folder}/{COPY}{face}", f"{folder}/{CAT}{face}", "pixels"],
    ]
    conflicts = {tuple(row[:2]) for row in csv_rows(tmp_path / "out" / "label_conflicts.csv")[1:]}
    assert (f"{folder}/{CAT}{face}", f"{folder}/{COPY}{face}") in conflicts
    assert result.counts["safe_to_drop"] == 2
    assert result.counts["safe_bytes"] == 0  # no file is dropped
    assert check(tmp_path / "out", folder) == []


def test_a_box_has_the_embedding_of_its_pixels_saved_as_an_image(folder, coco, tmp_path):
    run_inline(folder, tmp_path / "boxes", annotations=coco, report=False)
    crops = tmp_path / "crops"
    crops.mkdir()
    for number, (name, left, top, width, height) in enumerate(
        [(CAT, 100, 30, 181, 151), (COFFEE, 100, 100, 200, 120), (FLOWERS, 40, 60, 150, 170)]
    ):
        with Image.open(folder / name) as image:
            image.crop((left, top, left + width, top + height)).save(crops / f"{number}.png")
    run_inline(crops, tmp_path / "files", report=False)
    of_boxes = dict(zip(*fastdup.load_binary_feature(tmp_path / "boxes"), strict=True))
    _, of_files = fastdup.load_binary_feature(tmp_path / "files")
    chosen = [f"{CAT}#xywh=100,30,181,151", f"{COFFEE}#xywh=100,100,200,120", f"{FLOWERS}#xywh=40,60,150,170"]
    assert [of_boxes[f"{folder}/{name}"].tolist() for name in chosen] == of_files.tolist()


def test_a_photo_is_decoded_once_for_all_of_its_boxes(folder, tmp_path, monkeypatch):
    many = save_json(
        tmp_path / "many.json", make_coco([(CAT, [x, 2 * x, 60, 50], "a") for x in range(40)] + [(COFFEE, SAUCER, "b")])
    )
    read = count_decoded(monkeypatch)
    result = run_inline(folder, tmp_path / "out", annotations=many, report=False, verify="off", shard_size=100)
    assert result.counts["images"] == 41
    assert len(read) == 2


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_every_executor_writes_the_same(folder, coco, tmp_path, executor, request):
    if executor == "ray":
        request.getfixturevalue("ray_driver")
    run_inline(folder, tmp_path / "inline", annotations=coco)
    run_inline(folder, tmp_path / "other", annotations=coco, executor=executor, shard_size=2)
    assert outputs(tmp_path / "other") == outputs(tmp_path / "inline")


def test_bad_boxes_are_listed_or_left_out(folder, tmp_path, caplog):
    odd = [
        *PLANTED,
        (COFFEE, [10, 10, 0, 50], "cup"),
        (COFFEE, [10, 10, -5, 50], "cup"),
        (COFFEE, [-20, -10.4, 100, 100], "cup"),
        (COFFEE, [400, 200, 9000, 9000], "cup"),
        (COFFEE, [4000, 10, 20, 20], "cup"),
        ("gone.jpg", [1, 2, 30, 40], "cup"),
        (COFFEE, [1, 2, 3], "cup"),
        (COFFEE, None, "cup"),
        (COFFEE, [1, 2, "3", True], "cup"),
        (COFFEE, [1, 2, float("nan"), 4], "cup"),
        (COFFEE, [1, 2, 1e300, 4], "cup"),
    ]
    content = make_coco(odd)
    content["images"].append({"id": 4, "file_name": FLOWERS})  # another id of the same photo
    content["images"].append({"id": 5, "file_name": "no boxes.jpg"})
    content["annotations"] += [
        {"id": 0, "image_id": 4, "bbox": BLOOM, "category_id": 0},
        {"id": 0, "image_id": 99, "bbox": BLOOM, "category_id": 0},  # of no image
        {"id": 0, "image_id": 4, "bbox": [5, 5, 90, 90], "category_id": 12345},  # of no category
        {"id": 0, "image_id": 4, "bbox": [6, 6, 90, 90]},
        {"id": 0, "image_id": 4, "bbox": [7, 7, 90, 90], "category_id": 0, "iscrowd": 1},
    ]
    result = run_inline(folder, tmp_path / "out", annotations=save_json(tmp_path / "odd.json", content), report=False)
    bad = {row[0].removeprefix(f"{folder}/"): row[1] for row in csv_rows(tmp_path / "out" / "features.bad.csv")[1:]}
    assert bad == {
        f"{COFFEE}#xywh=10,10,0,50": "TOO_SMALL",
        f"{COFFEE}#xywh=10,10,0,50&n=2": "TOO_SMALL",
        f"{COFFEE}#xywh=4000,10,20,20": "BOUNDING_BOX_OUTSIDE",
        "gone.jpg#xywh=1,2,30,40": "MISSING",
    }
    own = {row["filename"].removeprefix(f"{folder}/"): row for row in result.images.to_pylist()}
    assert own[f"{COFFEE}#xywh=0,0,80,90"]["label"] == "cup"
    assert own[f"{COFFEE}#xywh=400,200,9000,9000"]["width"] == 80  # clipped
    assert own[f"{FLOWERS}#xywh=40,60,150,170&n=2"]["label"] == "cat"
    assert own[f"{FLOWERS}#xywh=5,5,90,90"]["label"] is None
    assert own[f"{FLOWERS}#xywh=6,6,90,90"]["label"] is None
    assert len(own) == len(PLANTED) + 5
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "7 of 22 annotations" in line
    assert "no valid box 5" in line
    assert "crowd 1" in line
    assert "unknown image 1" in line


def test_boxes_of_a_broken_photo_are_bad_and_read_once(folder, tmp_path, monkeypatch):
    (folder / CAT).write_bytes((folder / CAT).read_bytes()[:5000])
    many = save_json(tmp_path / "many.json", make_coco([(CAT, [x, x, 60, 50], "a") for x in range(9)] + PLANTED[1:2]))
    read = count_decoded(monkeypatch)
    run_inline(folder, tmp_path / "out", annotations=many, report=False)
    assert [row[1] for row in csv_rows(tmp_path / "out" / "features.bad.csv")[1:]] == ["TRUNCATED"] * 9
    assert read.count(5000) == 1


def test_boxes_are_in_pixels_of_the_upright_photo(folder, tmp_path):
    with Image.open(folder / CAT) as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
        image.save(folder / "upright.png")
    both = make_coco([(name, FACE, "cat") for name in ("turned.png", "upright.png")])
    run_inline(folder, tmp_path / "out", annotations=save_json(tmp_path / "both.json", both))
    assert [row[2] for row in csv_rows(tmp_path / "out" / "exact_copies.csv")[1:]] == ["pixels"]


def test_pages_and_compare_show_the_crop(folder, coco, tmp_path):
    run_inline(folder, tmp_path / "out", annotations=coco)
    name = f"{folder}/{CAT}#xywh=100,30,181,151"
    with strict_pillow(10**8):
        thumbnail = make_thumbnail(name)
        content_type, data = ReportService(tmp_path / "out").read_image(0)
    assert (thumbnail.width, thumbnail.height) == (181, 151)
    assert thumbnail.facts is not None
    assert thumbnail.facts.sha256 == RunResult.open(tmp_path / "out").images["sha256"][0].as_py()
    assert content_type.startswith("image/")
    (tmp_path / "served").write_bytes(data)
    with Image.open(tmp_path / "served") as shown:
        assert shown.size == (181, 151)
    page = Path(
        fastdup.create_duplicates_gallery(tmp_path / "out" / "similarity.csv", tmp_path / "gallery")
    ).read_text()
    shown = page[page.index("</style>") :]
    assert shown.count("data:image/") >= 2
    assert CHANGED.problem not in shown
    assert fastdup.compare(name, f"{folder}/{COPY}#xywh=100,30,181,151").relation == "same"
    assert fastdup.compare(name, folder / CAT).relation == "cropped"
    found = RunResult.open(tmp_path / "out").search(name, 3, verify=True).to_pydict()
    assert found["similarity"] == pytest.approx([1, 1, 1], abs=1e-5)
    assert found["relation"] == ["same", "same", "same"]


def test_moved_copies_of_one_object_are_verified(folder, tmp_path):
    """A box in a photo that was saved again, a little smaller, is the same object."""
    with Image.open(folder / CAT) as image:
        image.resize((360, 240)).save(folder / "small.jpg", quality=80)
    near = make_coco([(CAT, [100, 50, 200, 200], "cat"), ("small.jpg", [80, 40, 160, 160], "cat"), *PLANTED[2:3]])
    run_inline(folder, tmp_path / "out", annotations=save_json(tmp_path / "near.json", near))
    relations = pq.read_table(tmp_path / "out" / "verified_pairs.parquet")["relation"].to_pylist()
    assert "same" in relations


# --- plan, apply, export ----------------------------------------------------------------------------------------------


def test_no_photo_is_moved_because_of_a_box(folder, coco, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_inline(folder, tmp_path / "out", annotations=coco)
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    assert call("plan", tmp_path / "out") == 0
    assert "fastdup-ray export" in capsys.readouterr().out
    assert call("apply", tmp_path / "out" / "plan.csv", "--execute") != 0
    assert "box of a photo" in capsys.readouterr().out
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == before


def test_no_photo_is_moved_because_of_a_box_of_it(folder, tmp_path):
    """A list may name photos and boxes; a box of all of a photo equals it."""
    with Image.open(folder / COPY) as image:
        width, height = image.size
    listed = tmp_path / "list.txt"
    listed.write_text(f"{folder}/{CAT}#xywh=0,0,{width},{height}\n{folder}/{COPY}\n")
    run_inline(listed, tmp_path / "out")
    assert [row[2] for row in csv_rows(tmp_path / "out" / "exact_copies.csv")[1:]] == ["pixels"]
    assert not [row for row in fastdup.make_plan(tmp_path / "out").rows if row.is_dropped]


def test_coco_without_what_the_plan_drops_is_otherwise_as_it_was(folder, coco, tmp_path):
    content = make_coco(PLANTED, licenses=[{"id": 1, "name": "é"}], version="1.0", empty=[])
    coco.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    run_inline(folder, tmp_path / "out", annotations=coco)
    dropped = [row.filename for row in fastdup.make_plan(tmp_path / "out").rows if row.is_dropped]
    assert len(dropped) == 2
    result = fastdup.export(tmp_path / "out", "coco")
    written = json.loads((tmp_path / "out" / "coco.json").read_text(encoding="utf-8"))
    lost = {3, 0} if f"{folder}/{CAT}#xywh=100,30,181,151" in dropped else {1, 3}
    kept = [item for number, item in enumerate(content["annotations"]) if number not in lost]
    gone = CAT if lost == {0, 3} else COPY
    assert written == content | {
        "annotations": kept,
        "images": [item for item in content["images"] if item["file_name"] != gone],
    }
    assert list(written) == list(content)
    assert result.count == 3
    run_inline(folder, tmp_path / "again", annotations=tmp_path / "out" / "coco.json")
    assert csv_rows(tmp_path / "again" / "exact_copies.csv")[1:] == []


def test_numbers_and_texts_of_what_is_kept_are_not_rewritten(folder, tmp_path):
    text = (
        '{"images": [{"file_name":"coffee.jpg",  "id":1.0, "x": 1.5000, "y": 1e-2, "z": "\\u00e9\\/"}], "annotations":'
        '[{"image_id": 1, "bbox": [10.50, 20.0, 1e2, 80]}, {"image_id": 1, "bbox": [200, 100, 90, 90]}]}'
    )
    (tmp_path / "coco.json").write_text(text)
    run_inline(folder, tmp_path / "out", annotations=tmp_path / "coco.json")
    assert names(tmp_path / "out") == [
        f"{folder}/coffee.jpg#xywh=11,20,100,80",
        f"{folder}/coffee.jpg#xywh=200,100,90,90",
    ]
    fastdup.export(tmp_path / "out", "coco")
    written = (tmp_path / "out" / "coco.json").read_text()
    assert '{"file_name":"coffee.jpg",  "id":1.0, "x": 1.5000, "y": 1e-2, "z": "\\u00e9\\/"}' in written
    assert '{"image_id": 1, "bbox": [10.50, 20.0, 1e2, 80]}' in written


def test_annotations_of_dropped_photos_are_left_out(folder, coco, tmp_path, monkeypatch):
    run_inline(folder, tmp_path / "out")
    (dropped,) = [row.filename for row in fastdup.make_plan(tmp_path / "out").rows if row.is_dropped]
    gone = os.path.relpath(dropped, folder)
    fastdup.export(tmp_path / "out", "coco", annotations=coco)
    written, content = (json.loads(path.read_text()) for path in (tmp_path / "out" / "coco.json", coco))
    ids = {item["id"] for item in content["images"] if item["file_name"] != gone}
    assert {item["id"] for item in written["images"]} == ids
    assert written["annotations"] == [item for item in content["annotations"] if item["image_id"] in ids]
    others = save_json(tmp_path / "others.json", make_coco([("x/y.jpg", FACE, "cat")]))
    with pytest.raises(InputError, match=r"others\.json"):
        fastdup.export(tmp_path / "out", "coco", tmp_path / "new.json", annotations=others)
    assert not (tmp_path / "new.json").exists()
    fastdup.export(tmp_path / "out", "coco")
    images = json.loads((tmp_path / "out" / "coco.json").read_text())["images"]
    assert {image["file_name"] for image in images} == {CAT, COPY, COFFEE, FLOWERS} - {gone}
    with Image.open(folder / COFFEE) as image:
        assert {(i["width"], i["height"]) for i in images if i["file_name"] == COFFEE} == {image.size}


def test_the_given_annotations_are_not_replaced(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "out")
    coco = save_json(tmp_path / "out" / "coco.json", make_coco(PLANTED))
    before = coco.read_bytes()
    run_inline(folder, tmp_path / "out", annotations=coco)
    with pytest.raises(WorkDirError):
        fastdup.export(tmp_path / "out", "coco")
    assert coco.read_bytes() == before


@pytest.mark.parametrize("header", ["filename,x,y,width,height,label", "filename;col_x;row_y;width;height;Label"])
def test_a_csv_has_boxes_too(folder, tmp_path, header):
    mark = header[8]
    lines = [header, *(mark.join([name, *map(str, box), label]) for name, box, label in PLANTED)]
    (tmp_path / "boxes.csv").write_text("\n".join([*lines, mark.join([COFFEE, "", "", "", "", ""])]) + "\n")
    run_inline(folder, tmp_path / "csv", annotations=tmp_path / "boxes.csv", report=False)
    coco = save_json(tmp_path / "coco.json", make_coco(PLANTED))
    run_inline(folder, tmp_path / "coco", annotations=coco, report=False)
    first, second = (
        dict(zip(table["filename"].to_pylist(), table["label"].to_pylist(), strict=True))
        for table in (RunResult.open(tmp_path / kind).images for kind in ("csv", "coco"))
    )
    assert first == second
    with pytest.raises(InputError, match="csv"):
        fastdup.export(tmp_path / "csv", "coco")
    result = fastdup.export(tmp_path / "csv", "csv")
    assert result.count == 4
    run_inline(folder, tmp_path / "again", annotations=tmp_path / "csv" / "kept.csv", report=False)
    left = RunResult.open(tmp_path / "again").images
    assert set(left["filename"].to_pylist()) < set(first)
    assert "cup" in left["label"].to_pylist()
    (tmp_path / "csv" / "kept.csv").unlink()
    for work_dir in ("csv", "coco"):  # what `plan` names as the next step can be done
        text = fastdup.make_plan(tmp_path / work_dir, tmp_path / f"{work_dir}.csv").text()
        _, *arguments = shlex.split(text.partition("drop: ")[2])
        assert call(*arguments) == 0


def test_yolo_has_what_is_kept_in_parts_of_each_photo(folder, coco, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored sideways
    with Image.open(folder / COFFEE) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(folder / COFFEE, exif=exif, quality=95)
        width, height = image.size
    run_inline(folder, tmp_path / "out", annotations=coco)
    dropped = {row.filename for row in fastdup.make_plan(tmp_path / "out").rows if row.is_dropped}
    result = fastdup.export(tmp_path / "out", "yolo")
    with zipfile.ZipFile(result.path) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    left = CAT if f"{folder}/{COPY}#xywh=100,30,181,151" in dropped else COPY
    assert texts.pop("data.yaml") == 'names:\n  0: "cat"\n  1: "cup"\n  2: "dog"\n  3: "flower"\n'
    assert set(texts) == {f"labels/{os.path.splitext(name)[0]}.txt" for name in (left, COFFEE, FLOWERS)}
    boxes = [line.split() for line in texts["labels/coffee.txt"].splitlines()]
    assert [box[0] for box in boxes] == ["1", "1"]
    assert [float(number) for number in boxes[0][1:]] == pytest.approx(
        [200 / width, 160 / height, 200 / width, 120 / height], abs=1e-6
    )
    assert result.count == 3
    again = fastdup.export(tmp_path / "out", "yolo", tmp_path / "again.zip")
    assert Path(again.path).read_bytes() == Path(result.path).read_bytes()
    run_inline(folder, tmp_path / "whole")
    gone = [row.filename for row in fastdup.make_plan(tmp_path / "whole").rows if row.is_dropped]
    whole = fastdup.export(tmp_path / "whole", "yolo", annotations=coco)
    with zipfile.ZipFile(whole.path) as archive:
        photos = {name.removesuffix(".txt") for name in archive.namelist()} - {"data.yaml"}
    assert len(gone) == 1
    assert photos == {f"labels/{os.path.splitext(name)[0]}" for name in (CAT, COPY, COFFEE, FLOWERS)} - {
        f"labels/{os.path.splitext(os.path.relpath(gone[0], folder))[0]}"
    }
    with pytest.raises(ConfigError):
        fastdup.export(tmp_path / "whole", "yolo")


def test_boxes_of_one_photo_are_in_one_part_of_a_split(folder, tmp_path):
    many = [(name, [20 * x, 10 * x, 60, 70], "a") for x in range(10) for name in (CAT, COFFEE, FLOWERS)]
    run_inline(folder, tmp_path / "out", annotations=save_json(tmp_path / "many.json", make_coco(many)), report=False)
    result = fastdup.split_dataset(tmp_path / "out", parts="train=0.5,test=0.5")
    parts = {(row[0].partition("#")[0], row[1]) for row in csv_rows(Path(result.path))[1:]}
    assert len(parts) == 3
    assert {part for _, part in parts} == {"train", "test"}


# --- runs, again and elsewhere ----------------------------------------------------------------------------------------


def test_a_run_is_repeated_and_extended(folder, coco, tmp_path):
    first = run_inline(folder, tmp_path / "out", annotations=coco)
    stamp = (tmp_path / "out" / "summary.json").stat().st_mtime_ns
    again = run_inline(folder, tmp_path / "out", annotations=coco)
    assert (first.summary["read"], (tmp_path / "out" / "summary.json").stat().st_mtime_ns) == (6, stamp)
    assert again.counts == first.counts
    content = make_coco(PLANTED)
    content["categories"][0]["name"] = "kitten"
    save_json(coco, content)
    assert "kitten" in run_inline(folder, tmp_path / "out", annotations=coco).images["label"].to_pylist()
    save_json(coco, make_coco([*PLANTED[1:], (COFFEE, [5, 5, 70, 70], "cup")]))
    more = run_inline(folder, tmp_path / "out", annotations=coco, incremental=True)
    assert more.summary["read"] == 1
    changes = more.summary["changes"]
    assert (changes["images_added"], changes["images_removed"]) == (1, 1)
    other = save_json(tmp_path / "other.json", make_coco([(FLOWERS, [1, 1, 50, 50], "x")]))
    with pytest.raises(WorkDirError):
        run_inline(folder, tmp_path / "out", annotations=other)
    assert run_inline(folder, tmp_path / "out", annotations=other, overwrite=True).counts["images"] == 1


def test_photos_may_be_in_an_archive(folder, coco, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder).as_posix())
    run_inline(tmp_path / "photos.zip", tmp_path / "zip", annotations=coco)
    run_inline(folder, tmp_path / "folder", annotations=coco)
    inside = [name.replace(f"{tmp_path}/photos.zip!", str(folder)) for name in names(tmp_path / "zip")]
    assert inside == names(tmp_path / "folder")
    assert (tmp_path / "zip" / "features.dat").read_bytes() == (tmp_path / "folder" / "features.dat").read_bytes()
    fastdup.export(tmp_path / "zip", "coco")
    written = json.loads((tmp_path / "zip" / "coco.json").read_text())
    assert len(written["annotations"]) == 4


def test_everything_may_be_in_a_bucket(bucket: Bucket, folder, tmp_path):
    bucket.put_folder(folder)
    small = [(COFFEE, [10 * x, 100, 30, 40], "cup") for x in range(40)]
    coco = save_json(tmp_path / "coco.json", make_coco([*PLANTED, *small]))
    annotations = bucket.put("labels/coco.json", coco.read_bytes())
    before = bucket.server.count_requests(OPEN)
    parameters = {"annotations": annotations, "report": False, "verify": "off", "shard_size": 100}
    result = run_inline(bucket.pictures, bucket.work_dir, **parameters)
    gets = bucket.server.count_requests(OPEN) - before
    own = run_inline(folder, tmp_path / "out", **parameters | {"annotations": coco})
    assert result.counts == own.counts
    uris = [name.replace(str(folder), bucket.pictures) for name in own.images["filename"].to_pylist()]
    assert result.images["filename"].to_pylist() == uris
    assert gets.total() < 40, gets  # 4 photos are read once, and the annotations
    fastdup.export(result.work_dir, "coco", tmp_path / "kept.json")
    kept = json.loads((tmp_path / "kept.json").read_text())["annotations"]
    assert len(kept) == 46 - own.counts["safe_to_drop"] < 46


def test_references_stay_whole_images(folder, coco, tmp_path):
    originals = tmp_path / "originals"
    originals.mkdir()
    with Image.open(folder / CAT) as image:
        image.crop((100, 30, 281, 181)).save(originals / "face.png")
    result = run_inline(folder, tmp_path / "out", annotations=coco, reference=originals)
    assert names(tmp_path / "out")[0] == f"{originals}/face.png"
    dropped = {row.filename: row.keeper for row in fastdup.make_plan(tmp_path / "out").rows if row.is_dropped}
    assert set(dropped.values()) == {f"{originals}/face.png"}
    assert len(dropped) == 3
    assert result.counts["safe_bytes"] == 0


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"input_dir": ["a", "b"]},
        {"bounding_box": "rows=1,cols=1,width=20,height=20"},
        {"run_mode": 4},
        {"annotations": "ftp://host/coco.json"},
    ],
)
def test_parameters_that_do_not_go_together(folder, coco, parameters):
    with pytest.raises(ConfigError):
        RunConfig.of(**{"input_dir": folder, "annotations": coco} | parameters)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"images": []}',
        '{"images": [1], "annotations": []}',
        '{"images": [{"id": 1}], "annotations": []}',
        '{"images": [{"id": [], "file_name": "a"}], "annotations": []}',
        '{"images": [{"id": 1, "file_name": "\\ud800.jpg"}], "annotations": []}',
        '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "\\udfff"}]}',
        '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []}',
        '{"images": [], "annotations": [{"bbox": [1, 2, 3, 4]}]}',
        '{"images": [], "annotations": [], "images": []}',
        '{"images": [], "annotations": []}',
        '{"images": [{"id": 1, "file_name": "gone.jpg"}], "annotations": [{"image_id": 1, "bbox": [1, 2, 30, 40]}]}',
        '{"images": [], "annotations": [' + 100_000 * "[",
        "filename,label\na.jpg,cat\n",
        "filename,x,y,width,height\ncat.jpg,1,2,3\n",
        "filename,x,y,width,height\ncat.jpg,1,2,3,wide\n",
        "a,b,x,y,width,height\ncat.jpg,b,1,2,3,4\n",
        '"',
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_one_line(folder, tmp_path, content, capsys):
    path = tmp_path / "bad"
    path.write_text(content)
    assert call("run", folder, "--annotations", path, "-o", tmp_path / "out", "--executor", "inline") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out" / "features.dat").exists()


def test_photos_and_annotations_have_to_exist(folder, coco, tmp_path):
    for parameters in (
        {"input_dir": folder / CAT, "annotations": coco},
        {"input_dir": tmp_path / "gone", "annotations": coco},
        {"input_dir": folder, "annotations": tmp_path / "gone.json"},
        {"input_dir": folder, "annotations": folder},
    ):
        with pytest.raises(InputError):
            run_inline(parameters["input_dir"], tmp_path / "out", annotations=parameters["annotations"])


def test_globs_are_of_the_names_in_the_file(folder, coco, tmp_path):
    run_inline(folder, tmp_path / "out", annotations=coco, exclude=["more photos/**", "d*.jpg"], report=False)
    assert {name.partition("#")[0] for name in names(tmp_path / "out")} == {f"{folder}/{CAT}", f"{folder}/{COFFEE}"}
