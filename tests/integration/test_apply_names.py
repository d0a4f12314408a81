"""`apply` and `undo` where names deceive: two names for one file, one name for two, and quarantines that are none."""

import os
import subprocess
from pathlib import Path

import pytest

from fastdup_ray import apply_plan, build_dataset, make_plan, undo
from fastdup_ray.common import layout
from fastdup_ray.curation.file_ops import FileIdentity, get_file_mover
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.errors import RefusedError
from tests.helpers.commands import call
from tests.helpers.images import cloudy, encode
from tests.helpers.plans import fill, row, state, write
from tests.helpers.runs import files_below, run_inline


@pytest.fixture
def photos(tmp_path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def quarantine(tmp_path) -> Path:
    return tmp_path / "q"


# Two names for one file


def test_a_reference_that_an_input_leads_to_by_a_link_is_not_touched(tmp_path, quarantine):
    """x is dropped under the name that the input has for it, as a copy of y: both are reference pictures."""
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    for folder in (theirs, mine):
        folder.mkdir()
    for name in ("x", "y"):
        (theirs / f"{name}.png").write_bytes(encode(cloudy(1), "PNG"))
    (mine / "other.png").write_bytes(encode(cloudy(2), "PNG"))
    (mine / "linked").symlink_to(theirs)
    names = ["other.png", "linked/x.png", "linked/y.png"]
    (tmp_path / "list.txt").write_text("".join(f"{mine / name}\n" for name in names))
    run_inline(tmp_path / "list.txt", tmp_path / "out", reference=[str(theirs)])
    plan = make_plan(tmp_path / "out")
    assert [Path(row.filename).name for row in plan.rows if row.is_dropped] == ["x.png", "y.png"]
    before = state(theirs)
    applied = apply_plan(plan.path, quarantine, execute=True)
    assert not applied.moved
    assert all("it is the same file as" in reason for _, reason in applied.refused)
    assert state(theirs) == before


def test_a_hard_link_to_any_kept_picture_stays_for_nothing_would_be_free(photos, tmp_path, quarantine):
    keeper, kept = fill(photos, ["keep.jpg", "kept.jpg"])
    os.link(kept, photos / "twin.jpg")
    plan = write(tmp_path, [row(keeper), row(kept), row(photos / "twin.jpg", keeper)])
    assert "'kept.jpg'" not in (reason := apply_plan(plan, quarantine, execute=True).refused[0][1])
    assert reason == f"it is the same file as {str(kept)!r}, which is kept"


@pytest.mark.parametrize("mounted", ["folder", "folder of a hard link", "file"])
def test_a_file_does_not_go_to_where_it_is_by_another_way(photos, tmp_path, mounted):
    """What stands under the target is the file itself, mounted twice: to take its name away would be its end."""
    source, way = photos / "a.jpg", tmp_path / "way"
    fill(photos, ["a.jpg"])
    way.mkdir()
    target = way / "b.jpg" if mounted == "file" else way / "a.jpg"
    if mounted == "file":
        target.touch()
    elif mounted == "folder of a hard link":
        os.link(source, tmp_path / "link.jpg")
    ends = (source, target) if mounted == "file" else (photos, way)
    done = subprocess.run(["mount", "--bind", *ends], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        assert target.samefile(source)
        with pytest.raises(RefusedError, match="already exists"):
            get_file_mover(str(source)).move(str(source), str(target), FileIdentity())
        assert source.exists()
    finally:
        subprocess.run(["umount", "-l", ends[1]], check=True)


def test_a_hard_link_in_a_data_set_is_one_to_the_picture_and_not_to_a_link(tmp_path):
    elsewhere, photos = tmp_path / "elsewhere", tmp_path / "photos"
    for folder in (elsewhere, photos):
        folder.mkdir()
    (elsewhere / "real.png").write_bytes(encode(cloudy(1), "PNG"))
    (photos / "a.png").symlink_to("../elsewhere/real.png")
    (photos / "b.png").write_bytes(encode(cloudy(2), "PNG"))
    run_inline(photos, tmp_path / "out")
    make_plan(tmp_path / "out")
    build_dataset(tmp_path / "out/plan.csv", tmp_path / "deep/er/clean", "hard", execute=True)
    linked = tmp_path / "deep/er/clean/a.png"
    assert not linked.is_symlink()
    assert linked.samefile(elsewhere / "real.png")


# One name for two files


def test_a_picture_that_takes_the_name_of_one_that_went_goes_beside_it_and_both_come_back(photos, tmp_path, quarantine):
    keeper, gone = fill(photos, ["keep.jpg", "gone.jpg"])
    first = gone.read_bytes()
    apply_plan(write(tmp_path, [row(keeper), row(gone, keeper)]), quarantine, execute=True)
    gone.write_bytes(os.urandom(3000))
    second = gone.read_bytes()
    plan = write(tmp_path, [row(keeper), row(gone, keeper)])
    assert len(apply_plan(plan, quarantine, execute=True).moved) == 1
    assert set(state(quarantine / "files").values()) == {first, second}
    assert apply_plan(plan, quarantine, execute=True).already_moved == 1
    undone = undo(quarantine)
    assert "already exists" in undone.refused[0][1]
    assert gone.read_bytes() == second
    gone.unlink()
    undo(quarantine)
    assert gone.read_bytes() == first


def test_names_that_differ_in_case_alone_find_room_on_a_disk_that_has_none(photos, tmp_path, quarantine):
    keeper, *gone = fill(photos, ["keep.jpg", "a.jpg", "A.jpg", "A.JPG", "d/x.jpg", "D/x.jpg"])
    before = state(photos)
    apply_plan(write(tmp_path, [row(keeper), *(row(path, keeper) for path in gone)]), quarantine, execute=True)
    names = files_below(quarantine / "files")
    assert len({name.casefold() for name in names}) == len(names) == 5
    undo(quarantine)
    assert state(photos) == before


# Sidecars


def test_a_raw_picture_that_the_plan_keeps_is_no_sidecar(photos, tmp_path, quarantine):
    raw, gone, _ = fill(photos, ["x.dng", "x.jpg", "x.xmp"])
    apply_plan(write(tmp_path, [row(raw), row(gone, raw)]), quarantine, execute=True)
    assert files_below(photos) == {"x.dng", "x.xmp"}


def test_a_sidecar_of_a_kept_picture_stays_whatever_the_case_of_its_name(photos, tmp_path, quarantine):
    keeper, first, second, *_ = fill(
        photos, ["keep.jpg", "img_1.jpg", "img_2.JPG", "IMG_1.png", "img_1.xmp", "IMG_2.xmp"]
    )
    plan = write(tmp_path, [row(keeper), row(first, keeper), row(second, keeper)])
    apply_plan(plan, quarantine, execute=True, any_sidecars=True)
    assert files_below(photos) == {"keep.jpg", "IMG_1.png", "img_1.xmp"}


# Quarantines


@pytest.fixture
def plan(photos, tmp_path) -> Path:
    keeper, *gone = fill(photos, ["keep.jpg", "1.jpg", "2.jpg"])
    return write(tmp_path, [row(keeper), *(row(path, keeper) for path in gone)])


def test_a_folder_of_something_else_is_no_quarantine(photos, plan, tmp_path, capsys):
    before = state(tmp_path)
    for words in (["--execute"], []):
        for folder in (photos, tmp_path):
            assert call("apply", plan, "--quarantine", folder, *words) == 1
            assert "is not empty and not a quarantine" in capsys.readouterr().err
    assert state(tmp_path) == before


def test_a_file_is_no_quarantine(photos, plan, capsys):
    assert call("apply", plan, "--quarantine", photos / "1.jpg", "--execute") == 1
    assert "Cannot write to" in capsys.readouterr().err


def test_a_quarantine_that_was_moved_elsewhere_still_knows_the_way_back(photos, plan, quarantine, tmp_path):
    before = state(photos)
    apply_plan(plan, quarantine, execute=True)
    quarantine.rename(tmp_path / "elsewhere")
    assert len(undo(tmp_path / "elsewhere").restored) == 2
    assert state(photos) == before


def test_what_a_call_left_that_was_killed_while_it_wrote_is_no_journal(photos, plan, quarantine):
    before = state(photos)
    fill(quarantine, [f".tmp-0-{layout.QUARANTINE_MARK}", layout.LOCK])
    apply_plan(plan, quarantine, execute=True)
    fill(quarantine / "journal", [".tmp-0-000002.jsonl"])
    assert apply_plan(plan, quarantine, execute=True).already_moved == 2
    assert len(undo(quarantine).restored) == 2
    assert state(photos) == before


def test_no_journal_takes_the_place_of_another(photos, plan, quarantine, tmp_path):
    paths = [row.filename for row in read_plan(plan)]
    for number, path in enumerate(paths[1:], 1):
        apply_plan(write(tmp_path / str(number), [row(paths[0]), row(path, paths[0])]), quarantine, execute=True)
    (quarantine / "journal/000001.jsonl").rename(tmp_path / "put aside.jsonl")
    keeper, third = fill(tmp_path / "more", ["keep.jpg", "3.jpg"])
    apply_plan(write(tmp_path / "3", [row(keeper), row(third, keeper)]), quarantine, execute=True)
    assert sorted(files_below(quarantine / "journal")) == ["000002.jsonl", "000003.jsonl"]
    assert len(undo(quarantine).restored) == 2
