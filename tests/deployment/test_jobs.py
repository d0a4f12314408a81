"""Jobs on a cluster that asks for a token, with their work_dir in a bucket: submitted, followed, stopped, refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.clusters import COMMANDS, Head, with_commands
from tests.helpers.commands import parse_counts, run, workers
from tests.helpers.images import save_cloudy
from tests.helpers.runs import PHOTOS, SAME_BYTES
from tests.helpers.s3_server import Bucket

pytestmark = pytest.mark.slow

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture(scope="module")
def head(s3_server):
    head = Head(s3_server.environment("owner"))
    yield head
    head.stop()


def submit_command(head: Head, *arguments: object) -> list[str]:
    return [sys.executable, str(JOBS / "submit.py"), "--address", head.url, *map(str, arguments)]


def submit(head: Head, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """environment: a token, or what else is to be other than usual."""
    return subprocess.run(
        submit_command(head, *arguments),
        env=with_commands({"RAY_AUTH_TOKEN": head.token} | environment),
        capture_output=True,
        text=True,
        timeout=180,
    )


def same(bucket: Bucket, reference: Path, pictures: Path) -> bool:
    """Whether a run over the bucket left what one over the folder did, where the names are other."""
    at, of = str(pictures).encode(), bucket.pictures.encode()
    names = [name for name in SAME_BYTES if not name.endswith(".parquet")]
    return all(bucket.output(name) == (reference / name).read_bytes().replace(at, of) for name in names)


@pytest.fixture
def photos_bucket(bucket):
    bucket.put_folder(PHOTOS)
    return bucket


def test_a_job_is_submitted_followed_and_counted(head, photos_bucket, finished):
    before = head.metrics()
    done = submit(head, "find_duplicates", photos_bucket.pictures, "--work-dir", photos_bucket.work_dir)
    assert done.returncode == 0, done.stderr
    assert "33 images, 5 unreadable" in done.stdout
    assert "\r" not in done.stdout
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("submit: job find-duplicates-")
    assert same(photos_bucket, finished, PHOTOS)
    counted = head.metrics()
    counted.subtract(before)
    assert counted["fastdup_images_total"] == 33
    assert counted["fastdup_bad_images_total"] == 5
    assert counted["fastdup_bytes_total"] == sum(path.stat().st_size for path in PHOTOS.rglob("*") if path.is_file())
    for stage in ("features", "neighbors", "outputs"):
        assert counted[f"fastdup_stage_seconds_total {stage}"] > 0, stage


def test_rays_own_command_submits_it_too(head, photos_bucket, finished):
    words = ["job", "submit", "--address", head.url, "--working-dir", str(JOBS), "--", "python"]
    words += ["rededupe_s3.py", photos_bucket.pictures, "--work-dir", photos_bucket.work_dir]
    done = subprocess.run(
        [os.path.join(COMMANDS, "ray"), *words], env=head.environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert '"step": "done"' in done.stdout
    assert same(photos_bucket, finished, PHOTOS)


SLOW = """
import time
from PIL import Image, ImageFile

class Slow(ImageFile.ImageFile):
    format = "SLOW"
    format_description = "takes its time, and is no picture after all"
    def _open(self):
        time.sleep(1)
        raise SyntaxError("no picture")

