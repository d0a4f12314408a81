"""Locks of a work_dir in a folder, and what is written under them."""

import errno
import fcntl
import json
import os
import pickle
import threading
import time
from pathlib import Path

import pytest

from fastdup_ray.errors import LockedError
from fastdup_ray.storage import lock, open_store
from fastdup_ray.storage.owner import describe_this_process

NAME = ".lock"


def put_record(folder: Path, silent: float, name: str = NAME, **facts: str) -> Path:
    """The record of an owner on another machine, with its last sign of life so many seconds ago."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(describe_this_process() | {"host": "elsewhere", "boot": "another", "token": "theirs"} | facts)
    )
    now = time.time()
    os.utime(path, (now - silent, now - silent))
    return path


def no_flock(descriptor: int, kind: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def take_over(folder: Path) -> Path:
    """What another host does after it heard nothing of us for long."""
    (folder / NAME).unlink()
    return put_record(folder, silent=0)


def test_the_owner_on_another_host_keeps_its_lock_while_it_gives_signs_of_life(tmp_path):
    path = put_record(tmp_path, silent=lock.STALE - 20)
    before = path.read_bytes()
    with pytest.raises(LockedError, match="elsewhere"), open_store(tmp_path).lock(NAME):
        pass
    assert path.read_bytes() == before
    put_record(tmp_path, silent=lock.STALE + 20)
    with open_store(tmp_path).lock(NAME):
        assert json.loads(path.read_text())["token"] != "theirs"
    assert not path.exists()


def test_the_clock_of_this_host_says_nothing_of_a_silence(tmp_path, monkeypatch):
    put_record(tmp_path, silent=0)
    monkeypatch.setattr(time, "time", lambda: time.monotonic() + 10**9)
    with pytest.raises(LockedError), open_store(tmp_path).lock(NAME):
        pass


def test_a_crash_of_this_machine_keeps_nobody_out(tmp_path):
    put_record(
        tmp_path, silent=0, boot=describe_this_process()["boot"], pid_namespace="that of a container which is no more"
    )
    with open_store(tmp_path).lock(NAME):
        pass  # the kernel gave its flock back


def test_where_there_is_no_flock_signs_of_life_are_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_flock)
    with open_store(tmp_path).lock(NAME):
        with pytest.raises(LockedError), open_store(tmp_path).lock(NAME):
            pass
        with pytest.raises(LockedError), open_store(tmp_path).lock(NAME, shared=True):
            pass
    with (
        open_store(tmp_path).lock(NAME, shared=True),
        open_store(tmp_path).lock(NAME, shared=True),
        pytest.raises(LockedError),
        open_store(tmp_path).lock(NAME),
    ):
        pass
    assert not tmp_path.exists()  # a work_dir in which nothing came to stand


def test_a_lock_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with open_store(tmp_path).lock(NAME):
        os.utime(tmp_path / NAME, (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / NAME).stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("shared", [False, True])
def test_a_shared_record_of_another_host_keeps_whole_runs_out_and_no_other_range(tmp_path, shared):
    path = put_record(tmp_path, silent=0, name=f"{NAME}.shared/theirs")
    if shared:
        with open_store(tmp_path).lock(NAME, shared=True):
            pass
        assert path.exists()
    else:
        with pytest.raises(LockedError, match="elsewhere"), open_store(tmp_path).lock(NAME):
            pass


def test_records_that_dead_ranges_left_are_taken_away(tmp_path):
    put_record(tmp_path, silent=lock.STALE + 1, name=f"{NAME}.shared/theirs")
    put_record(tmp_path, silent=0, name=f"{NAME}.shared/ours", boot=describe_this_process()["boot"])
    with open_store(tmp_path).lock(NAME):
        assert [path.name for path in tmp_path.rglob("*")] == [NAME]


@pytest.mark.parametrize("sent", [False, True], ids=["this process", "a worker"])
def test_who_lost_the_lock_writes_and_removes_nothing_more(tmp_path, sent):
    (tmp_path / "theirs").write_text("theirs")
    store = open_store(tmp_path)
    with store.lock(NAME):
        with store.create("before") as path:
            path.write_text("ours")
        at_work = pickle.loads(pickle.dumps(store)) if sent else store
        record = take_over(tmp_path)
        with pytest.raises(LockedError), at_work.create("theirs") as path:
            path.write_text("ours")
        with pytest.raises(LockedError):
            at_work.remove("theirs")
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert record.exists()  # whoever goes leaves the lock of who came
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, "before", "theirs"]


def test_of_many_who_want_a_lock_at_once_one_gets_it(tmp_path):
    inside, refused, start = [], [], threading.Barrier(8)

    def want() -> None:
        start.wait()
        try:
            with open_store(tmp_path).lock(NAME):
                inside.append(threading.get_ident())
                time.sleep(1)
        except LockedError:
            refused.append(threading.get_ident())

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(inside), len(refused)) == (1, 7)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"[]", b'{"token": 1}', b"x" * 10_000])
def test_a_record_that_names_nobody_keeps_nobody_out(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    with open_store(tmp_path).lock(NAME):
        pass
