"""A work_dir in Azure, on Azurite: read, written, locked and resumed as one on disk."""

import json
import pickle
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import obstore
import pytest

import fastdup_ray as fastdup
from fastdup_ray import apply_plan, make_plan
from fastdup_ray.common.parts import PART
from fastdup_ray.curation.report_service import ReportService
from fastdup_ray.curation.server import ReportServer
from fastdup_ray.doctor.connectivity import check_work_dir
from fastdup_ray.doctor.findings import State
from fastdup_ray.errors import ConfigError, DamagedError, InputError, LockedError, WorkDirError
from fastdup_ray.export import export
from fastdup_ray.storage import download_cache, lock, open_store
from fastdup_ray.storage.named_output import NamedOutput
from tests.helpers.cloud_servers import BUCKET, PUBLIC, AzureServer, become, forget, started
from tests.helpers.commands import call
from tests.helpers.images import cloudy, encode
from tests.helpers.locks import count_holders
from tests.helpers.runs import EVERY_FILE, SAME_BYTES, outputs, run_inline


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    yield from started(AzureServer, tmp_path_factory.mktemp("azure"))


class WorkDir:
    """A prefix of this test's own."""

    def __init__(self, server: AzureServer, prefix: str):
        self._server, self._prefix = server, prefix
        self.uri = f"az://{BUCKET}/{prefix}"

    def put(self, name: str, data: bytes) -> None:
        self._server.put(f"{self._prefix}/{name}", data)

    def outputs(self) -> dict[str, bytes]:
        """All that stands in it."""
        container = self._server.open()
        keys = [facts["path"] for page in obstore.list(container, self._prefix) for facts in page]
        return {key.removeprefix(f"{self._prefix}/"): bytes(obstore.get(container, key).bytes()) for key in keys}


@pytest.fixture
def work_dir(server, monkeypatch, request) -> Iterator[WorkDir]:
    become(monkeypatch, server.environment())
    yield WorkDir(server, f"deep/{zlib.crc32(request.node.name.encode())}")
    forget()


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, seed in (*((f"{seed}.jpg", seed) for seed in range(6)), ("copy.jpg", 0)):
        (folder / name).write_bytes(encode(cloudy(seed), "JPEG", quality=90))
    return folder


@pytest.fixture(scope="module")
def local(images, tmp_path_factory) -> dict[str, bytes]:
    """What a run on the images leaves in a local folder."""
    out = tmp_path_factory.mktemp("local")
    run_inline(images, out)
    return outputs(out)


