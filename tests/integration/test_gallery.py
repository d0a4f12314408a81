"""`fastdup-ray gallery`: pages made again from finished outputs, on disk and in a bucket, with pictures or without."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from fastdup_ray import make_pages
from tests.helpers.commands import call
from tests.helpers.images import save_cloudy
from tests.helpers.runs import PHOTOS, files_below, outputs, run_inline

PAGES = ["report/index.html", "duplicates.html", "outliers.html", "components.html"]


@pytest.fixture
def out(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def data_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])


def test_pages_are_made_again_and_nothing_else_changes(out, capsys):
    before, report = outputs(out), (out / "report/index.html").read_text()
    shutil.rmtree(out / "report")
    assert call("gallery", out) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / name) for name in PAGES]
    assert (
        data_of(out / "report/index.html")["lists"]
        == json.loads(report.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])[
            "lists"
        ]
    )
    assert outputs(out) == before
    assert all("data:image" in (out / name).read_text() for name in PAGES)


def test_a_map_is_written_and_the_report_links_to_it(out, tmp_path, capsys):
    assert call("gallery", out, "--map", "pca", "--save-path", tmp_path / "pages") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "pages" / "map.html")
    link = 'href="../map.html"'
    assert link in (tmp_path / "pages/report/index.html").read_text()
    assert link not in (out / "report/index.html").read_text()
    assert call("gallery", out, "--save-path", tmp_path / "pages") == 0
    assert link not in (tmp_path / "pages/report/index.html").read_text()


def test_no_page_is_written_if_the_map_cannot_be_made(out, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    assert call("gallery", out, "--map", "umap", "--save-path", tmp_path / "pages") == 2
    assert files_below(tmp_path) == {f"out/{name}" for name in files_below(out)}


def test_pages_go_elsewhere_and_leave_the_work_dir_as_it_is(out, tmp_path):
    before = {path: (out / path).read_bytes() for path in files_below(out)}
    assert call("gallery", out, "--save-path", tmp_path / "pages", "--num-images", 2) == 0
    assert files_below(tmp_path / "pages") == {*PAGES}
    assert {path: (out / path).read_bytes() for path in files_below(out)} == before
    assert "the first 2 of" in (tmp_path / "pages" / "duplicates.html").read_text()


def test_private_pictures_stay_out_of_pages(tmp_path, capsys):
    """Asked of the run, and then of itself; and the other way round."""
    paths = save_cloudy(tmp_path / "in", 4)
    shutil.copyfile(paths[0], tmp_path / "in" / "copy.jpg")
    run = ("run", tmp_path / "in", "--work-dir", tmp_path / "out", "--executor", "inline", "--no-thumbnails")
    assert call(*run) == 0
    report = tmp_path / "out" / "report" / "index.html"
    assert "data:image" not in report.read_text()
    assert "copy.jpg" in report.read_text()
    assert call("gallery", tmp_path / "out") == 0
    assert not any("data:image" in (tmp_path / "out" / name).read_text() for name in PAGES)
    assert call("gallery", tmp_path / "out", "--thumbnails") == 0
    assert all("data:image" in (tmp_path / "out" / name).read_text() for name in PAGES[:2])
    assert call("gallery", tmp_path / "out", "--no-thumbnails") == 0
    assert "data:image" not in report.read_text()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["thumbnails"] is False


def test_a_scored_work_dir_has_both_reports(tmp_path):
    save_cloudy(tmp_path / "in", 4)
    run_inline(tmp_path / "in", tmp_path / "out")
    run_inline(tmp_path / "in", tmp_path / "out", run_mode=3)
    shutil.rmtree(tmp_path / "out" / "report")
    shutil.rmtree(tmp_path / "out" / "test_report")
    made = make_pages(tmp_path / "out")
    assert [os.path.relpath(path, tmp_path / "out") for path in made] == [
        PAGES[0],
        "test_report/index.html",
        *PAGES[1:],
    ]
    assert data_of(Path(made[1]))["lists"]["leakage"]["exact"] == 4
    assert "groups" in data_of(Path(made[0]))["lists"]


def test_without_components_there_is_no_gallery_of_them(tmp_path):
    save_cloudy(tmp_path / "in", 3)
    run_inline(tmp_path / "in", tmp_path / "out", run_cc=False)
    assert [os.path.basename(path) for path in make_pages(tmp_path / "out")] == [
        *("index.html", "duplicates.html", "outliers.html")
    ]


@pytest.mark.parametrize("made", ["nothing", "features"])
def test_what_is_no_finished_run_is_said_in_one_line(tmp_path, capsys, made):
    if made == "features":
        save_cloudy(tmp_path / "in", 2)
        run_inline(tmp_path / "in", tmp_path / "out", run_mode=1)
    before = files_below(tmp_path)
    capsys.readouterr()
    assert call("gallery", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "No finished run in" in told
    assert told.count("\n") == 1
    assert files_below(tmp_path) == before


def test_pictures_that_are_gone_are_placeholders(tmp_path):
    paths = save_cloudy(tmp_path / "in", 3)
    shutil.copyfile(paths[0], tmp_path / "in" / "copy.jpg")
    run_inline(tmp_path / "in", tmp_path / "out")
    shutil.rmtree(tmp_path / "in")
    make_pages(tmp_path / "out")
    pictures = data_of(tmp_path / "out" / "report/index.html")["pictures"]
    assert set(pictures["thumb"]) == {-1}
    assert set(pictures["problem"]) == {"the file does not exist"}
    assert all(pictures["size"])  # what the run saw is still told


@pytest.mark.slow
def test_a_bucket_has_its_pages_from_its_own_pictures(bucket, capsys):
    bucket.put_folder(PHOTOS)
    run_inline(bucket.pictures, bucket.work_dir, report=False)
    assert "report/index.html" not in bucket.outputs()
    assert call("gallery", bucket.work_dir) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{bucket.work_dir}/report/index.html"
    made = bucket.outputs()
    assert {*PAGES} <= set(made)
    text = made["report/index.html"].decode()
    assert text.count("data:image/jpeg") > 20
    assert "s3://" in text
    assert "no thumbnail on this page" not in text


def test_an_image_that_was_replaced_after_the_run_is_not_shown(tmp_path):
    path = save_cloudy(tmp_path / "photos", 3)[0]
    run_inline(tmp_path / "photos", tmp_path / "out", threshold=0.0)
    before, data = os.stat(path), Path(path).read_bytes()
    Path(path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    make_pages(tmp_path / "out")
    pictures = data_of(tmp_path / "out/report/index.html")["pictures"]
    problems = dict(zip(pictures["base"], pictures["problem"], strict=True))
    assert problems.pop(Path(path).name) == "changed since the run"
    assert set(problems.values()) == {""}
