"""Several runs at once in one process, from its first moment on."""

import io
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image, ImageFile, PngImagePlugin

from fastdup_ray.common.records import Limits
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract.decode import decode_bytes, strict_pillow
from fastdup_ray.extract.worker_threads import run_jobs
from tests.helpers.images import cloudy, encode
from tests.helpers.runs import PHOTOS, outputs, run_inline

pytestmark = pytest.mark.alone

FIRST_USE = """
import sys, threading
sys.setswitchinterval(1e-6)
from fastdup_ray.extract.model import Model, make_fingerprint

together, errors = threading.Barrier(8), []

def use():
    together.wait()
    try:
        make_fingerprint()
        Model()
    except BaseException as error:
        errors.append(repr(error))

threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(errors[0] if errors else 0)
"""

TWO_RUNS = """
import sys, threading
together, errors = threading.Barrier(2), []

def run(work_dir):
    together.wait()
    try:
        import fastdup_ray
        config = fastdup_ray.RunConfig.of(input_dir=sys.argv[1], work_dir=work_dir, executor="inline", report=False)
        fastdup_ray.deduplicate(config)
    except BaseException as error:
        errors.append(repr(error))

threads = [threading.Thread(target=run, args=[work_dir]) for work_dir in sys.argv[2:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(errors[0] if errors else 0)
"""


def python(code: str, *arguments: object) -> None:
    """Runs `code` in a fresh process, which has to end well."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_what_is_imported_late_is_whole_for_each_thread_that_asks_first():
    for _ in range(20):
        python(FIRST_USE)


@pytest.mark.slow
def test_two_runs_that_start_a_process_come_to_what_each_comes_to_alone(tmp_path):
    run_inline(PHOTOS / "phone", tmp_path / "alone", report=False)
    for attempt in range(4):
        work_dirs = [tmp_path / f"{attempt}-{number}" for number in range(2)]
        python(TWO_RUNS, PHOTOS / "phone", *work_dirs)
        assert all(outputs(work_dir) == outputs(tmp_path / "alone") for work_dir in work_dirs)


def test_two_runs_at_once_have_each_its_own_limit(tmp_path):
    """A picture in an icon, of which only the decoder sees how large it is."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(24):
        cloudy(seed, (64, 64)).save(folder / f"{seed}.png")
    Image.new("L", (256, 256)).save(folder / "large.ico", sizes=[(256, 256)])
    limits = {"small": 5_000, "large": 10**6}
    for name, limit in limits.items():
        run_inline(folder, tmp_path / f"{name}-alone", max_pixels=limit, report=False)
    with ThreadPoolExecutor(2) as pool:
        for name, limit in limits.items():
            pool.submit(run_inline, folder, tmp_path / name, max_pixels=limit, report=False)
    for name in limits:
        assert outputs(tmp_path / name) == outputs(tmp_path / f"{name}-alone")


def switches() -> tuple:
    return (
        Image.MAX_IMAGE_PIXELS,
        Image._decompression_bomb_check,
        ImageFile.LOAD_TRUNCATED_IMAGES,
        PngImagePlugin.MAX_TEXT_CHUNK,
        list(warnings.filters),
    )


@pytest.mark.parametrize("first_out", [0, 1])
def test_pillow_is_as_before_once_the_last_user_is_out(first_out):
    before = switches()
    users = [strict_pillow(10**6), strict_pillow(10**3)]
    for user in users:
        user.__enter__()
    users.pop(first_out).__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS is None
    assert switches() != before
    users.pop().__exit__(None, None, None)
    assert switches() == before


def test_each_thread_has_the_limit_that_it_entered_with():
    png = encode(Image.new("L", (200, 200)), "PNG")
    both_in, refused = threading.Barrier(2), {}

    def use(limit: int) -> None:
        with strict_pillow(limit):
            both_in.wait()

            def opened(lane, job):
                try:
                    Image.open(io.BytesIO(png))
                except BadImageError as error:
                    return error.code
                return None

            ((_, refused[limit]),) = run_jobs([0], opened, 1, 60, print)
            both_in.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(use, (10**3, 10**6)))
    assert refused == {10**3: "TOO_LARGE", 10**6: None}


def test_many_threads_decode_under_limits_of_their_own():
    png = encode(Image.new("L", (100, 100)), "PNG")

    def use(limit: int) -> str | None:
        with strict_pillow(limit):
            try:
                decode_bytes(png, (64, 64), Limits(limit))
            except BadImageError as error:
                return error.code
        return None

    before = switches()
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(use, [9_999, 10_000] * 200))
    assert codes == ["TOO_LARGE", None] * 200
    assert switches() == before
