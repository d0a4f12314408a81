"""`apply` and `undo`: what goes, what stays and why, and that all comes back."""

import errno
import fcntl
import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from fastdup_ray import apply_plan, make_plan, undo
from fastdup_ray.common import layout
from fastdup_ray.curation.file_ops import FileIdentity, atomic_move, get_file_mover
from fastdup_ray.curation.plan_rows import SIDECAR
from fastdup_ray.errors import DamagedError, InputError, LockedError, RefusedError, WorkDirError
from tests.helpers.commands import call
from tests.helpers.images import cloudy, encode
from tests.helpers.plans import fill, row, state, write
from tests.helpers.runs import files_below, run_inline


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    fill(folder, ["a/keep.jpg", "a/drop.jpg", "b/drop.jpg"])
    return folder


@pytest.fixture
def quarantine(tmp_path) -> Path:
    return tmp_path / "q"


@pytest.fixture
def plan(photos, tmp_path) -> Path:
    keeper = photos / "a/keep.jpg"
    return write(tmp_path, [row(keeper), row(photos / "a/drop.jpg", keeper), row(photos / "b/drop.jpg", keeper)])


def moved_to(quarantine: Path, path: Path) -> Path:
    return Path(f"{quarantine}/files{path}")


def reasons(applied) -> dict[str, str]:
    return {Path(name).name: reason for name, reason in applied.refused}


def test_without_execute_everything_stays_and_is_told(photos, plan, quarantine, capsys):
    before = state(photos)
    assert call("apply", plan, "--quarantine", quarantine) == 0
    told = capsys.readouterr().out
    assert told.startswith("Would move 2 images (6 kB) to")
    assert "--execute" in told.splitlines()[0]
    assert f"{photos / 'a/drop.jpg'} (duplicate of {photos / 'a/keep.jpg'})" in told
    assert state(photos) == before
    assert not quarantine.exists()


def test_a_dry_run_lists_five_examples_of_what_goes_and_of_what_stays(tmp_path, quarantine, capsys):
    folder = tmp_path / "photos"
    keeper, *others = fill(folder, ["keep.jpg", *(f"{number}.jpg" for number in range(9))])
    plan = write(tmp_path, [row(keeper), *(row(path, keeper) for path in others)])
    for path in others[-2:]:
        path.write_bytes(b"changed")
    assert call("apply", plan, "--quarantine", quarantine) == 5
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Would move 7 images (21 kB)")
    assert [line.split()[0] for line in lines[1:6]] == [str(path) for path in others[:5]]
    assert "2 more" in lines[6]
    assert "2 files" in lines[7]
    assert [line.split(":")[0] for line in lines[8:]] == [f"  skipped {path}" for path in others[-2:]]
    assert call("apply", plan, "--quarantine", quarantine, "--verbose") == 5
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:8]] == [str(path) for path in others[:7]]


def test_what_is_dropped_moves_to_the_quarantine_and_undo_brings_it_back(photos, plan, quarantine, capsys):
    before = state(photos)
    times = {path: path.stat().st_mtime_ns for path in photos.rglob("*.jpg")}
    assert call("apply", plan, "--quarantine", quarantine, "--execute") == 0
    told = capsys.readouterr().out
    assert "Moved 2 images (6 kB) to" in told
    assert f"fastdup-ray undo {quarantine}" in told
    assert state(photos) == {"a/keep.jpg": before["a/keep.jpg"]}
    assert state(quarantine / "files") == {
        str(photos / name)[1:]: before[name] for name in ("a/drop.jpg", "b/drop.jpg")
    }
    assert call("undo", quarantine) == 0
    assert "Restored 2 files." in capsys.readouterr().out
    assert state(photos) == before
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*.jpg")} == times
    assert not (quarantine / "files").exists()
    assert call("undo", quarantine) == 0
    assert "Nothing to restore" in capsys.readouterr().out


def test_the_same_call_again_does_nothing_more_and_apply_works_after_an_undo(photos, plan, quarantine):
    assert len(apply_plan(plan, quarantine, execute=True).moved) == 2
    again = apply_plan(plan, quarantine, execute=True)
    assert (len(again.moved), again.already_moved, again.refused) == (0, 2, [])
    assert "Moved earlier: 2 images." in again.text()
    undo(quarantine)
    assert len(apply_plan(plan, quarantine, execute=True).moved) == 2
    assert files_below(photos) == {"a/keep.jpg"}


