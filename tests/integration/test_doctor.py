"""The doctor finds what is there, and what is broken."""

import json
import re
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from fastdup_ray.cli.doctor import parse_count
from fastdup_ray.doctor import libraries, limits, packages
from fastdup_ray.doctor.checks import examine
from fastdup_ray.doctor.connectivity import check_input, check_ray
from fastdup_ray.doctor.findings import State
from fastdup_ray.extract import model
from tests.helpers.commands import call
from tests.helpers.runs import PHOTOS
from tests.helpers.s3_server import OPEN, SECRET


def finding(name: str, **asked):
    return next(found for found in examine(**asked).findings if found.name == name)


def test_here_all_is_well(capsys):
    assert call("doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok ", "note ")) for line in lines)
    assert any(version("ray") in line for line in lines)
    assert any(f"faiss-cpu {version('faiss-cpu')}" in line for line in lines)
    assert len(lines) <= 24  # one screen
    assert not any("To mend it" in line for line in lines)


def test_json_says_the_same(capsys):
    assert call("doctor", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert {found["name"] for found in told["findings"]} == {found.name for found in examine().findings}


def test_formats_that_cannot_be_read_name_the_extra(monkeypatch):
    monkeypatch.setattr(libraries, "find_spec", lambda _: None)
    found = next(finding for finding in libraries.check_versions() if finding.name == "optional")
    assert found.state is State.NOTE
    assert "extra video" in found.text
    assert "extra heic" in found.text
    assert "extra jxl" in found.text
    assert "extra raw" in found.text
    assert "extra hf" in found.text
    assert "extra lance" in found.text


def test_a_slower_decoder_is_noted(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia_rs", None)
    found = next(libraries.check_decoders())
    assert found.state is State.NOTE
    assert "PNG by Pillow" in found.text
    assert "WebP by OpenCV" in found.text


def test_both_twins_are_broken(monkeypatch, capsys):
    known = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.26.0"}
    monkeypatch.setattr(packages, "version", lambda name: known.get(name) or version(name))
    assert call("doctor") == 1
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("broken  onnxruntime") for line in lines)
    assert lines[-2:] == [
        "pip uninstall -y onnxruntime onnxruntime-gpu",
        "pip install --no-deps onnxruntime-gpu==1.26.0",
    ]


def test_a_twin_of_a_required_package_is_enough(monkeypatch):
    known = {"onnxruntime": None, "onnxruntime-gpu": "1.26.0"}

    def find(name: str) -> str:
        if name in known and known[name] is None:
            raise PackageNotFoundError(name)
        return known.get(name) or version(name)

    monkeypatch.setattr(packages, "version", find)
    assert {finding("packages").state, finding("onnxruntime").state} == {State.OK}


def test_a_run_with_both_twins_warns_once(monkeypatch, tmp_path, capsys):
    known = {"faiss-cpu": "1.15.1", "faiss-gpu": "1.15.1"}
    monkeypatch.setattr(packages, "version", lambda name: known.get(name) or version(name))
    assert call("run", PHOTOS / "phone", "-o", tmp_path / "out", "--executor", "inline", "--no-report") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "faiss-cpu 1.15.1 and faiss-gpu 1.15.1" in line
    assert "fastdup-ray doctor" in line


@pytest.mark.parametrize("command", [["--version"], ["--help"], ["doctor", "--help"], ["doctor", "--json"]])
def test_help_version_and_doctor_need_no_package(command):
    """Not those that a run needs; only click and lazy-loader, which the command itself is made of."""
    done = call_without(NEEDED_BY_RUNS, *command)
    assert "Traceback" not in done.stderr
    assert done.stdout
    if command[0] == "doctor" and "--json" in command:
        states = {found["name"]: found["state"] for found in json.loads(done.stdout)["findings"]}
        assert {states[name] for name in ("onnxruntime", "faiss", "PIL", "ray")} == {"broken"}
    else:
        assert done.returncode == 0


@pytest.mark.parametrize(
    ("module", "package"), [("PIL", "pillow"), ("faiss", "faiss-cpu"), ("onnxruntime", "onnxruntime"), ("ray", "ray")]
)
def test_a_missing_package_is_one_line_that_says_what_to_install(module, package, tmp_path):
    executor = "ray" if module == "ray" else "inline"
    done = call_without([module], "run", PHOTOS / "phone", "-o", tmp_path / "out", "--executor", executor)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert re.search(rf"pip install '{package}\W", done.stderr)


NEEDED_BY_RUNS = ("PIL", "faiss", "onnxruntime", "ray", "numpy", "pyarrow", "pydantic", "boto3", "cv2", "packaging")


def call_without(modules, *arguments: object) -> subprocess.CompletedProcess:
    """Run the command in a process that cannot import some modules."""
    code = f"import sys; sys.modules |= dict.fromkeys({list(modules)!r}); from fastdup_ray.__main__ import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


def test_a_library_that_does_not_load_is_broken(monkeypatch):
    monkeypatch.setitem(libraries.TWINS, "no_such_faiss", ("no-such-faiss",))
    assert finding("no_such_faiss").state is State.BROKEN


@pytest.mark.parametrize(
    ("requirement", "words"),
    [("no-such-package>=1", "no-such-package is missing"), ("ray>=1000", "is not >=1000")],
)
def test_an_unmet_requirement_is_broken(monkeypatch, requirement, words):
    monkeypatch.setattr(packages, "requires", lambda name: [requirement, "absent; extra == 'model'"])
    found = finding("packages")
    assert found.state is State.BROKEN
    assert words in found.text
    assert "absent" not in found.text


def test_a_package_that_is_not_installed_is_told(monkeypatch):
    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "version", none)
    found = next(finding for finding in libraries.check_versions() if finding.name == "packages")
    assert found.state is State.BROKEN