Image.register_open("SLOW", Slow, lambda prefix: prefix.startswith(b"SLOW"))
"""


def test_rays_own_log_command_tells_how_far_a_job_is(head, tmp_path):
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin/sitecustomize.py").write_text(SLOW)
    (tmp_path / "slow").mkdir()
    for number in range(48):
        (tmp_path / f"slow/{number}.jpg").write_bytes(b"SLOW")
    path = os.pathsep.join([str(tmp_path / "plugin"), os.environ.get("PYTHONPATH", "")])

    def ray_job(*words: str) -> str:
        command = [os.path.join(COMMANDS, "ray"), "job", words[0], "--address", head.url, *words[1:]]
        done = subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    own = json.dumps({"working_dir": str(JOBS), "env_vars": {"PYTHONPATH": path}})
    job = ("find_duplicates.py", str(tmp_path / "slow"), "--work-dir", str(tmp_path / "out"), "--shard-size", "1")
    ray_job("submit", "--no-wait", "--submission-id", "slow", "--runtime-env-json", own, "--", "python", *job)
    deadline = time.monotonic() + 180
    while not (
        told := re.search(r"features: (\d+) of 48 images, (\d+) bad, .* images/s, .* left", ray_job("logs", "slow"))
    ):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert 0 < int(told[1]) == int(told[2]) < 48
    ray_job("stop", "slow")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("/no/such/folder",), 1, "fastdup-ray: Input '/no/such/folder' does not exist"),
        ((PHOTOS, "--threshold", "7"), 2, "Invalid value for --threshold: 7 "),
    ],
)
def test_the_exit_status_is_the_jobs(head, bucket, arguments, code, words):
    done = submit(head, "find_duplicates", *arguments, "--work-dir", bucket.work_dir)
    assert done.returncode == code
    assert words in done.stdout


def one_line(text: str) -> bool:
    return text.count("\n") == 1 and text.startswith("submit: ")


def test_the_token_may_stand_in_a_file(head, tmp_path):
    (tmp_path / "token").write_text(head.token)
    here = {"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    done = submit(head, "find_duplicates", "/no/such/folder", "--work-dir", tmp_path / "out", **here)
    assert (done.returncode, "does not exist" in done.stdout) == (1, True), done.stderr


@pytest.mark.parametrize("token", ["not-the-token-" * 4, ""])
def test_a_wrong_token_is_refused_in_one_line(head, token):
    done = submit(head, "find_duplicates", "--version", "1", RAY_AUTH_TOKEN=token)
    assert done.returncode == 1
    assert done.stdout == ""
    assert one_line(done.stderr)
    assert "refuses the token" in done.stderr


def test_a_driver_with_a_wrong_token_is_refused(head, tmp_path):
    done = run(
        PHOTOS, "--work-dir", tmp_path, RAY_ADDRESS=head.address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="wrong" * 10
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("fastdup-ray: Ray does not let this process in")


def test_a_driver_with_the_token_is_let_in(head, tmp_path):
    done = run(PHOTOS, "--work-dir", tmp_path, RAY_ADDRESS=head.address, RAY_AUTH_TOKEN=head.token)
    assert done.returncode == 0, done.stderr


def test_no_server_is_told_in_one_line(head):
    done = submit(head, "--address", "http://127.0.0.1:9", "find_duplicates", "photos")
    assert done.returncode == 1
    assert one_line(done.stderr)
    assert "No Ray answers at http://127.0.0.1:9" in done.stderr


def test_a_wrong_entry_point_is_told_with_those_that_there_are(head):
    done = submit(head, "find_duplicate", "photos")
    assert done.returncode == 2
    assert "'find_duplicate' is not one of 'find_duplicates', 'rededupe_s3'" in done.stderr


@pytest.mark.parametrize("stop", [signal.SIGTERM])
def test_a_job_is_stopped_with_its_submitter_and_goes_on_later(head, bucket, tmp_path, stop):
    pictures = tmp_path / "pictures"
    save_cloudy(pictures, 160, size=(1600, 1200))
    reference = tmp_path / "reference"
    arguments = ("--shard-size", 16, "--no-report")
    assert run(pictures, "--work-dir", reference, *arguments, "--executor", "inline").returncode == 0
    bucket.put_folder(pictures)
    job = ("find_duplicates", bucket.pictures, "--work-dir", bucket.work_dir, *arguments)
    process = subprocess.Popen(
        submit_command(head, *job),
        env=with_commands({"RAY_AUTH_TOKEN": head.token}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not any(name.endswith(".shard") for name in bucket.output_names()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(stop)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "stopping job" in err
    assert "Interrupted. Run the same command to resume." in out
    left = bucket.outputs()
    assert "summary.json" not in left
    assert not [name for name in left if "lock" in name]
    assert not workers("ExtractActor")
    again = submit(head, *job)
    assert again.returncode == 0, again.stderr
    assert 0 < parse_counts(again.stdout)[0] < 160
    assert same(bucket, reference, pictures)