def test_a_folder_that_is_gone_by_then_is_made_again(photos, plan, quarantine):
    before = state(photos)
    apply_plan(plan, quarantine, execute=True)
    shutil.rmtree(photos / "b")
    assert len(undo(quarantine).restored) == 2
    assert state(photos) == before


def test_only_what_is_asked_for_comes_back(photos, plan, quarantine):
    apply_plan(plan, quarantine, execute=True)
    assert [Path(move.source).parent.name for move in undo(quarantine, only="**/b/*").restored] == ["b"]
    assert files_below(photos) == {"a/keep.jpg", "b/drop.jpg"}
    assert len(undo(quarantine).restored) == 1


# What stays, and why


def test_a_picture_that_changed_stays(photos, plan, quarantine, capsys):
    (photos / "a/drop.jpg").write_bytes(os.urandom(3000))
    (photos / "b/drop.jpg").write_bytes(b"shorter")
    before = state(photos)
    assert call("apply", plan, "--quarantine", quarantine, "--execute") == 5
    told = capsys.readouterr()
    assert "it changed since the run: different content" in told.out
    assert "it changed since the run: 7 bytes instead of 3,000" in told.out
    assert "2 files stayed where they are" in told.err
    assert "Traceback" not in told.err
    assert state(photos) == before


@pytest.mark.parametrize("how", ["gone", "changed", "longer", "folder", "unreadable link"])
def test_a_picture_stays_where_its_keeper_is_gone_or_changed(photos, plan, quarantine, how):
    keeper = photos / "a/keep.jpg"
    if how == "changed":
        keeper.write_bytes(os.urandom(3000))
    elif how == "longer":
        keeper.write_bytes(keeper.read_bytes() + b"x")
    else:
        keeper.unlink()
    if how == "folder":
        keeper.mkdir()
    elif how == "unreadable link":
        keeper.symlink_to(keeper)
    applied = apply_plan(plan, quarantine, execute=True)
    assert not applied.moved
    assert all("cannot be relied on" in reason for reason in reasons(applied).values())
    assert {"a/drop.jpg", "b/drop.jpg"} <= files_below(photos)


def test_a_keeper_that_goes_under_way_is_noticed_before_the_next_move(photos, plan, quarantine):
    def take_keeper(line: str) -> None:
        if line.startswith("moved"):
            (photos / "a/keep.jpg").rename(photos / "a/elsewhere.jpg")

    applied = apply_plan(plan, quarantine, execute=True, tell=take_keeper)
    assert len(applied.moved) == 1
    assert "its keeper" in applied.refused[0][1]
    assert "gone" in applied.refused[0][1]


def test_what_is_gone_is_told(photos, plan, quarantine):
    (photos / "a/drop.jpg").unlink()
    applied = apply_plan(plan, quarantine, execute=True)
    assert reasons(applied) == {"drop.jpg": "it is gone"}
    assert len(applied.moved) == 1


def test_a_hard_link_to_the_keeper_stays(photos, tmp_path, quarantine):
    keeper, twin = photos / "a/keep.jpg", photos / "a/twin.jpg"
    os.link(keeper, twin)
    applied = apply_plan(write(tmp_path, [row(keeper), row(twin, keeper)]), quarantine, execute=True)
    assert reasons(applied)["twin.jpg"] == f"it is the same file as {str(keeper)!r}, which is kept"
    assert twin.exists()
    assert keeper.exists()


@pytest.mark.parametrize("way", ["the keeper is a link to it", "it is a link to the keeper"])
def test_a_link_and_what_it_leads_to_both_stay(photos, tmp_path, quarantine, way):
    real, link = photos / "a/keep.jpg", photos / "b/link.jpg"
    link.symlink_to("../a/keep.jpg")
    rows = [row(link), row(real, link)] if way.startswith("the keeper") else [row(real), row(link, real)]
    applied = apply_plan(write(tmp_path, rows), quarantine, execute=True)
    assert not applied.moved
    assert "it is the same file as" in applied.refused[0][1]
    assert link.is_symlink()
    assert real.exists()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_became_a_folder_or_a_pipe_under_the_name_of_a_picture_stays(photos, plan, quarantine, make):
    (photos / "a/drop.jpg").unlink()
    make(photos / "a/drop.jpg")
    for execute in (False, True):
        assert reasons(apply_plan(plan, quarantine, execute=execute))["drop.jpg"] == "it is not a regular file"
    assert (photos / "a/drop.jpg").exists()
    assert not (photos / "b/drop.jpg").exists()