def test_a_damaged_model_is_broken(monkeypatch):
    monkeypatch.setattr(model, "_get_model_sha256", lambda name: "0" * 64)
    assert finding("model").state is State.BROKEN


def test_no_gpu_is_broken_only_where_one_is_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert finding("gpu").state is not State.BROKEN
    assert finding("gpu", gpu=True).state is State.BROKEN
    assert call("doctor", "--gpu") == 1


def test_a_cluster_that_is_named_has_to_answer(monkeypatch, ray_session):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    found = check_ray()
    assert found.state is State.BROKEN
    assert "127.0.0.1:9" in found.text
    monkeypatch.setenv("RAY_ADDRESS", ray_session)
    assert ray_session in check_ray().text
    assert check_ray().state is State.OK
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert check_ray().state is State.OK


def test_s3_is_reached_or_the_reason_is_told(s3_server, as_user, monkeypatch):
    as_user("reader")
    assert check_input(f"s3://{OPEN}/photos").state is State.OK
    denied = check_input(f"s3://{SECRET}/photos")
    assert denied.state is State.BROKEN
    assert "AccessDenied" in denied.text
    assert check_input("s3://").state is State.BROKEN
    assert check_input("photos/").state is State.BROKEN
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "Could not connect" in check_input(f"s3://{OPEN}/photos").text


def test_a_full_or_closed_disk_is_a_note(monkeypatch):
    assert finding("disk", work_dir="/proc/none").state is State.NOTE
    assert finding("disk", work_dir="s3://bucket/out").state in (State.OK, State.NOTE)


def test_limits_of_a_run_of_some_size(capsys, monkeypatch):
    stages = ("list", "merge", "search", "outputs")
    assert {finding(stage, images=10_000).state for stage in (*stages, "open files", "memory maps")} == {State.OK}
    assert finding("disk for images", images=10_000).state is State.OK
    monkeypatch.setattr(limits, "measure_free_memory", lambda: 8 << 30)
    assert finding("search", images=10**9).state is State.OK  # it is partitioned
    assert {finding(stage, images=10**9).state for stage in ("merge", "outputs", "disk for images")} == {State.BROKEN}
    assert call("doctor", "--images", "1B", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert {found["name"] for found in told["findings"]} >= {*stages, "disk for images", "number of files"}


def test_a_disk_without_room_for_so_many_files_is_named(monkeypatch):
    assert finding("number of files", images=10_000).state is State.OK
    monkeypatch.setattr(limits, "estimate_files", lambda size: 1 << 62)
    assert finding("number of files", images=10_000).state is State.BROKEN


def test_a_low_limit_of_open_files_is_noted(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 256))
    assert finding("open files", images=10).state is State.NOTE


@pytest.mark.parametrize(
    ("text", "count"), [("250000", 250_000), ("1,000", 1000), ("10k", 10_000), ("1.5B", 1_500_000_000)]
)
def test_counts_are_written_as_people_do(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "10x", "M", "inf", "nan", "1e99"])
def test_what_is_no_count_is_refused(text):
    assert call("doctor", "--images", text) == 2
