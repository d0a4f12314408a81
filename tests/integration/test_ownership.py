"""A work_dir in which there are files of the user's own: a run takes none of them away."""

from pathlib import Path

import pytest

from fastdup_ray import leakage
from fastdup_ray.errors import WorkDirError
from tests.helpers.images import save_cloudy
from tests.helpers.runs import files_below, run_inline


@pytest.fixture
def photos(tmp_path) -> Path:
    save_cloudy(tmp_path / "photos", 3)
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


@pytest.mark.parametrize("name", ["config.json", "summary.json", "outliers.csv", "report/index.html", "images.parquet"])
@pytest.mark.parametrize("mode", [0, 1])
def test_a_file_that_no_run_wrote_stays_without_overwrite(photos, out, name, mode):
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    with pytest.raises(WorkDirError, match=name):
        run_inline(photos, out, run_mode=mode)
    assert content(out) == {name: b"mine"}
    run_inline(photos, out, run_mode=mode, overwrite=True)
    assert content(out).get(name) != b"mine"


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("name", ["shards/000.tar", "shards/a/b.jpg", "turned_shards/000.tar"])
def test_a_folder_of_shards_of_the_users_own_stays_in_any_case(photos, out, name, overwrite):
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    with pytest.raises(WorkDirError, match=name):
        run_inline(photos, out, overwrite=overwrite)
    assert content(out) == {name: b"mine"}


def test_what_has_another_name_stays(photos, out):
    own = {".tmp-mine": b"1", "sub/.tmp-1-x.dat": b"2", "notes.txt": b"3"}
    for name, data in own.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(data)
    (out / f".tmp-{'0' * 32}-x.dat").touch()
    (out / ".tmp-folder").mkdir()
    run_inline(photos, out)
    assert content(out).items() >= own.items()
    assert (out / ".tmp-folder").is_dir()
    assert not (out / f".tmp-{'0' * 32}-x.dat").exists()


def test_the_next_run_replaces_what_runs_wrote(photos, out):
    for options in ({}, {"nearest_neighbors_k": 1}, {"run_mode": 1}, {}, {"run_mode": 2}):
        run_inline(photos, out, **options)
    (out / "summary.json").write_text("damaged")
    run_inline(photos, out)


def test_a_leakage_csv_of_the_users_own_stays(photos, out, tmp_path):
    (out / "leakage.csv").write_text("mine")
    with pytest.raises(WorkDirError, match=r"leakage\.csv"):
        leakage(photos, photos, out, executor="inline")
    assert content(out) == {"leakage.csv": b"mine"}