def test_a_symbolic_link_to_something_else_stays(photos, tmp_path, quarantine):
    keeper, link, other = photos / "a/keep.jpg", photos / "a/link.jpg", photos / "b/drop.jpg"
    link.symlink_to(other)
    plan = write(tmp_path, [row(keeper), row(link, keeper)])
    for execute in (False, True):
        assert "symbolic link" in reasons(apply_plan(plan, quarantine, execute=execute))["link.jpg"]
    assert link.is_symlink()
    assert other.exists()


def test_what_another_kept_picture_is_a_link_to_stays(photos, tmp_path, quarantine):
    keeper, real, link = photos / "a/keep.jpg", photos / "a/drop.jpg", photos / "b/kept link.jpg"
    link.symlink_to(real)
    applied = apply_plan(write(tmp_path, [row(keeper), row(link), row(real, keeper)]), quarantine, execute=True)
    assert reasons(applied)["drop.jpg"] == f"it is the same file as {str(link)!r}, which is kept"
    assert link.read_bytes() == real.read_bytes()


def test_a_picture_in_a_linked_folder_moves_as_any_other(photos, tmp_path, quarantine):
    (tmp_path / "linked").symlink_to(photos / "b")
    keeper, seen = photos / "a/keep.jpg", tmp_path / "linked/drop.jpg"
    before = state(photos)
    assert len(apply_plan(write(tmp_path, [row(keeper), row(seen, keeper)]), quarantine, execute=True).moved) == 1
    assert files_below(photos) == {"a/keep.jpg", "a/drop.jpg"}
    undo(quarantine)
    assert state(photos) == before
    assert (tmp_path / "linked").is_symlink()


def test_pictures_in_archives_and_frames_of_videos_stay(photos, tmp_path, quarantine):
    with tarfile.open(photos / "x.tar", "w") as tar:
        info = tarfile.TarInfo("in.jpg")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"data"))
    keeper = photos / "a/keep.jpg"
    gone = row(photos / "a/drop.jpg", keeper)
    names = [f"{photos}/x.tar!/in.jpg", f"{photos}/clip.mp4#t=1.000"]
    applied = apply_plan(
        write(tmp_path, [row(keeper), *(replace(gone, filename=name) for name in names)]), quarantine, execute=True
    )
    assert [name for name, _ in applied.refused] == names
    assert all("cannot be moved" in reason for _, reason in applied.refused)


def test_a_reference_in_an_archive_keeps_its_copies_away_while_it_is_what_it_was(photos, tmp_path, quarantine):
    data = (photos / "a/keep.jpg").read_bytes()
    for content in (data, b"another"):
        with tarfile.open(photos / "x.tar", "w") as tar:
            info = tarfile.TarInfo("in.jpg")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        inside = replace(row(photos / "a/keep.jpg"), filename=f"{photos}/x.tar!/in.jpg", reference=True)
        plan = write(tmp_path, [inside, row(photos / "a/drop.jpg", inside.filename)])
        applied = apply_plan(plan, quarantine)
        assert len(applied.moved) == (content == data)


def test_no_picture_of_a_reference_input_is_ever_dropped(tmp_path, quarantine):
    for folder in ("mine", "theirs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.png").write_bytes(encode(cloudy(1), "PNG"))
        (tmp_path / folder / "other.png").write_bytes(encode(cloudy(2), "PNG"))
    run_inline(tmp_path / "mine", tmp_path / "out", reference=[str(tmp_path / "theirs")])
    for keep in ("reference,bytes", "path:mine/*"):
        rows = make_plan(tmp_path / "out", keep=keep, overwrite=True).rows
        assert {Path(row.filename).parent.name for row in rows if row.reference} == {"theirs"}
        assert not [row for row in rows if row.reference and row.is_dropped]
        assert sum(row.is_dropped for row in rows) == (2 if keep.startswith("reference") else 0)
    plan = tmp_path / "out/plan.csv"
    plan.write_text(plan.read_text().replace(",keep,", ",drop,"))
    assert call("apply", plan, "--quarantine", quarantine, "--execute") == 1
    assert not quarantine.exists()
    assert len(files_below(tmp_path / "theirs")) == 2


def test_without_a_digest_nothing_moves(photos, tmp_path, quarantine):
    keeper, gone = row(photos / "a/keep.jpg"), row(photos / "a/drop.jpg", photos / "a/keep.jpg")
    for rows, whose in (
        ([keeper, replace(gone, sha256="")], "its digest"),
        ([replace(keeper, sha256=""), gone], "its keeper's digest"),
    ):
        applied = apply_plan(write(tmp_path, rows), quarantine, execute=True)
        assert reasons(applied)["drop.jpg"].startswith(whose)


