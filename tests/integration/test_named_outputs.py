"""Commands and functions that write where the user says: whatever is there already is not destroyed unasked."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastdup_ray import (
    create_components_gallery,
    create_duplicates_gallery,
    create_outliers_gallery,
    export,
    load_binary_feature,
    make_pages,
    make_plan,
    save_binary_feature,
)
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.errors import WorkDirError
from fastdup_ray.evaluation.evaluate import evaluate
from tests.helpers.commands import call
from tests.helpers.embeddings import unit_rows
from tests.helpers.runs import PHOTOS, csv_rows, files_below

PAGES = ["report/index.html", "duplicates.html", "outliers.html", "components.html"]
GALLERIES = {
    "duplicates.html": create_duplicates_gallery,
    "outliers.html": create_outliers_gallery,
    "components.html": create_components_gallery,
}


@pytest.fixture
def out(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture
def truth_file(tmp_path) -> Path:
    """The truth about the photos, with their absolute paths."""
    path = tmp_path / "truth.csv"
    header, *rows = csv_rows(PHOTOS.with_suffix(".csv"))
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *([str(PHOTOS / name), *cells] for name, *cells in rows)])
    return path


COMMANDS = {
    "keep-list": ("export", "{out}", "--format", "keep-list", "--save-path", "{file}"),
    "drop-list": ("export", "{out}", "--format", "drop-list", "--null", "--save-path", "{file}"),
    "fiftyone": ("export", "{out}", "--format", "fiftyone", "--save-path", "{file}"),
    "plan": ("plan", "{out}", "--save-path", "{file}"),
    "plot": ("evaluate", "{out}", "{truth}", "--plot", "{file}"),
}
"""Each command that writes a file of a name that is given."""


def command_of(name: str, out: Path, truth: Path, file: Path | str) -> list[str]:
    return [word.format(out=out, truth=truth, file=file) for word in COMMANDS[name]]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("suffix", [".svg", ".json.svg"])
def test_a_file_that_exists_is_replaced_only_with_overwrite(out, truth_file, tmp_path, capsys, name, suffix):
    """Whatever is in it: an image, or JSON that is no plan."""
    file = tmp_path / ("mine" + suffix)
    shutil.copyfile(PHOTOS / "originals/cat.jpg", file)
    before = file.read_bytes()
    command = command_of(name, out, truth_file, file)
    assert call(*command) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "--overwrite" in told.err
    assert str(file) in told.err
    assert file.read_bytes() == before
    assert call(*command, "--overwrite") == 0
    assert file.read_bytes() != before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dash_prints_the_file_and_nothing_else(out, truth_file, tmp_path, monkeypatch, capfdbinary, name):
    monkeypatch.chdir(tmp_path)
    before = files_below(tmp_path)
    assert call(*command_of(name, out, truth_file, file="-")) == 0
    printed, told = capfdbinary.readouterr()
    assert files_below(tmp_path) == before
    assert call(*command_of(name, out, truth_file, file="same.svg")) == 0
    assert printed == (tmp_path / "same.svg").read_bytes()
    assert told.count(b"\n") >= 1
    assert b"{" not in told


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_where_a_file_is_needed_is_one_line(out, truth_file, tmp_path, capsys, name):
    (tmp_path / "folder.svg").mkdir()
    assert call(*command_of(name, out, truth_file, tmp_path / "folder.svg")) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "is a folder" in told


def test_a_command_whose_reader_has_enough_ends_in_silence(out):
    command = [sys.executable, "-c", "from fastdup_ray.cli.main import main; main()", "export", str(out)]
    code = 'trap "" PIPE; "$@" --format fiftyone --save-path - | head -c 1'
    done = subprocess.run(["bash", "-c", code, "bash", *command], capture_output=True, text=True)
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_plot_of_a_folder_of_images_is_alone_on_standard_output(truth_file, capfd):
    assert call("evaluate", PHOTOS, truth_file, "--plot", "-", "--executor", "inline") == 0
    printed, told = capfd.readouterr()
    assert printed.startswith("<svg")
    assert printed.rstrip().endswith("</svg>")
    assert "precision" in told


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["plan.csv", "plan.json"])
def test_the_same_plan_again_leaves_the_file_as_it_is(out, tmp_path, file):
    """Also one with a column that somebody added."""
    path = tmp_path / file
    rows = make_plan(out, path).rows
    if file == "plan.csv":
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([f"{header},remark", *(f"{line},fine" for line in lines)]) + "\n")
    before = path.read_bytes(), path.stat().st_ino
    assert read_plan(path) == rows
    make_plan(out, path)
    assert (path.read_bytes(), path.stat().st_ino) == before
    with pytest.raises(WorkDirError):
        make_plan(out, path, threshold=1.0)
    assert (path.read_bytes(), path.stat().st_ino) == before


def test_a_plan_that_is_a_link_stays_a_link(out, tmp_path):
    (out / "plan.csv").symlink_to(tmp_path / "plans.csv")
    rows = make_plan(out).rows
    make_plan(out, overwrite=True)
    assert (out / "plan.csv").is_symlink()
    assert read_plan(tmp_path / "plans.csv") == rows


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GALLERIES)
def test_a_gallery_replaces_a_page_of_ours_and_no_other(out, tmp_path, name):
    create, folder = GALLERIES[name], tmp_path / "pages"
    assert create(work_dir=out, save_path=folder) == create(work_dir=out, save_path=folder) == str(folder / name)
    (folder / name).write_text("<html>of somebody else</html>")
    with pytest.raises(WorkDirError, match="overwrite=True"):
        create(work_dir=out, save_path=folder)
    assert (folder / name).read_text() == "<html>of somebody else</html>"
    create(work_dir=out, save_path=folder, overwrite=True)
    assert (folder / name).read_text().startswith("<!DOCTYPE html>")


def test_beside_a_csv_that_was_copied_elsewhere_a_page_of_somebody_else_stays(out, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(out / "similarity.csv", folder)
    (folder / "duplicates.html").write_text("mine")
    with pytest.raises(WorkDirError):
        create_duplicates_gallery(folder / "similarity.csv")
    (folder / "duplicates.html").unlink()
    create_duplicates_gallery(folder / "similarity.csv")
    create_duplicates_gallery(folder / "similarity.csv")


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_written_where_one_would_replace_what_is_not_ours(out, tmp_path, capsys, page):
    folder = tmp_path / "site"
    (folder / page).parent.mkdir(parents=True)
    (folder / page).write_text("mine")
    assert call("gallery", out, "--save-path", folder) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert page in told
    assert "--overwrite" in told
    assert files_below(folder) == {page}
    assert (folder / page).read_text() == "mine"
    assert call("gallery", out, "--save-path", folder, "--overwrite") == 0
    assert call("gallery", out, "--save-path", folder) == 0
    assert files_below(folder) == {*PAGES}


def test_pages_in_the_work_dir_are_replaced_whoever_made_them(out):
    """Those of earlier versions have no mark."""
    for name in PAGES:
        (out / name).write_text("<html>of an earlier version</html>")
    make_pages(out)
    make_pages(out)
    assert all("fastdup_ray" in (out / name).read_text() for name in PAGES)


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_pages_need_a_folder(out, tmp_path, capsys, folder):
    (tmp_path / "file").write_text("mine")
    assert call("gallery", out, "--save-path", tmp_path / folder) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


# --- features ---------------------------------------------------------------------------------------------------------


def test_features_of_ones_own_replace_nothing_unasked(out, tmp_path):
    before = {path: (out / path).read_bytes() for path in files_below(out)}
    rows = unit_rows(2, 8)
    with pytest.raises(WorkDirError, match="results of a run"):
        save_binary_feature(out, ["/a.jpg", "/b.jpg"], rows)
    assert {path: (out / path).read_bytes() for path in files_below(out)} == before
    for names in (["/x.jpg", "/y.jpg"], ["/a.jpg", "/b.jpg"]):  # what an earlier call saved may be replaced
        save_binary_feature(tmp_path / "own", names, rows)
    assert load_binary_feature(tmp_path / "own")[0] == ["/a.jpg", "/b.jpg"]
    for name in ("features.dat", "features.dat.csv"):
        alone = tmp_path / name.replace(".", "-")
        alone.mkdir()
        shutil.copy(tmp_path / "own" / name, alone)
        with pytest.raises(WorkDirError, match="exists"):
            save_binary_feature(alone, ["/c.jpg"], unit_rows(1, 8))
        assert files_below(alone) == {name}
    save_binary_feature(out, ["/c.jpg"], unit_rows(1, 8), overwrite=True)
    assert load_binary_feature(out)[0] == ["/c.jpg"]
    assert not (out / "summary.json").exists()


# --- objects ----------------------------------------------------------------------------------------------------------


def test_objects_that_exist_stay(out, truth_file, bucket):
    mine = {name: bucket.put(name, b"mine") for name in ("keep.txt", "plan.csv", "curves.svg", "duplicates.html")}
    site = bucket.uri("duplicates.html").rpartition("/")[0]
    for write in (
        lambda **options: export(out, "keep-list", mine["keep.txt"], **options),
        lambda **options: make_plan(out, mine["plan.csv"], **options),
        lambda **options: evaluate(str(out), str(truth_file), mine["curves.svg"], **options),
        lambda **options: make_pages(out, site, **options),
    ):
        with pytest.raises(WorkDirError, match="exists"):
            write()
        write(overwrite=True)
    make_pages(out, site)
    make_plan(out, mine["plan.csv"])
