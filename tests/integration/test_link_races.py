"""Somebody swaps folders for links, and files for others, while `apply` and `undo` move files out of them and back."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastdup_ray import apply_plan, undo
from fastdup_ray.curation.file_ops import FileIdentity, atomic_move, get_file_mover
from fastdup_ray.errors import RefusedError
from tests.helpers.plans import contents, fill, row, state, write

pytestmark = pytest.mark.alone

COUNT = 60

SWAP = """
import ctypes, sys
renameat2, names = ctypes.CDLL(None).renameat2, [name.encode() for name in sys.argv[1:3]]
print("at work", flush=True)
while True:
    renameat2(-100, names[0], -100, names[1], 2)  # RENAME_EXCHANGE
"""


@contextmanager
def swapped(folder: Path, outside: Path) -> Iterator[None]:
    """Another process makes `folder` a link to `outside` and back, many thousands of times a second."""
    link = folder.with_name("link")
    link.symlink_to(outside)
    with subprocess.Popen([sys.executable, "-c", SWAP, folder, link], stdout=subprocess.PIPE) as attacker:
        try:
            assert attacker.stdout.readline()
            yield
        finally:
            attacker.kill()
    if folder.is_symlink():
        folder.unlink()
        link.rename(folder)
    else:
        link.unlink()


@pytest.fixture
def outside(tmp_path) -> Path:
    """A folder of somebody else's, with files of the names of ours."""
    fill(tmp_path / "outside", [f"{number:03d}.{suffix}" for number in range(COUNT) for suffix in ("jpg", "txt")])
    return tmp_path / "outside"


@pytest.mark.parametrize("side", ["source", "target"])
def test_nothing_outside_is_touched_while_a_folder_is_swapped_for_a_link(side, outside, tmp_path):
    photos, quarantine = tmp_path / "photos", tmp_path / "q"
    keeper, first, *gone = fill(photos, ["keep.jpg", "b/first.jpg", *(f"a/{n:03d}.jpg" for n in range(COUNT))])
    fill(photos, [f"a/{number:03d}.txt" for number in range(0, COUNT, 2)])
    before, theirs, everything = state(photos), state(outside), contents(photos)
    rows = [row(keeper), row(first, keeper), *(row(path, keeper) for path in gone)]
    apply_plan(write(tmp_path, rows[:2]), quarantine, execute=True, any_sidecars=True)
    plan = write(tmp_path, rows)
    moved_to = quarantine / "files" / str(photos)[1:] / "a"
    moved_to.mkdir()
    folder = photos / "a" if side == "source" else moved_to

    def intact() -> None:
        assert state(outside) == theirs
        places = [photos, quarantine / "files", folder.with_name("link")]
        found = contents(*(place for place in places if place.is_dir() and not place.is_symlink()))
        assert found.keys() == everything.keys()

    with swapped(folder, outside):
        for _ in range(4):
            apply_plan(plan, quarantine, execute=True, any_sidecars=True)
            assert state(outside) == theirs
    intact()
    assert not apply_plan(plan, quarantine, execute=True, any_sidecars=True).refused
    assert contents(quarantine / "files").total() == len(everything) - 1
    with swapped(folder, outside):
        for _ in range(4):
            undo(quarantine)
            assert state(outside) == theirs
    intact()
    assert not undo(quarantine).refused
    assert state(photos) == before


@pytest.fixture
def at_the_last_moment(monkeypatch):
    """Has something happen between the last look at a file and its renaming."""

    def have(act) -> None:
        rename = atomic_move._rename_new

        def late(source: str, target: str) -> None:
            monkeypatch.setattr(atomic_move, "_rename_new", rename)
            act()
            rename(source, target)

        monkeypatch.setattr(atomic_move, "_rename_new", late)

    return have


def move(source: Path, target: Path) -> None:
    get_file_mover(str(source)).move(str(source), str(target), FileIdentity(*describe(source)))


def describe(path: Path) -> tuple[int, str]:
    known = get_file_mover(str(path)).describe(str(path))
    return known.size, known.sha256