def test_nothing_in_the_quarantine_is_written_over(photos, plan, quarantine):
    target = moved_to(quarantine, photos / "a/drop.jpg")
    target.parent.mkdir(parents=True)
    target.write_bytes(b"somebody else's")
    (quarantine / layout.QUARANTINE_MARK).touch()
    before = state(photos)
    applied = apply_plan(plan, quarantine, execute=True)
    assert len(applied.moved) == 2
    assert target.read_bytes() == b"somebody else's"
    assert target.with_name("drop (2).jpg").read_bytes() == before["a/drop.jpg"]
    undo(quarantine)
    assert state(photos) == before
    assert target.exists()


def test_what_comes_to_stand_in_the_quarantine_meanwhile_is_not_written_over(photos, plan, quarantine):
    target = moved_to(quarantine, photos / "b/drop.jpg")

    def stand_in_the_way(line: str) -> None:
        if line.startswith("moved"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"quick")

    applied = apply_plan(plan, quarantine, execute=True, tell=stand_in_the_way)
    assert "already exists" in applied.refused[0][1]
    assert target.read_bytes() == b"quick"
    assert (photos / "b/drop.jpg").exists()


def test_undo_writes_over_nothing_and_goes_on_when_there_is_room(photos, plan, quarantine, capsys):
    before = state(photos)
    apply_plan(plan, quarantine, execute=True)
    (photos / "a/drop.jpg").write_bytes(b"a new picture")
    assert call("undo", quarantine) == 5
    told = capsys.readouterr()
    assert "already exists and is another file" in told.out
    assert "1 file stayed in the quarantine" in told.err
    assert (photos / "a/drop.jpg").read_bytes() == b"a new picture"
    assert (photos / "b/drop.jpg").exists()
    (photos / "a/drop.jpg").unlink()
    assert call("undo", quarantine) == 0
    assert state(photos) == before


def test_what_somebody_took_out_of_the_quarantine_is_told(photos, plan, quarantine, capsys):
    apply_plan(plan, quarantine, execute=True)
    moved_to(quarantine, photos / "a/drop.jpg").unlink()
    undone = undo(quarantine)
    assert len(undone.restored) == 1
    assert undone.lost == [str(photos / "a/drop.jpg")]
    assert call("undo", quarantine) == 0
    assert f"  {photos / 'a/drop.jpg'}" in capsys.readouterr().out.splitlines()


# Names


HOSTILE = [
    "new\nline.jpg",
    "\"quoted\", 'really'.jpg",
    "\udcff\udcfe.jpg",
    "ü — 絵.jpg",
    "-rf *.jpg",
    " x .jpg",
    "\x1b[31m.jpg",
]


@pytest.mark.parametrize("format", ["csv", "json"])
def test_any_name_goes_and_comes_back(tmp_path, quarantine, format, capsys):
    folder = tmp_path / "photos"
    paths = fill(folder, ["keep.jpg", *HOSTILE])
    before = state(folder)
    plan = write(tmp_path, [row(paths[0]), *(row(path, paths[0]) for path in paths[1:])], f"plan.{format}")
    assert call("apply", plan, "--quarantine", quarantine, "--execute", "--verbose") == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) == len(HOSTILE) + 2
    assert "\x1b" not in told
    assert set(state(folder)) == {"keep.jpg"}
    assert call("undo", quarantine) == 0
    assert state(folder) == before


def test_a_name_that_is_too_long_for_the_quarantine_stays(tmp_path):
    paths = fill(tmp_path / "photos", ["keep.jpg", "x" * 250 + ".jpg"])
    deep = tmp_path / ("d" * 200)
    while len(str(deep)) < 3800:
        deep = deep / ("d" * 200)
    plan = write(tmp_path, [row(paths[0]), row(paths[1], paths[0])])
    os.makedirs(deep)
    applied = apply_plan(plan, deep / "q", execute=True)
    assert "File name too long" in applied.refused[0][1]
    assert paths[1].exists()


# Sidecars


