"""How buckets are accessed is a value of each call: commands honor their flags, and no call changes another's."""

import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastdup_ray import RunConfig, export, make_plan, s3
from fastdup_ray.cli.group import cli
from fastdup_ray.common import locations
from fastdup_ray.common.access import DEFAULT_ACCESS, make_access
from fastdup_ray.curation.report_service import ReportService
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.inputs import list_images
from fastdup_ray.storage import Store, open_store
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import run_inline
from tests.helpers.s3_server import OPEN, Bucket

PAYING = make_access(requester_pays=True)

Request = tuple[str, str | None]
"""The path of a request, and what it says about the payer."""


class Recorder:
    """The requests of this process, by the client that sent them."""

    def __init__(self) -> None:
        self.paying: list[Request] = []
        self.usual: list[Request] = []

    def listen(self) -> None:
        for access, requests in ((PAYING, self.paying), (DEFAULT_ACCESS, self.usual)):
            s3.get_client(access).meta.events.register("before-send.s3", self._record_to(requests))

    def clear(self) -> None:
        self.paying.clear()
        self.usual.clear()

    @staticmethod
    def _record_to(requests: list[Request]) -> Callable[..., None]:
        def record(request, **_: object) -> None:
            payer = request.headers.get("x-amz-request-payer")
            requests.append((request.url, payer.decode() if isinstance(payer, bytes) else payer))

        return record

    def payers_of(self, prefix: str) -> set[str | None]:
        return {payer for url, payer in self.paying if f"/{OPEN}/{prefix}" in url}


@pytest.fixture
def recorder(bucket: Bucket) -> Iterator[Recorder]:
    recorder = Recorder()
    recorder.listen()
    return recorder


@pytest.fixture
def prefix(bucket: Bucket) -> str:
    """Of the keys of the images."""
    for name, seed in (("a.png", 1), ("twin.png", 1), ("c.png", 3)):
        bucket.put(name, encode(cloudy(seed), "PNG"))
    return locations.split(bucket.pictures)[1]


def invoke(*arguments: str) -> None:
    cli.main([*arguments, "--s3-requester-pays"], standalone_mode=False)


def test_apply_and_undo_say_who_pays(bucket, prefix, recorder):
    run_inline(bucket.pictures, bucket.work_dir)
    plan, quarantine = make_plan(bucket.work_dir).path, bucket.work_dir + "-quarantine"
    for command in (
        ("apply", plan, "--quarantine", quarantine),
        ("apply", plan, "--quarantine", quarantine, "--execute"),
        ("undo", quarantine),
        ("apply", plan, "--link", "copy", "--to", bucket.work_dir + "-clean", "--execute"),
    ):
        recorder.clear()
        invoke(*command)
        assert recorder.payers_of(prefix) == {"requester"}, command
        assert recorder.usual == [], command


def test_commands_on_a_finished_run_say_who_pays(bucket, prefix, recorder, tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("path,group\n" + "".join(f"{bucket.pictures}/{name}.png,g\n" for name in ("a", "twin", "c")))
    run_inline(bucket.pictures, bucket.work_dir)
    for command in (
        ("plan", bucket.work_dir),
        ("gallery", bucket.work_dir),
        ("export", bucket.work_dir, "--format", "drop-list"),
        ("evaluate", bucket.pictures, str(truth), "--executor", "inline"),
    ):
        recorder.clear()
        invoke(*command)
        assert recorder.paying, command
        assert recorder.usual == [], command
        if command[0] in ("gallery", "evaluate"):  # these read images
            assert recorder.payers_of(prefix) == {"requester"}, command


def test_the_served_report_reads_images_as_it_was_told(bucket, prefix, recorder, tmp_path):
    run_inline(bucket.pictures, tmp_path / "out")
    service = ReportService(tmp_path / "out", PAYING)
    recorder.clear()
    with strict_pillow(10**8):
        assert service.read_image(0)[0] == "image/png"
    assert recorder.usual == []
    export(tmp_path / "out", "keep-list", s3_requester_pays=True)
    assert recorder.usual == []


def test_two_lists_in_one_process_keep_their_own_access(bucket, prefix, recorder, tmp_path):
    (tmp_path / "list").write_text("".join(f"{bucket.pictures}/{name}.png\n" for name in ("a", "twin", "c")))
    inputs = [str(tmp_path / "list"), bucket.pictures]
    paying = list_images(RunConfig.of(input_dir=inputs, work_dir=tmp_path, s3_requester_pays=True))
    usual = list_images(RunConfig.of(input_dir=inputs, work_dir=tmp_path))
    recorder.clear()
    first = [next(paying), next(usual)]
    assert [*first[:1], *paying] == [*first[1:], *usual]
    assert {payer for _, payer in recorder.paying} == {"requester"}
    assert {payer for _, payer in recorder.usual} == {None}


def test_threads_that_work_at_once_keep_their_own_access(bucket, prefix, recorder, tmp_path):
    def list_all(**access: bool) -> None:
        for _ in range(5):
            list(list_images(RunConfig.of(input_dir=bucket.pictures, work_dir=tmp_path, **access)))

    recorder.clear()
    threads = [threading.Thread(target=list_all, kwargs={"s3_requester_pays": pays}) for pays in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {payer for _, payer in recorder.paying} == {"requester"}
    assert {payer for _, payer in recorder.usual} == {None}


@pytest.mark.parametrize("location", ["s3", "local"])
def test_a_store_is_pickled_with_its_access(bucket: Bucket, tmp_path: Path, location: str):
    access = make_access(anonymous=True, requester_pays=True)
    store: Store = open_store(bucket.work_dir if location == "s3" else tmp_path, access)
    assert pickle.loads(pickle.dumps(store)).access == access
