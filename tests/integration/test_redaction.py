"""No command prints a secret."""

import importlib

import pytest

from tests.helpers.commands import call
from tests.helpers.secrets import SECRET


@pytest.mark.parametrize("location", ["s3://AKIA:hunter2@bucket/p", "s3://bucket/p?X-Amz-Signature=hunter2"])
@pytest.mark.parametrize(
    "words", [("run", "{}"), ("run", "photos", "--work-dir", "{}"), ("plan", "{}"), ("serve", "{}"), ("undo", "{}")]
)
def test_a_location_with_a_secret_is_refused_before_any_work(words, location, capsys):
    assert call(*(word.format(location) for word in words)) == 2
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    assert len(told.err.splitlines()) == 1


@pytest.mark.parametrize(
    "endpoint", ["http://user:hunter2@127.0.0.1:9", "http://user:a/hunter2@127.0.0.1:9", "u:hunter2@h"]
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_doctor_tells_no_password_of_an_endpoint(endpoint, options, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert call("doctor", "--s3", "s3://bucket/prefix", *options) == 1
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    assert "Traceback" not in told.err


def test_a_fault_of_ours_is_printed_without_the_addresses_in_it(monkeypatch, capsys):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("http://user:hunter2@host does not answer")

    monkeypatch.setattr(importlib.import_module("fastdup_ray.export"), "export", fail)
    assert call("export", "out", "--format", "fiftyone") == 1
    told = capsys.readouterr().err
    assert "RuntimeError: http://***@host does not answer" in told
    assert SECRET not in told


def test_a_usage_error_is_printed_without_the_addresses_in_it(capsys):
    assert call("plan", "out", "http://user:hunter2@host") == 2
    assert SECRET not in capsys.readouterr().err