def test_sidecars_go_with_their_picture_and_come_back(tmp_path, quarantine):
    folder = tmp_path / "photos"
    keeper, gone = fill(folder, ["keep.jpg", "gone.jpg"])
    beside = ["gone.txt", "gone.JSON", "gone.jpg.xmp", "gone.CR2", "gone.caption", "gone.npz", "gone.xml"]
    not_beside = ["keep.txt", "keep.jpg.txt", "gone.jpg.bak", "gone2.txt", "gone.html", "gone.jpg.jpg"]
    fill(folder, [*beside, *not_beside])
    before = state(folder)
    plan = write(tmp_path, [row(keeper), row(gone, keeper)])
    applied = apply_plan(plan, quarantine, execute=True, any_sidecars=True)
    assert {Path(move.source).name for move in applied.moved} == {"gone.jpg", *beside}
    assert "Moved 1 image and 7 sidecars" in applied.text()
    assert files_below(folder) == {"keep.jpg", *not_beside}
    undo(quarantine)
    assert state(folder) == before


@pytest.mark.parametrize("other", ["gone.png", "gone.mp4", "gone.HEIC"])
def test_a_sidecar_stays_while_another_picture_of_its_stem_does(tmp_path, quarantine, other):
    folder = tmp_path / "photos"
    keeper, gone, _, _, _ = fill(folder, ["keep.jpg", "gone.jpg", other, "gone.txt", "gone.jpg.txt"])
    apply_plan(write(tmp_path, [row(keeper), row(gone, keeper)]), quarantine, execute=True, any_sidecars=True)
    assert files_below(folder) == {"keep.jpg", other, "gone.txt"}


def test_a_sidecar_of_two_pictures_goes_when_both_have_gone(tmp_path, quarantine):
    folder = tmp_path / "photos"
    keeper, first, second, caption = fill(folder, ["keep.jpg", "gone.jpg", "gone.png", "gone.txt"])
    plan = write(tmp_path, [row(keeper), row(first, keeper), row(second, keeper)])
    whole = second.read_bytes()
    second.write_bytes(b"changed")
    applied = apply_plan(plan, quarantine, execute=True, any_sidecars=True)
    assert "may need it" in reasons(applied)["gone.txt"]
    assert caption.exists()
    assert not first.exists()
    second.write_bytes(whole)
    apply_plan(plan, quarantine, execute=True, any_sidecars=True)
    assert files_below(folder) == {"keep.jpg"}


UNIQUE = {
    "none beside the keeper": {"gone.txt": "a"},
    "another one": {"gone.txt": "a", "keep.txt": "b"},
    "another one of the same size, beside the whole name": {"gone.jpg.xmp": "a", "keep.jpg.xmp": "b"},
    "one of two": {"gone.txt": "a", "keep.txt": "a", "gone.json": "{}"},
}


@pytest.mark.parametrize("sidecars", UNIQUE.values(), ids=UNIQUE)
def test_an_image_with_a_sidecar_that_its_keeper_lacks_stays_unless_asked(tmp_path, quarantine, sidecars, capsys):
    folder = tmp_path / "photos"
    keeper, gone = fill(folder, ["keep.jpg", "gone.jpg"])
    for name, text in sidecars.items():
        (folder / name).write_text(text)
    plan, before = write(tmp_path, [row(keeper), row(gone, keeper)]), state(folder)
    for options in ([], ["--execute"]):
        assert call("apply", plan, "--quarantine", quarantine, *options) == 5
        assert "--any-sidecars" in capsys.readouterr().out
        assert state(folder) == before
    applied = apply_plan(plan, quarantine)
    assert (applied.moved, applied.held, [name for name, _ in applied.refused]) == ([], 1, [str(gone)])
    assert call("apply", plan, "--quarantine", quarantine, "--execute", "--any-sidecars") == 0
    assert files_below(folder) == {"keep.jpg"} | {name for name in sidecars if name.startswith("keep")}


KEPT = {
    "the same beside the keeper": {"gone.txt": "a", "keep.TXT": "a"},
    "named otherwise": {"gone.jpg.xmp": "a", "keep.xmp": "a"},
    "one that stays with another image": {"gone.txt": "a", "gone.png": "an image"},
}


@pytest.mark.parametrize("sidecars", KEPT.values(), ids=KEPT)
def test_an_image_whose_sidecars_are_kept_goes(tmp_path, quarantine, sidecars):
    folder = tmp_path / "photos"
    keeper, gone = fill(folder, ["keep.jpg", "gone.jpg"])
    for name, text in sidecars.items():
        (folder / name).write_text(text)
    applied = apply_plan(write(tmp_path, [row(keeper), row(gone, keeper)]), quarantine, execute=True)
    assert (applied.refused, applied.held) == ([], 0)
    assert not gone.exists()


