"""kill -9 while `apply` and `undo` are at work: no picture is ever lost, and the same call again completes."""

import errno
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastdup_ray import apply_plan, undo
from fastdup_ray.curation.file_ops import atomic_move
from tests.helpers.kills import kill_when, start
from tests.helpers.plans import contents, fill, row, state, write

KILLS = 20

ACTS = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.utime",
    "os.chmod",
    "ctypes.dlsym",
    "fcntl.flock",
)
"""Audit events that tell that a process is about to do something to files; opening one to write to it is another."""


@pytest.fixture
def other_disk(tmp_path):
    """A folder on another file system than `tmp_path`."""
    folder = Path(f"/dev/shm/fastdup-test-{os.getpid()}")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no /dev/shm here")
    if folder.stat().st_dev == tmp_path.stat().st_dev:
        folder.rmdir()
        pytest.skip("/dev/shm is on the same file system as the tests' folder")
    yield folder
    shutil.rmtree(folder)


def killed_at(act: int, call: Callable[[], object]) -> bool:
    """Does `call` in a child that kills itself before its `act`-th act on files; whether it came so far."""
    child = os.fork()
    if child == 0:
        count = 0

        def watch(event: str, arguments: tuple) -> None:
            nonlocal count
            if event in ACTS or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                count += 1
                if count == act:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(watch)
            call()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("way", ["renames", "links", "copies"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_kill_before_any_act_on_files_loses_nothing(way, tmp_path, monkeypatch, request):
    quarantine = (request.getfixturevalue("other_disk") if way == "copies" else tmp_path) / "q"
    if way == "links":
        monkeypatch.setattr(atomic_move, "_renameat2", lambda source, target: errno.EINVAL)
    folder = tmp_path / "photos"
    keeper, first, second, _ = fill(folder, ["keep.jpg", "a/1.jpg", "b/2.jpg", "b/2.txt"])
    plan = write(tmp_path, [row(keeper), row(first, keeper), row(second, keeper)])
    before = state(folder)
    everything = contents(folder)

    def not_lost() -> None:
        assert state(folder)["keep.jpg"] == before["keep.jpg"]
        found = contents(folder, quarantine / "files")
        assert found.keys() == everything.keys()
        # Between a proven copy, or a second link, and the end of the first name a file is there twice; never three.
        assert sum(found.values()) <= len(everything) + (way != "renames")

    points = 0
    for act in range(1, 500):
        if not killed_at(act, lambda: apply_plan(plan, quarantine, execute=True, any_sidecars=True)):
            break
        points += 1
        not_lost()
        assert not apply_plan(plan, quarantine, execute=True, any_sidecars=True).refused
        assert set(state(folder)) == {"keep.jpg"}
        assert contents(folder, quarantine / "files") == everything
        undo(quarantine)
        assert state(folder) == before
        shutil.rmtree(quarantine)
    else:
        pytest.fail("it never ends")
    assert set(state(folder)) == {"keep.jpg"}
    for act in range(1, 500):
        if not killed_at(act, lambda: undo(quarantine)):
            break
        points += 1
        not_lost()
        assert not undo(quarantine).refused
        assert state(folder) == before
        assert not (quarantine / "files").exists()
        shutil.rmtree(quarantine)
        apply_plan(plan, quarantine, execute=True, any_sidecars=True)
    else:
        pytest.fail("it never ends")
    assert state(folder) == before
    assert contents(folder) == everything
    assert points > 40


@pytest.mark.parametrize("way", ["renames", "copies"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_apply_can_be_taken_back_without_completing_it(way, tmp_path, request):
    quarantine = (request.getfixturevalue("other_disk") if way == "copies" else tmp_path) / "q"
    folder = tmp_path / "photos"
    keeper, *gone = fill(folder, ["keep.jpg", "1.jpg", "2.jpg"])
    plan = write(tmp_path, [row(keeper), *(row(path, keeper) for path in gone)])
    before = state(folder)
    for act in range(1, 500):
        if not killed_at(act, lambda: apply_plan(plan, quarantine, execute=True, any_sidecars=True)):
            break
        if (quarantine / "fastdup_quarantine.txt").exists():
            assert not undo(quarantine).refused
        assert state(folder) == before
        shutil.rmtree(quarantine, ignore_errors=True)
    assert not undo(quarantine).refused
    assert state(folder) == before


COUNT = 400


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(KILLS))
def test_kill_9_of_apply_and_of_undo_at_random_moments_loses_nothing(moment, tmp_path, request):
    """Real processes. Every other time the quarantine is on another file system, and each move a copy."""
    draw = random.Random(moment)
    across = moment % 2 == 1
    quarantine = (request.getfixturevalue("other_disk") if across else tmp_path) / "q"
    folder, files = tmp_path / "photos", quarantine / "files"
    keeper, *gone = fill(folder, ["keep.jpg", *(f"{n % 7}/{n:03d}.jpg" for n in range(COUNT))], 20_000)
    plan = write(tmp_path, [row(keeper), *(row(path, keeper) for path in gone)])
    before, everything = state(folder), contents(folder)

    def not_lost() -> None:
        found = contents(folder, files)
        assert found.keys() == everything.keys()
        assert sum(found.values()) - len(everything) <= across

    def in_quarantine() -> int:
        return sum(len(names) for _, _, names in os.walk(files))

    number = draw.randrange(COUNT)
    process = start(["apply", plan, "--quarantine", quarantine, "--execute", "--any-sidecars"])
    killed = kill_when(process, lambda: in_quarantine() >= number)
    not_lost()
    assert not apply_plan(plan, quarantine, execute=True, any_sidecars=True).refused
    assert set(state(folder)) == {"keep.jpg"}
    assert contents(folder, files) == everything

    number = draw.randrange(COUNT)
    killed |= kill_when(start(["undo", quarantine]), lambda: COUNT - in_quarantine() >= number)
    not_lost()
    assert not undo(quarantine).refused
    assert state(folder) == before
    assert not files.exists()
    assert killed, "both calls were done before they could be killed"
