"""`fastdup-ray plan`: what a suggestion made of finished runs says."""

import csv
import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from fastdup_ray import load_binary_feature, make_plan
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.errors import ConfigError, InputError, WorkDirError
from fastdup_ray.storage import open_store
from fastdup_ray.storage.checked_json import hash_file, read_json, write_json
from tests.helpers.commands import call
from tests.helpers.deep_files import save_tiff
from tests.helpers.images import cloudy, encode, save_cloudy
from tests.helpers.runs import PHOTOS, files_below, run_inline
from tests.helpers.videos import make_clip


@pytest.fixture
def out(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.mark.parametrize("threshold", [None, 0.85, 0.96])
def test_every_dropped_picture_is_close_to_its_keeper_and_of_its_group(out, truth, threshold):
    rows = make_plan(out, threshold=threshold).rows
    names, features = load_binary_feature(str(out / "features.dat"))
    place = {name: row for row, name in enumerate(names)}
    dropped = [row for row in rows if row.is_dropped]
    source, target = (np.array([place[getattr(row, end)] for row in dropped]) for end in ("filename", "keeper"))
    verified = read_finished_run(open_store(out)).verified
    assert set(verified.look_up(source, target)["relation"].to_pylist()) == {"same"}
    for row in dropped:
        cosine = float(features[place[row.filename]] @ features[place[row.keeper]])
        same = Path(row.filename).read_bytes() == Path(row.keeper).read_bytes()
        assert row.similarity == pytest.approx(1.0 if same else cosine, abs=2e-6)
        assert same or threshold is None or row.similarity > threshold
        assert ("same bytes" in row.reason) == same
        assert truth[row.filename].group == truth[row.keeper].group
        assert row.size == os.path.getsize(row.filename)
        assert len(row.sha256) == 64


def test_the_plan_is_written_to_the_work_dir_and_reads_as_it_was_told(out, capsys):
    assert call("plan", out) == 0
    told = capsys.readouterr().out
    rows = read_plan(out / "plan.csv")
    dropped = [row for row in rows if row.is_dropped]
    assert f"{len(dropped)} are safe to drop" in told
    assert "This plan drops" not in told
    assert f"Plan: {out / 'plan.csv'}" in told
    assert f"fastdup-ray apply {out / 'plan.csv'}" in told
    assert rows == make_plan(out, out.parent / "plan.json").rows == read_plan(out.parent / "plan.json")


def test_a_group_has_its_number_in_connected_components(out):
    table = pq.read_table(out / "components.parquet")
    names, _ = load_binary_feature(str(out / "features.dat"))
    component = dict(zip(names, table["component_id"].to_pylist(), strict=True))
    rows = make_plan(out).rows
    numbers = [row.group for row in rows]
    assert numbers == sorted(numbers)
    for number in set(numbers):
        assert min(component[row.filename] for row in rows if row.group == number) == number


def test_groups_of_a_run_without_components_are_counted(tmp_path):
    for seed in range(3):
        save_cloudy(tmp_path / f"photos/{seed}", seed + 1)
    run_inline(tmp_path / "photos", tmp_path / "out", run_cc=0)
    rows = make_plan(tmp_path / "out").rows
    assert [(row.group, Path(row.filename).name) for row in rows] == [
        *[(0, "0000.jpg")] * 3,
        *[(1, "0001.jpg")] * 2,
    ]


def test_a_plan_that_was_edited_is_not_replaced_unless_asked(out):
    make_plan(out)
    make_plan(out)  # the same again is no loss
    plan = out / "plan.csv"
    edited = plan.read_text().replace(",drop,", ",keep,", 1)
    plan.write_text(edited)
    kept = sum(row.is_dropped for row in read_plan(plan))
    with pytest.raises(WorkDirError, match=rf"drops {kept} images .*overwrite=True"):
        make_plan(out)
    assert plan.read_text() == edited
    make_plan(out, overwrite=True)
    assert plan.read_text() != edited


def test_a_later_run_leaves_the_plan_alone(tmp_path):
    save_cloudy(tmp_path / "photos", 3)
    shutil.copy(tmp_path / "photos/0000.jpg", tmp_path / "photos/copy.jpg")
    out = tmp_path / "out"
    run_inline(tmp_path / "photos", out)
    make_plan(out)
    before = (out / "plan.csv").read_bytes()
    run_inline(tmp_path / "photos", out, overwrite=True)
    assert (out / "plan.csv").read_bytes() == before


@pytest.mark.parametrize("distance", ["euclidean", "manhattan"])
def test_the_metric_of_the_run_makes_no_difference(out, tmp_path, distance):
    other = tmp_path / "other"
    run_inline(PHOTOS, other, distance=distance)
    assert make_plan(other, threshold=0.9).rows == make_plan(out, threshold=0.9).rows


def test_a_scoring_makes_no_difference(out):
    before = make_plan(out, threshold=0.9).rows
    run_inline(PHOTOS / "phone", out, run_mode=3)
    assert make_plan(out, threshold=0.9).rows == before


def test_only_identical_bytes_are_copies_where_the_run_saw_a_part_or_another_model_looked(tmp_path):
    photos = tmp_path / "photos"
    save_cloudy(photos, 1, size=(400, 300))
    cloudy(0, (400, 300)).save(photos / "again.jpg", quality=89)
    shutil.copy(photos / "0000.jpg", photos / "twin.jpg")
    run_inline(photos, tmp_path / "whole")
    run_inline(photos, tmp_path / "part", bounding_box="rows=0,cols=0,width=200,height=200")
    dropped = {
        name: {Path(row.filename).name for row in make_plan(tmp_path / name).rows if row.is_dropped}
        for name in ("whole", "part")
    }
    assert len(dropped["whole"]) == 2
    assert len(dropped["part"]) == 1
    assert (
        len([row for row in make_plan(tmp_path / "part", tmp_path / "p.csv", threshold=0.99).rows if row.is_dropped])
        == 2
    )


def test_frames_of_videos_and_members_of_archives_are_in_no_group(tmp_path):
    photos = tmp_path / "photos"
    save_cloudy(photos, 2)
    data = (photos / "0000.jpg").read_bytes()
    with tarfile.open(photos / "a.tar", "w") as tar:
        for name in ("0000.jpg", "twin.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    make_clip(photos / "clip.mp4")
    make_clip(photos / "the same clip.mp4")
    (photos / "twin.jpg").write_bytes(data)
    run_inline(photos, tmp_path / "out")
    rows = make_plan(tmp_path / "out", threshold=0.9).rows
    assert [(Path(row.filename).name, row.action) for row in rows] == [("0000.jpg", "keep"), ("twin.jpg", "drop")]


def test_keepers_follow_the_rules_given(tmp_path):
    photos = tmp_path / "photos"
    for folder in ("a", "originals"):
        (photos / folder).mkdir(parents=True)
        (photos / folder / "x.png").write_bytes(encode(cloudy(1), "PNG"))
    run_inline(photos, tmp_path / "out")
    for keep, kept in (("oldest", "a"), ("path:originals/*,oldest", "originals"), ("name", None)):
        if kept is None:
            with pytest.raises(ConfigError, match="unknown rule 'name'"):
                make_plan(tmp_path / "out", keep=keep, overwrite=True)
            continue
        rows = make_plan(tmp_path / "out", keep=keep, overwrite=True).rows
        assert [Path(row.filename).parent.name for row in rows if not row.is_dropped] == [kept]


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--keep", "sharpest"], 2, "unknown rule 'sharpest'"),
        (["--threshold", "1.5"], 2, "threshold: 1.5"),
        (["--drop", "altered"], 2, "drop: 'altered'"),
        (["--drop", "same,resized"], 2, "drop: 'resized'"),
        (["--threshold", "nan"], 2, "threshold: nan"),
        (["--threshold", "much"], 2, "not a valid float"),
        (["--grouping", "loose"], 2, "direct or components"),
        (["--save-path", "/proc/nowhere/plan.csv"], 1, "Cannot write"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(options, code, told, out, capsys):
    before = files_below(out)
    assert call("plan", out, *options) == code
    assert told in capsys.readouterr().err
    assert files_below(out) == before


def test_a_run_without_verified_pairs_is_planned_by_its_stored_pairs_alone(tmp_path, capsys):
    run_inline(PHOTOS / "phone", tmp_path / "out", verify="off")
    for options, told in ((("--threshold", "0.5"), "--threshold 0.5"), (("--drop", "cropped"), "no verified pairs")):
        assert call("plan", tmp_path / "out", *options) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "plan.csv").exists()


def test_a_folder_without_a_finished_run_is_one_line_and_stays_as_it_is(tmp_path):
    with pytest.raises(InputError, match="No finished run in"):
        make_plan(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
    run_inline(PHOTOS / "phone", tmp_path / "features only", run_mode=1)
    with pytest.raises(InputError, match="No finished run in"):
        make_plan(tmp_path / "features only")


def test_nothing_to_drop_is_told_and_a_plan_of_no_rows_is_written(tmp_path):
    save_cloudy(tmp_path / "photos", 3)
    run_inline(tmp_path / "photos", tmp_path / "out")
    assert "Nothing to drop." in make_plan(tmp_path / "out").text().splitlines()
    with open(tmp_path / "out/plan.csv", newline="") as file:
        assert list(csv.DictReader(file)) == []


def draw_cover(folder: Path) -> None:
    """Three TIFFs that share their cover and differ after it, and the cover alone as a PNG."""
    cover = cloudy(1)
    for number in range(3):
        pages = [cloudy(10 * number + page) for page in (2, 3)]
        cover.save(folder / f"report{number}.tif", save_all=True, append_images=pages)
    cover.resize((128, 96)).save(folder / "cover.png")  # most pixels: the keeper by the rules


def draw_blanks(folder: Path) -> None:
    """Pages of white with a word each, and gray sheets with a little noise."""
    for number, word in enumerate(("paid", "open", "void")):
        page = Image.new("L", (600, 800), 255)
        ImageDraw.Draw(page).text((60, 60), word, 0, font_size=20)
        page.save(folder / f"page{number}.png")
        noise = np.random.default_rng(number).integers(126, 130, (96, 128)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"sheet{number}.png")


def draw_channels(folder: Path) -> None:
    """TIFFs of the same colors with another infrared channel each."""
    for number in range(3):
        infrared = np.asarray(cloudy(20 + number).convert("L"))
        samples = np.dstack([np.asarray(cloudy(1)), infrared])
        (folder / f"field{number}.tif").write_bytes(save_tiff(samples, extra_samples=[0]))


def draw_strips(folder: Path) -> None:
    """Long strips of the same texture, in which a detail differs."""
    for number in range(3):
        strip = Image.fromarray(np.tile(np.asarray(cloudy(1, (64, 16))), (1, 60, 1)))
        strip.paste("black", (1000 * number, 4, 1000 * number + 3, 8))
        strip.save(folder / f"strip{number}.png")


@pytest.mark.parametrize("draw", [draw_cover, draw_blanks, draw_channels, draw_strips])
@pytest.mark.parametrize("grouping", ["direct", "components"])
@pytest.mark.parametrize("verify", ["off", "candidates"])
def test_images_whose_embedding_does_not_show_all_are_dropped_by_their_bytes_alone(draw, grouping, verify, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    draw(photos)
    first = min(photos.iterdir())
    shutil.copy(first, photos / f"zz copy{first.suffix}")
    result = run_inline(photos, tmp_path / "out", nearest_neighbors_k=4, verify=verify)
    pairs = result.similarity.to_pylist()
    assert any(pair["distance"] > 0.9 for pair in pairs if "zz copy" not in pair["from"] + pair["to"])  # a temptation
    plan = make_plan(tmp_path / "out", grouping=grouping, threshold=0.9 if verify == "off" else None)
    assert plan.not_compared >= 2 or verify != "off"
    dropped = [(Path(row.filename).name, Path(row.keeper).name) for row in plan.rows if row.is_dropped]
    assert dropped == [(f"zz copy{first.suffix}", first.name)]


def test_outputs_of_which_is_not_known_what_was_seen_plan_by_bytes_alone(tmp_path):
    out = tmp_path / "out"
    run_inline(PHOTOS, out, verify="off")
    table = pq.read_table(out / "images.parquet")
    pq.write_table(table.drop_columns(["unseen"]), out / "images.parquet")
    store = open_store(out)
    summary = read_json(store, "summary.json")
    summary["sha256"]["images.parquet"] = hash_file(out / "images.parquet")
    write_json(store, "summary.json", summary)
    rows = make_plan(out, threshold=0.85).rows
    assert any(row.is_dropped for row in rows)
    assert all("same bytes" in row.reason for row in rows if row.is_dropped)