def test_a_call_that_was_interrupted_takes_the_sidecar_along_that_it_left(tmp_path, quarantine):
    folder = tmp_path / "photos"
    keeper, gone, caption = fill(folder, ["keep.jpg", "gone.jpg", "gone.txt"])
    plan = write(tmp_path, [row(keeper), row(gone, keeper)])
    apply_plan(plan, quarantine, execute=True, any_sidecars=True)
    shutil.move(moved_to(quarantine, caption), caption)
    apply_plan(plan, quarantine, execute=True)
    assert files_below(folder) == {"keep.jpg"}


def test_a_plan_keeps_images_with_sidecars_that_their_keepers_lack(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png", "d.png"):
        (folder / name).write_bytes(encode(cloudy(1), "PNG"))
    for name, text in {"a.txt": "cat", "b.txt": "cat", "c.txt": "dog"}.items():
        (folder / name).write_text(text)
    result = run_inline(folder, tmp_path / "out")
    assert (result.counts["duplicates"], result.counts["safe_to_drop"], result.counts["to_review"]) == (3, 2, 1)
    plan = make_plan(tmp_path / "out")
    rows = {Path(row.filename).name: row for row in plan.rows}
    assert {name: row.action for name, row in rows.items()} == {
        "a.png": "keep",
        "b.png": "drop",
        "c.png": "keep",
        "d.png": "drop",
    }
    assert (rows["c.png"].rule, rows["c.png"].keeper, plan.held) == (SIDECAR, "", 1)
    assert rows["a.png"].rule == "name"
    assert [row["safe_to_drop"] for row in result.duplicates.to_pylist()] == [True, False, True]
    asked = make_plan(tmp_path / "out", any_sidecars=True, overwrite=True)
    assert (asked.dropped, asked.held) == (3, 0)
    assert call("apply", asked.path, "--quarantine", tmp_path / "q") == 5
    assert call("apply", asked.path, "--quarantine", tmp_path / "q", "--any-sidecars") == 0


# Output


def test_examples_are_listed_and_all_files_if_asked(tmp_path, quarantine, capsys):
    folder = tmp_path / "photos"
    keeper, *others = fill(folder, ["keep.jpg", *(f"{number}.jpg" for number in range(9))])
    plan = write(tmp_path, [row(keeper), *(row(path, keeper) for path in others)])
    for verbose, listed in (([], 5), (["--verbose"], 9)):
        assert call("apply", plan, "--quarantine", quarantine, "--execute", *verbose) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith(f"  {folder}") for line in lines) == listed
        assert call("undo", quarantine, *verbose) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith(f"  {folder}") for line in lines) == listed


def test_progress_counts_every_move(plan, quarantine):
    seen = []

    def track(moves):
        for move in moves:
            yield move
            seen.append(Path(move.source).parent.name)

    apply_plan(plan, quarantine, track=track)
    apply_plan(plan, quarantine, execute=True, track=track)
    undo(quarantine, track=track)
    assert seen == ["a", "b", "a", "b", "b", "a"]


# Two at once


def test_two_calls_on_one_quarantine_do_not_mix(photos, plan, quarantine, capsys):
    refused = []

    def another(line: str) -> None:
        for action in (lambda: apply_plan(plan, quarantine, execute=True), lambda: undo(quarantine)):
            with pytest.raises(LockedError, match="Another apply or undo") as error:
                action()
            refused.append(error.value.exit_code)

    assert len(apply_plan(plan, quarantine, execute=True, tell=another).moved) == 2
    assert refused == [3] * 4