def become_link(folder: Path, outside: Path) -> None:
    folder.rename(folder.with_name("aside"))
    folder.symlink_to(outside)


def test_a_folder_that_becomes_a_link_at_the_last_moment_is_not_followed(at_the_last_moment, outside, tmp_path):
    (path,) = fill(tmp_path / "photos", ["a/001.jpg"])
    data, theirs = path.read_bytes(), state(outside)
    at_the_last_moment(lambda: become_link(path.parent, outside))
    move(path, tmp_path / "q/001.jpg")
    assert state(outside) == theirs
    assert (tmp_path / "q/001.jpg").read_bytes() == data


def test_a_folder_that_is_swapped_while_its_links_are_resolved_stops_nothing(tmp_path, monkeypatch):
    keeper, gone = fill(tmp_path / "photos", ["keep.jpg", "a/1.jpg"])
    plan = write(tmp_path, [row(keeper), row(gone, keeper)])
    resolve = os.path.realpath

    def swap(name: str, **keywords: bool) -> str:
        if str(name) == str(gone.parent):
            raise OSError(errno.EINVAL, "Invalid argument")  # a link to lstat(2), and none to readlink(2)
        return resolve(name, **keywords)

    monkeypatch.setattr(os.path, "realpath", swap)
    assert not apply_plan(plan, tmp_path / "q", execute=True, any_sidecars=True).refused


def test_a_target_folder_that_becomes_a_link_at_the_last_moment_is_not_followed(at_the_last_moment, outside, tmp_path):
    (path,) = fill(tmp_path / "photos", ["new.jpg"])
    (tmp_path / "q").mkdir()
    theirs = state(outside)
    at_the_last_moment(lambda: become_link(tmp_path / "q", outside))
    move(path, tmp_path / "q/new.jpg")
    assert state(outside) == theirs
    assert (tmp_path / "aside/new.jpg").exists()


def test_a_file_that_takes_the_name_at_the_last_moment_is_put_back(at_the_last_moment, tmp_path):
    path, other = fill(tmp_path / "photos", ["1.jpg", "other.jpg"])
    data = other.read_bytes()
    at_the_last_moment(lambda: os.replace(other, path))
    with pytest.raises(RefusedError):
        move(path, tmp_path / "q/1.jpg")
    assert path.read_bytes() == data
    assert not (tmp_path / "q/1.jpg").exists()


@pytest.mark.parametrize("late", [False, True])
def test_a_copy_is_not_written_through_a_link_that_was_put_in_its_way(
    late, at_the_last_moment, outside, tmp_path, monkeypatch
):
    (path,) = fill(tmp_path / "photos", ["1.jpg"])
    os.chmod(path, 0o640)
    victim, target = outside / "001.jpg", tmp_path / "q/1.jpg"
    target.parent.mkdir()
    theirs, mode = victim.read_bytes(), victim.stat().st_mode

    def plant() -> None:
        (temporary,) = temporaries
        if late:
            temporary.unlink()
        temporary.symlink_to(victim)

    temporaries = learn_temporary(path, target, monkeypatch)
    if late:
        at_the_last_moment(plant)
    else:
        plant()
    try:
        with open(path, "rb") as file:
            atomic_move.copy_verified(file, str(target), describe(path)[1])
    except RefusedError:
        assert late
    assert victim.read_bytes() == theirs
    assert victim.stat().st_mode == mode
    assert path.exists()
    assert late or not target.is_symlink()


def learn_temporary(path: Path, target: Path, monkeypatch) -> list[Path]:
    """The name that the copy of a file has before it is whole."""
    names: list[Path] = []

    def refuse(source: str, _: str) -> None:
        names.append(Path(source))
        raise OSError(errno.EIO, "not now")

    with monkeypatch.context() as patch, open(path, "rb") as file, pytest.raises(OSError, match="not now"):
        patch.setattr(atomic_move, "_rename_new", refuse)
        atomic_move.copy_verified(file, str(target), describe(path)[1])
    return names
