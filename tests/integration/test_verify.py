"""Runs with `verify`: pairs are looked at in full detail, and plans go by what was seen."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

import fastdup_ray as fastdup
from fastdup_ray.common import layout
from fastdup_ray.verify import pieces
from tests.helpers.related import draw_page
from tests.helpers.runs import PHOTOS


def run(folder: Path | None, work_dir: Path, **parameters: object) -> fastdup.RunResult:
    defaults = {"executor": "inline", "verify": "all", "report": False}
    return fastdup.deduplicate(fastdup.RunConfig.of(input_dir=folder, work_dir=work_dir, **defaults | parameters))


def relations(work_dir: Path) -> dict[tuple[str, str], str]:
    names = pq.read_table(work_dir / layout.IMAGES)["filename"].to_pylist()
    rows = pq.read_table(work_dir / layout.VERIFIED).to_pylist()
    return {tuple(sorted(Path(names[row[end]]).name for end in ("from", "to"))): row["relation"] for row in rows}


def dropped(work_dir: Path, **options: object) -> set[str]:
    return {
        Path(row.filename).name for row in fastdup.make_plan(work_dir, overwrite=True, **options).rows if row.is_dropped
    }


@pytest.fixture
def invoices(tmp_path: Path) -> Path:
    folder = tmp_path / "invoices"
    folder.mkdir()
    draw_page("Total: 1,234.00 EUR").save(folder / "a.png")
    draw_page("Total: 1,274.00 EUR").save(folder / "b.png")
    draw_page("Total: 1,234.00 EUR").resize((434, 614), Image.Resampling.LANCZOS).save(
        folder / "small-a.jpg", quality=80
    )
    return folder


def test_pages_that_differ_in_one_digit_are_altered_and_stay(invoices: Path, tmp_path: Path):
    run(invoices, tmp_path / "out")
    assert relations(tmp_path / "out") == {
        ("a.png", "b.png"): "altered",
        ("a.png", "small-a.jpg"): "same",
        ("b.png", "small-a.jpg"): "altered",
    }
    for grouping in ("direct", "components"):
        assert dropped(tmp_path / "out", grouping=grouping) == {"small-a.jpg"}


def test_the_least_edited_image_is_kept_though_copies_are_larger(photo: Image.Image, tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.thumbnail((400, 400))
    photo.save(folder / "original.jpg", quality=85)
    noise = np.random.default_rng(5).normal(0, 8, (photo.height, photo.width, 3))
    Image.fromarray(np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8)).save(folder / "noise.png")
    photo.convert("L").resize((480, 480 * photo.height // photo.width)).save(folder / "gray.png")
    ImageOps.posterize(photo, 3).save(folder / "posterized.png")
    result = run(folder, tmp_path / "out")
    assert {"noise.png", "gray.png"} <= dropped(tmp_path / "out") <= {"noise.png", "gray.png", "posterized.png"}
    assert {Path(name).name for name in result.duplicates["keeper"].to_pylist()} == {"original.jpg"}
    assert "original.jpg" in dropped(tmp_path / "out", keep="resolution,bytes")


def test_crops_are_dropped_only_when_asked(photo: Image.Image, tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.save(folder / "whole.png")
    photo.crop((0, 0, photo.width * 4 // 5, photo.height)).save(folder / "part.png")
    run(folder, tmp_path / "out")
    assert set(relations(tmp_path / "out").values()) == {"cropped"}
    assert dropped(tmp_path / "out") == set()
    assert dropped(tmp_path / "out", drop="same,cropped") == {"part.png"}


def test_the_reason_of_a_plan_has_the_evidence(invoices: Path, photo: Image.Image, tmp_path: Path):
    photo.save(invoices / "whole.png")
    photo.crop((0, 0, photo.width, photo.height * 4 // 5)).save(invoices / "part.png")
    run(invoices, tmp_path / "out")
    plan = fastdup.make_plan(tmp_path / "out", drop="same,cropped")
    reasons = {Path(row.filename).name: row.reason for row in plan.rows if row.is_dropped}
    assert reasons.keys() == {"small-a.jpg", "part.png"}
    assert reasons["small-a.jpg"].startswith("same image as its keeper, which has more pixels")
    assert "differs" in reasons["small-a.jpg"]
    assert "the keeper shows 100 % of it, and it 80 % of the keeper" in reasons["part.png"]


def test_the_relation_is_in_the_tables(tmp_path: Path):
    result = run(PHOTOS, tmp_path, threshold=0.9)
    pairs = pq.read_table(tmp_path / layout.SIMILARITY)
    assert pairs.column_names[3:] == ["relation", "cover_from", "cover_to", "difference"]
    with open(tmp_path / layout.VERIFIED_CSV, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert all(float(row["distance"]) <= 0.9 for row in rows)
    assert sum(result.summary["verified"].values()) == pq.read_metadata(tmp_path / layout.VERIFIED).num_rows


def test_the_outputs_of_a_search_stay_what_they_are(tmp_path: Path):
    for verify in ("off", "candidates"):
        run(PHOTOS, tmp_path / verify, verify=verify)
    for name in (layout.SIMILARITY_CSV, layout.OUTLIERS_CSV, layout.COMPONENTS_CSV, layout.EXACT_COPIES_CSV):
        assert (tmp_path / "off" / name).read_bytes() == (tmp_path / "candidates" / name).read_bytes()
    assert not (tmp_path / "off" / layout.VERIFIED).exists()


def test_a_pair_of_the_same_contents_is_not_looked_at_again(invoices: Path, tmp_path: Path, monkeypatch):
    run(invoices, tmp_path / "out")
    first = (tmp_path / "out" / layout.VERIFIED).read_bytes()
    (invoices / "b.png").rename(invoices / "0.png")
    looked_at = []
    monkeypatch.setattr(pieces, "relate_files", lambda *files: looked_at.append(files))
    run(invoices, tmp_path / "out")
    assert not looked_at
    assert (tmp_path / "out" / layout.VERIFIED).read_bytes() != first
    assert relations(tmp_path / "out")["0.png", "a.png"] == "altered"


def test_a_pair_that_opencv_cannot_compare_stops_no_run(invoices: Path, tmp_path: Path, monkeypatch):
    def fail(*files: object) -> None:
        cv2.resize(np.empty((0, 0), np.uint8), (1, 1))

    monkeypatch.setattr("fastdup_ray.verify.relate_files.relate_images", fail)
    run(invoices, tmp_path / "out")
    assert set(relations(tmp_path / "out").values()) == {"unsure"}
    assert not dropped(tmp_path / "out")


def test_without_reuse_each_pair_is_compared_again(invoices: Path, tmp_path: Path, monkeypatch):
    run(invoices, tmp_path / "out")
    relate, compared = pieces.relate_files, []
    monkeypatch.setattr(pieces, "relate_files", lambda *files: compared.append(files) or relate(*files))
    run(invoices, tmp_path / "out", reuse=False)
    assert len(compared) == pq.read_metadata(tmp_path / "out" / layout.VERIFIED).num_rows > 0


def test_a_stage_that_was_killed_goes_on_with_what_is_missing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("fastdup_ray.runs.pair_pieces.PAIRS_PER_PIECE", 2)
    run(PHOTOS, tmp_path / "whole")
    relate, calls = pieces.relate_files, []

    def fail_at_fifth(*files: object) -> object:
        calls.append(files)
        if len(calls) == 5:
            raise RuntimeError("killed")
        return relate(*files)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(pieces, "relate_files", fail_at_fifth)
        run(PHOTOS, tmp_path / "out", num_threads=1)
    calls.clear()
    monkeypatch.setattr(pieces, "relate_files", lambda *files: calls.append(files) or relate(*files))
    run(PHOTOS, tmp_path / "out", num_threads=1)
    assert (tmp_path / "out" / layout.VERIFIED).read_bytes() == (tmp_path / "whole" / layout.VERIFIED).read_bytes()
    assert len(calls) == pq.read_metadata(tmp_path / "out" / layout.VERIFIED).num_rows - 4


def test_ray_writes_the_same_bytes(tmp_path: Path, ray_driver):
    for executor in ("inline", "ray"):
        run(PHOTOS, tmp_path / executor, executor=executor)
    for name in (layout.VERIFIED, layout.VERIFIED_CSV, layout.SIMILARITY):
        assert (tmp_path / "inline" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()


def test_all_members_of_a_large_group_are_compared_with_the_one_that_is_kept(tmp_path: Path):
    folder = tmp_path / "copies"
    folder.mkdir()
    with Image.open(PHOTOS / "originals" / "dogs.jpg") as photo:
        for number in range(30):  # more than the neighbors that an image has
            photo.save(folder / f"{number:02}.png", pnginfo=describe(number))
            photo.save(folder / f"{number:02}.jpg", quality=60 + number)
    run(folder, tmp_path / "out", verify="candidates")
    assert len(dropped(tmp_path / "out")) == 59


def describe(number: int) -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", f"copy {number}")
    return info


def test_pairs_are_compared_by_default_where_an_embedded_model_has_seen_whole_images(tmp_path: Path):
    assert "verified" in run(PHOTOS, tmp_path / "out", verify=None).summary
    assert "verified" in run(None, tmp_path / "out", verify=None, run_mode=2).summary
    assert "verified" in run(PHOTOS, tmp_path / "fast", verify=None, model="fast").summary
    box = "rows=0,cols=0,width=40,height=40"
    assert "verified" not in run(PHOTOS, tmp_path / "boxes", verify=None, bounding_box=box).summary
    fastdup.save_binary_feature(tmp_path / "own", ["a", "b", "c"], np.eye(3, dtype=np.float32))
    assert "verified" not in run(None, tmp_path / "own", verify=None, run_mode=2).summary