def test_two_plans_that_contradict_each_other_never_drop_both_copies(photos, tmp_path):
    a, b = photos / "a/keep.jpg", photos / "a/drop.jpg"
    first, second = write(tmp_path / "1", [row(a), row(b, a)]), write(tmp_path / "2", [row(b), row(a, b)])
    with open(a, "rb") as file:  # as the first call holds it while it moves
        fcntl.flock(file, fcntl.LOCK_SH)
        applied = apply_plan(second, tmp_path / "q2", execute=True)
        assert "another process is moving it, or needs it as a keeper" in reasons(applied)["keep.jpg"]
    with open(b, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another process" in reasons(apply_plan(second, tmp_path / "q2", execute=True))["keep.jpg"]
    assert len(apply_plan(first, tmp_path / "q1", execute=True).moved) == 1
    assert "cannot be relied on: it is gone" in reasons(apply_plan(second, tmp_path / "q2", execute=True))["keep.jpg"]
    assert a.exists()


# Disks


def test_where_the_kernel_cannot_rename_without_replacing_links_do(photos, plan, quarantine, monkeypatch):
    monkeypatch.setattr(atomic_move, "_renameat2", lambda source, target: errno.EINVAL)
    before = state(photos)
    target = moved_to(quarantine, photos / "a/drop.jpg")

    def stand_in_the_way(line: str) -> None:
        moved_to(quarantine, photos / "b/drop.jpg").parent.mkdir(parents=True, exist_ok=True)
        moved_to(quarantine, photos / "b/drop.jpg").write_bytes(b"quick")

    applied = apply_plan(plan, quarantine, execute=True, tell=stand_in_the_way)
    assert target.read_bytes() == before["a/drop.jpg"]
    assert not (photos / "a/drop.jpg").exists()
    assert "already exists" in applied.refused[0][1]
    assert len(undo(quarantine).restored) == 1
    assert state(photos) == before


def test_to_another_file_system_the_copy_is_proven_before_the_source_goes(photos, plan, small_disk, monkeypatch):
    os.utime(photos / "a/drop.jpg", ns=(1_500_000_000_123_456_789,) * 2)
    os.chmod(photos / "a/drop.jpg", 0o640)
    owner = (1234, 1235) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(photos / "a/drop.jpg", *owner)
    before = state(photos)
    assert len(apply_plan(plan, small_disk / "q", execute=True).moved) == 2
    target = moved_to(small_disk / "q", photos / "a/drop.jpg")
    assert target.read_bytes() == before["a/drop.jpg"]
    assert files_below(photos) == {"a/keep.jpg"}
    assert target.stat().st_mtime_ns == 1_500_000_000_123_456_789
    assert target.stat().st_mode & 0o777 == 0o640
    undo(small_disk / "q")
    back = (photos / "a/drop.jpg").stat()
    assert state(photos) == before
    assert back.st_mtime_ns == 1_500_000_000_123_456_789
    assert (back.st_uid, back.st_gid) == owner


def test_a_copy_that_comes_out_different_is_no_copy(photos, plan, small_disk, monkeypatch):
    def flip_a_bit(source, target, length):
        data = bytearray(source.read())
        data[100] ^= 1
        target.write(data)

    monkeypatch.setattr(shutil, "copyfileobj", flip_a_bit)
    before = state(photos)
    applied = apply_plan(plan, small_disk / "q", execute=True)
    assert "came out different" in applied.refused[0][1]
    assert state(photos) == before
    assert state(small_disk / "q/files") == {}


@pytest.mark.parametrize("way", ["renames", "links", "copies"])
def test_what_takes_the_name_between_the_look_and_the_move_is_not_written_over(way, tmp_path, monkeypatch, request):
    source, target = fill(tmp_path, ["source.jpg", "target.jpg"])
    if way == "copies":
        target = request.getfixturevalue("small_disk") / "target.jpg"
        target.write_bytes(b"quick")
    if way == "links":
        monkeypatch.setattr(atomic_move, "_renameat2", lambda source, target: errno.EINVAL)
    before = source.read_bytes(), target.read_bytes()
    monkeypatch.setattr(atomic_move.os.path, "lexists", lambda name: False)
    with pytest.raises(RefusedError, match="already exists"):
        get_file_mover(str(source)).move(str(source), str(target), FileIdentity())
    assert (source.read_bytes(), target.read_bytes()) == before
    assert not list(target.parent.glob(".fastdup-*"))


def test_a_full_disk_ends_it_with_one_line_and_the_call_goes_on_from_there(tmp_path, small_disk, capsys):
    paths = fill(tmp_path / "photos", ["keep.jpg", *(f"{n}.jpg" for n in range(6))], 300_000)
    before = state(tmp_path / "photos")
    plan = write(tmp_path, [row(paths[0]), *(row(path, paths[0]) for path in paths[1:])])
    (small_disk / "filler").write_bytes(bytes(800_000))
    assert call("apply", plan, "--quarantine", small_disk / "q", "--execute") == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "No space left" in told
    assert not [name for name in files_below(small_disk) if name.endswith(".part")]
    stays, went = files_below(tmp_path / "photos"), files_below(small_disk / "q/files")
    assert len(stays) + len(went) == 7
    assert 1 <= len(went) < 6
    (small_disk / "filler").unlink()
    assert call("apply", plan, "--quarantine", small_disk / "q", "--execute") == 0
    assert files_below(tmp_path / "photos") == {"keep.jpg"}
    undo(small_disk / "q")
    assert state(tmp_path / "photos") == before


def test_a_disk_without_room_for_the_journal_moves_nothing(photos, plan, small_disk, capsys):
    (small_disk / "q").mkdir()
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize))
    before = state(photos)
    assert call("apply", plan, "--quarantine", small_disk / "q", "--execute") == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "No space left" in told
    assert state(photos) == before