def same_bytes(work_dir: WorkDir) -> dict[str, bytes]:
    remote = work_dir.outputs()
    return {name: remote[name] for name in SAME_BYTES}


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, PART + 7], ids=["empty", "whole", "in parts"])
def test_a_file_is_written_replaced_read_and_removed(work_dir, size):
    store = open_store(work_dir.uri)
    for seed in range(2):
        data = np.random.default_rng(seed).bytes(size)
        with store.create("folder/x") as path:
            path.write_bytes(data)
        assert store.fetch("folder/x").read_bytes() == data
        download_cache._make_cache.cache_clear()
        assert store.fetch("folder/x").read_bytes() == data
    assert store.read_up_to("folder/x", size // 2, size) == data[size // 2 :]
    assert store.read_up_to("folder/x", size, 5) == b""
    with pytest.raises(DamagedError):
        store.read("folder/x", 0, size + 1)
    assert (list(store.names("")), list(store.names("folder")), list(store.names("fold"))) == (["folder/x"],) * 2 + (
        [],
    )
    assert store.exists("folder")
    assert not store.is_file("folder")
    assert store.is_file("folder/x")
    store.remove("folder")
    store.remove("folder")
    assert store.is_empty()
    for read in (store.fetch, lambda name: store.read(name, 0, 1)):
        with pytest.raises(FileNotFoundError):
            read("folder/x")


def test_a_folder_is_removed_and_its_neighbours_stay(work_dir):
    for name in ("shards/a", "shards/b/c", "shards2", "shards.txt"):
        work_dir.put(name, b"")
    open_store(work_dir.uri).remove("shards")
    assert set(work_dir.outputs()) == {"shards2", "shards.txt"}


def test_a_write_that_fails_leaves_what_was_there(work_dir):
    work_dir.put("x", b"before")
    with pytest.raises(ZeroDivisionError), open_store(work_dir.uri).create("x") as path:
        path.write_bytes(bytes(1 // 0))
    assert work_dir.outputs() == {"x": b"before"}


@pytest.mark.parametrize("size", [10, PART + 10], ids=["whole", "in parts"])
def test_what_another_process_has_put_meanwhile_is_not_replaced(work_dir, monkeypatch, size):
    store = open_store(work_dir.uri)
    looked = store._get_etag

    def look_too_early(name: str) -> str | None:
        monkeypatch.setattr(store, "_get_etag", looked)  # before parts become a blob there is another look
        etag = looked(name)
        work_dir.put(name, b"theirs")
        return etag

    work_dir.put("x", b"before")
    for name in ("x", "y"):
        monkeypatch.setattr(store, "_get_etag", look_too_early)
        with pytest.raises(LockedError), store.create(name) as path:
            path.write_bytes(bytes(size))
    assert work_dir.outputs() == {"x": b"theirs", "y": b"theirs"}


# --- locks ------------------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from fastdup_ray.storage import open_store
with open_store(sys.argv[1]).lock(".fastdup_ray.lock"):
    print("held", flush=True)
    time.sleep(100)
"""


def _process(code: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def test_the_second_of_two_runs_ends_at_once_and_a_dead_one_is_taken_over(work_dir, images, capsys):
    again = ["run", images, "--work-dir", work_dir.uri, "--executor", "inline", "--run-mode", 1]
    first = _process(HOLD, work_dir.uri)
    try:
        assert first.stdout.readline() == "held\n"
        assert call(*again) == 3
        assert f"process {first.pid}" in capsys.readouterr().err
        assert set(work_dir.outputs()) == {".fastdup_ray.lock"}
    finally:
        first.kill()
        first.wait()
    assert call(*again) == 0
    assert ".fastdup_ray.lock" not in work_dir.outputs()


def test_a_lock_of_another_host_is_taken_over_when_it_gives_no_sign_of_life(work_dir, monkeypatch):
    work_dir.put("lock", json.dumps({"host": "elsewhere", "pid": 1, "since": "2026-01-01", "started": "x"}).encode())
    store = open_store(work_dir.uri)
    with pytest.raises(LockedError, match="host elsewhere"), store.lock("lock"):
        pass
    monkeypatch.setattr(lock, "STALE", 1.0)
    time.sleep(2.5)
    with store.lock("lock"):
        assert set(work_dir.outputs()) == {"lock"}
    assert work_dir.outputs() == {}


def test_of_many_who_want_a_lock_at_once_one_gets_it(work_dir):
    assert count_holders(lambda: open_store(work_dir.uri).lock("lock")) == 1


def test_of_many_who_take_a_stale_lock_over_at_once_one_gets_it(work_dir, monkeypatch):
    work_dir.put("lock", b"of a process that ended")
    monkeypatch.setattr("fastdup_ray.storage.lock.is_dead", lambda text: "ended" in text)
    test_of_many_who_want_a_lock_at_once_one_gets_it(work_dir)


def test_shared_locks_go_together_and_keep_an_exclusive_one_out(work_dir):
    store, other = open_store(work_dir.uri), open_store(work_dir.uri)
    with store.lock("lock", shared=True), other.lock("lock", shared=True), pytest.raises(LockedError):
        other.lock("lock").__enter__()
    with store.lock("lock"), pytest.raises(LockedError):
        other.lock("lock", shared=True).__enter__()
    assert work_dir.outputs() == {}


def test_who_lost_its_lock_writes_nothing_more(work_dir, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.1)
    store = open_store(work_dir.uri)
    with store.lock("lock"):
        with store.create("x") as path:
            path.write_text("ours")
        worker = pickle.loads(pickle.dumps(store))
        work_dir.put("lock", b"somebody else")
        time.sleep(0.5)
        for one in (store, worker):
            with pytest.raises(LockedError), one.create("x") as path:
                path.write_text("too late")
            with pytest.raises(LockedError):
                one.remove("x")
    assert work_dir.outputs() == {"lock": b"somebody else", "x": b"ours"}


def test_a_put_whose_answer_was_lost_is_no_other_owner(work_dir, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.1)
    put, keys = obstore.put, []

    def tried_twice(store, key, data, **options):
        """As obstore does where the first answer does not arrive."""
        keys.append(key)
        put(store, key, data, **options)
        return put(store, key, data, **options)

    monkeypatch.setattr(obstore, "put", tried_twice)
    store = open_store(work_dir.uri)
    with store.lock("lock"):
        time.sleep(0.5)
        with store.create("x") as path:
            path.write_text("still ours")
    assert len(keys) > 2
    monkeypatch.undo()
    become(monkeypatch, work_dir._server.environment())
    assert work_dir.outputs() == {"x": b"still ours"}


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_work_dir_has_the_bytes_of_a_local_one_and_is_reused(work_dir, images, local):
    first = run_inline(images, work_dir.uri, executor="local", shard_size=3)
    assert same_bytes(work_dir) == local
    assert set(work_dir.outputs()) == EVERY_FILE
    assert b"<html" in first.report.read_bytes()
    assert run_inline(images, work_dir.uri).summary["read"] == 0
    assert same_bytes(work_dir) == local


DIE = """
import os, signal, sys
import obstore
put, puts = obstore.put, 0
def count(*arguments, **options):
    global puts
    puts += 1
    if puts == int(sys.argv[1]):  # this put does not come about
        os.kill(os.getpid(), signal.SIGKILL)
    return put(*arguments, **options)
obstore.put = count
from fastdup_ray.cli.main import main
main(sys.argv[2:])
"""


def test_a_run_killed_between_two_puts_goes_on_to_the_same_bytes(work_dir, images, local):
    again = ["run", images, "--work-dir", work_dir.uri, "--executor", "inline", "--shard-size", 3]
    for puts in (8, 17):
        assert _process(DIE, puts, *again).wait() == -signal.SIGKILL
    assert call(*again) == 0
    assert same_bytes(work_dir) == local
    assert set(work_dir.outputs()) == EVERY_FILE


def test_ranges_scoring_and_features(work_dir, images):
    for low, high in ((0, 4), (4, 7)):
        run_inline(images, work_dir.uri, run_mode=1, min_offset=low, max_offset=high)
    assert run_inline(None, work_dir.uri, run_mode=2, report=False).counts["images"] == 7
    scored = run_inline(images / "copy.jpg", work_dir.uri, run_mode=3)
    assert scored.similarity.to_pylist()[0]["distance"] == 1.0
    names, rows = fastdup.load_binary_feature(f"{work_dir.uri}/features.dat")
    assert (len(names), rows.shape) == (7, (7, 576))


def test_what_comes_after_a_run(work_dir, images, tmp_path):
    result = run_inline(images, work_dir.uri)
    original = str(images / "0.jpg")
    assert result.search(original, 1).to_pylist()[0]["similarity"] == 1.0
    with ReportServer(ReportService(work_dir.uri), "127.0.0.1") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            address = "http://{}:{}/{}/".format(*server.server_address[:2], server.token)
            assert b"<html" in urllib.request.urlopen(address, timeout=60).read()
            assert urllib.request.urlopen(f"{address}picture/0", timeout=60).read() == Path(original).read_bytes()
        finally:
            server.shutdown()
            thread.join()
    plan = make_plan(work_dir.uri)
    assert (plan.path, plan.dropped) == (f"{work_dir.uri}/plan.csv", 1)
    assert export(work_dir.uri, "keep-list").path == f"{work_dir.uri}/keep.txt"
    (tmp_path / "truth.csv").write_text(f"path,group\n{original},1\n{images / 'copy.jpg'},1\n{images / '1.jpg'},2\n")
    assert call("evaluate", work_dir.uri, tmp_path / "truth.csv", "--plot", f"{work_dir.uri}/curves.svg") == 0
    assert call("gallery", work_dir.uri, "--save-path", f"{work_dir.uri}/pages") == 0
    assert {"plan.csv", "keep.txt", "curves.svg", "pages/duplicates.html"} <= set(work_dir.outputs())
    with pytest.raises(ConfigError):
        apply_plan(plan.path, f"{work_dir.uri}/quarantine", execute=True)


def test_an_output_that_exists_stays(work_dir):
    output = NamedOutput(f"{work_dir.uri}/list.txt")
    with output.open() as file:
        file.write(b"mine")
    with pytest.raises(WorkDirError):
        output.check()
    with NamedOutput(f"{work_dir.uri}/list.txt", overwrite=True).open() as file:
        file.write(b"new")
    assert work_dir.outputs() == {"list.txt": b"new"}


def test_where_nothing_can_be_written_a_run_ends_before_any_work(work_dir, server, monkeypatch, images):
    assert check_work_dir(work_dir.uri).state is State.OK
    assert work_dir.outputs() == {}
    assert check_work_dir(f"gs://{BUCKET}/out").state is State.BROKEN
    for location in ("az://nowhere/out", f"{work_dir.uri}/a//b"):
        assert check_work_dir(location).state is State.BROKEN
        with pytest.raises(WorkDirError):
            run_inline(images, location)
    become(monkeypatch, server.environment(key="d3Jvbmc="))
    with pytest.raises(InputError, match="refuses the credentials"):
        run_inline(images, work_dir.uri)
    become(monkeypatch, {"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_ENDPOINT": server.endpoint})
    assert check_work_dir(f"az://{PUBLIC}/out").state is State.BROKEN  # it is readable without credentials
    with pytest.raises(WorkDirError):
        run_inline(images, f"az://{PUBLIC}/out")
