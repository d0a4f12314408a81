"""`apply --link`: a clean data set of what is kept, while the pictures stay as they are."""

import os
import shutil
from pathlib import Path

import pytest

from fastdup_ray import build_dataset, make_plan
from fastdup_ray.errors import ConfigError, InputError
from tests.helpers.commands import call
from tests.helpers.images import cloudy, encode
from tests.helpers.plans import state
from tests.helpers.runs import PHOTOS, files_below, run_inline


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    for name, seed in (("a/1.png", 1), ("a/twin of 1.png", 1), ("b/2.png", 2), ("b/ü\n3.png", 3)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode(cloudy(seed), "PNG"))
    for name in ("a/1.txt", "a/twin of 1.txt", "b/2.png.json", "b/notes.txt"):
        (folder / name).write_text(name)
    (folder / "b/broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def plan(photos, tmp_path) -> Path:
    run_inline(photos, tmp_path / "out")
    make_plan(tmp_path / "out", any_sidecars=True)
    return tmp_path / "out/plan.csv"


KEPT = {"a/1.png", "a/1.txt", "b/2.png", "b/2.png.json", "b/ü\n3.png"}


@pytest.mark.parametrize("kind", ["hard", "copy", "symlink"])
def test_all_but_what_is_dropped_is_in_the_data_set(photos, plan, tmp_path, kind, capsys):
    before = state(photos)
    clean = tmp_path / "clean"
    assert call("apply", plan, "--link", kind, "--to", clean) == 0
    assert "Would put 3 images and 2 sidecars into" in capsys.readouterr().out
    assert not clean.exists()
    assert call("apply", plan, "--link", kind, "--to", clean, "--execute") == 0
    assert "has 3 images and 2 sidecars" in capsys.readouterr().out
    assert state(clean) == {name: before[name] for name in KEPT}
    assert state(photos) == before
    one = clean / "a/1.png"
    assert one.is_symlink() == (kind == "symlink")
    assert one.samefile(photos / "a/1.png") == (kind != "copy")


@pytest.mark.parametrize("kind", ["hard", "copy", "symlink"])
def test_the_same_call_again_adds_what_is_missing_and_writes_over_nothing(photos, plan, tmp_path, kind):
    clean = tmp_path / "clean"
    build_dataset(plan, clean, kind, execute=True)
    whole = state(clean)
    (clean / "a/1.png").unlink()
    (clean / "b/2.png").unlink()
    (clean / "b/2.png").write_bytes(b"my own")
    built = build_dataset(plan, clean, kind, execute=True)
    assert [(Path(name).name, "already exists" in reason) for name, reason in built.refused] == [("2.png", True)]
    assert state(clean) == whole | {"b/2.png": b"my own"}


def test_what_changed_since_the_run_is_left_out_and_what_was_only_touched_is_not(photos, plan, tmp_path):
    os.utime(photos / "b/2.png")
    (photos / "a/1.png").write_bytes(b"x" * (photos / "a/1.png").stat().st_size)
    built = build_dataset(plan, tmp_path / "clean", "hard", execute=True)
    assert [(Path(name).name, reason) for name, reason in built.refused] == [
        ("1.png", "it changed since the run: different content")
    ]
    assert "b/2.png" in files_below(tmp_path / "clean")


def test_a_data_set_inside_the_pictures_would_be_found_by_the_next_run_and_is_refused(photos, plan):
    for folder in (photos, photos / "clean"):
        with pytest.raises(ConfigError, match="an input of the run"):
            build_dataset(plan, folder, "hard", execute=True)
    assert not (photos / "clean").exists()


def test_the_plan_may_be_elsewhere_than_the_run_but_not_of_another(photos, plan, tmp_path, capsys):
    elsewhere = shutil.copy(plan, tmp_path / "my plan.csv")
    with pytest.raises(InputError, match="No finished run"):
        build_dataset(elsewhere, tmp_path / "clean", "hard")
    assert build_dataset(elsewhere, tmp_path / "clean", "hard", work_dir=plan.parent).images == 3
    run_inline(PHOTOS / "phone", tmp_path / "other")
    with pytest.raises(InputError, match="another run"):
        build_dataset(elsewhere, tmp_path / "clean", "hard", work_dir=tmp_path / "other")


def test_links_between_file_systems_are_refused_with_what_to_do(plan):
    clean = Path(f"/dev/shm/fastdup-test-{os.getpid()}-clean")
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == plan.stat().st_dev:
        pytest.skip("no other file system here")
    try:
        built = build_dataset(plan, clean, "hard", execute=True)
        assert built.images == 0
        assert "choose copy or symlink" in built.refused[0][1]
        assert build_dataset(plan, clean, "copy", execute=True).images == 3
    finally:
        shutil.rmtree(clean, ignore_errors=True)