@pytest.fixture
def read_only(photos, plan):
    """The folder a of the pictures, on a mount that nothing can be written to."""
    folder = photos / "a"
    done = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_what_is_in_a_read_only_folder_stays_and_all_else_goes(photos, plan, quarantine, read_only):
    for execute in (False, True):
        applied = apply_plan(plan, quarantine, execute=execute)
        assert [Path(name).parent.name for name, _ in applied.refused] == ["a"]
        assert [Path(move.source).parent.name for move in applied.moved] == ["b"]
    assert files_below(photos) == {"a/keep.jpg", "a/drop.jpg"}
    assert state(quarantine / "files").keys() == {str(photos / "b/drop.jpg")[1:]}


def test_a_quarantine_that_cannot_be_written_is_one_line(photos, plan, read_only, capsys):
    before = state(photos)
    assert call("apply", plan, "--quarantine", read_only / "q", "--execute") == 1
    assert "Cannot write to" in capsys.readouterr().err
    assert state(photos) == before


def test_a_source_that_cannot_be_taken_away_leaves_no_copy_behind(photos, plan, small_disk, monkeypatch):
    def refuse(path, **_):
        if os.path.realpath(path).startswith(str(photos)):
            raise PermissionError(errno.EACCES, "Permission denied")
        os.remove(path)

    monkeypatch.setattr(atomic_move.os, "unlink", refuse)
    before = state(photos)
    applied = apply_plan(plan, small_disk / "q", execute=True)
    assert len(applied.refused) == 2
    assert "Permission denied" in applied.refused[0][1]
    assert state(photos) == before
    assert state(small_disk / "q/files") == {}


# The quarantine as a folder


def test_later_runs_leave_a_quarantine_out(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (photos / f"{name}.png").write_bytes(encode(cloudy(seed), "PNG"))
    run_inline(photos, tmp_path / "out")
    make_plan(tmp_path / "out")
    apply_plan(tmp_path / "out/plan.csv", photos / layout.QUARANTINE, execute=True)
    result = run_inline(photos, tmp_path / "out")
    assert result.counts["entries"] == 2
    assert result.counts["exact_copies"] == 0
    assert run_inline(photos / layout.QUARANTINE / "files", tmp_path / "inside").counts["entries"] == 1


def test_pictures_in_the_quarantine_do_not_go_to_it(photos, tmp_path, quarantine):
    keeper, inside, _ = photos / "a/keep.jpg", *fill(quarantine, ["files/x.jpg", layout.QUARANTINE_MARK])
    applied = apply_plan(write(tmp_path, [row(keeper), row(inside, keeper)]), quarantine, execute=True)
    assert reasons(applied)["x.jpg"] == "it is in the quarantine itself"
    assert inside.exists()


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: "", lambda text: text.replace("known", "k")])
def test_a_damaged_journal_is_told_and_nothing_moves(photos, plan, quarantine, damage):
    apply_plan(plan, quarantine, execute=True)
    journal = quarantine / "journal/000001.jsonl"
    journal.write_text(damage(journal.read_text()))
    before = state(quarantine / "files")
    for action in (lambda: undo(quarantine), lambda: apply_plan(plan, quarantine, execute=True)):
        with pytest.raises(DamagedError, match="damaged"):
            action()
    assert state(quarantine / "files") == before


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["apply", "{tmp}/nowhere.csv"], 1, "Cannot read the plan"),
        (["apply", "{tmp}/nowhere.json"], 1, "Cannot read the plan"),
        (["apply"], 2, "Missing argument"),
        (["apply", "{plan}", "--link", "hard"], 2, "--link and --to belong together"),
        (["apply", "{plan}", "--to", "x"], 2, "--link and --to belong together"),
        (["apply", "{plan}", "--link", "soft", "--to", "x"], 2, "'soft' is not one of"),
        (["undo", "{tmp}/nowhere"], 1, "No quarantine in"),
        (["undo", "{tmp}/q", "--only", "[z-a]"], 2, "is not a valid glob"),
    ],
)
def test_a_mistake_is_one_line(arguments, code, told, tmp_path, plan, capsys):
    assert call(*(word.format(tmp=tmp_path, plan=plan) for word in arguments)) == code
    assert told in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_errors_raise_in_python(tmp_path, plan):
    with pytest.raises(InputError):
        undo(tmp_path / "nowhere")
    with pytest.raises(WorkDirError):
        apply_plan(plan, "/proc/nowhere/q", execute=True)
