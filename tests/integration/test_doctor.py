"""The doctor finds what is there, and what is broken."""

import json
from importlib.metadata import PackageNotFoundError, version

import pytest

from fastdup_ray.doctor import libraries
from fastdup_ray.doctor.checks import examine
from fastdup_ray.doctor.connectivity import check_ray, check_s3
from fastdup_ray.doctor.findings import State
from fastdup_ray.extract import model
from tests.helpers.commands import call
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


def test_json_says_the_same(capsys):
    assert call("doctor", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert {found["name"] for found in told["findings"]} == {found.name for found in examine().findings}


def test_both_twins_are_broken(monkeypatch, capsys):
    known = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.26.0"}
    monkeypatch.setattr(libraries, "version", lambda name: known.get(name) or version(name))
    assert call("doctor") == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("broken"))
    assert "pip uninstall onnxruntime onnxruntime-gpu" in line


def test_a_library_that_does_not_load_is_broken(monkeypatch):
    monkeypatch.setitem(libraries.TWINS, "no_such_faiss", ("no-such-faiss",))
    assert finding("no_such_faiss").state is State.BROKEN


@pytest.mark.parametrize(
    ("requirement", "words"),
    [("no-such-package>=1", "no-such-package is missing"), ("ray>=1000", "is not >=1000")],
)
def test_an_unmet_requirement_is_broken(monkeypatch, requirement, words):
    monkeypatch.setattr(libraries, "requires", lambda name: [requirement, "absent; extra == 'model'"])
    found = finding("packages")
    assert found.state is State.BROKEN
    assert words in found.text
    assert "absent" not in found.text


def test_a_package_that_is_not_installed_is_told(monkeypatch):
    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(libraries, "version", none)
    packages = next(finding for finding in libraries.check_versions() if finding.name == "packages")
    assert packages.state is State.BROKEN


def test_a_damaged_model_is_broken(monkeypatch):
    monkeypatch.setattr(model, "_get_model_sha256", lambda: "0" * 64)
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
    assert check_s3(f"s3://{OPEN}/photos").state is State.OK
    denied = check_s3(f"s3://{SECRET}/photos")
    assert denied.state is State.BROKEN
    assert "AccessDenied" in denied.text
    assert check_s3("s3://").state is State.BROKEN
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "Could not connect" in check_s3(f"s3://{OPEN}/photos").text


def test_a_full_or_closed_disk_is_a_note(monkeypatch):
    assert finding("disk", work_dir="/proc/none").state is State.NOTE
    assert finding("disk", work_dir="s3://bucket/out").state in (State.OK, State.NOTE)
