"""Secrets in URLs: taken out of whatever is printed, logged or stored, and nothing else is."""

import json
import pickle

import pytest

from fastdup_ray import s3
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import BadImageError, ConfigError, ErrorCode, FastdupError, MissingFileError, redact
from fastdup_ray.runs.steps import write_config
from fastdup_ray.storage import open_store
from tests.helpers.secrets import SECRET


@pytest.mark.parametrize(
    "text",
    [
        'Could not connect to the endpoint URL: "http://user:hunter2@host:9000/bucket"',
        "Custom endpoint `https://user:with/hunter2@host:9` was not a valid URI",
        "http://user:p@hunter2@host:9000/",
        "http://hunter2@host/",
        "http://:hunter2@host",
        "HTTPS://User:hunter2@HOST/a",
        "/cwd/http:/user:hunter2@host/photos does not exist",
        "s3://AKIA:hunter2@bucket/key",
        "socks5h://user:hunter2@proxy:1080",
        "https://host/a.jpg?X-Amz-Credential=hunter2%2F2024&X-Amz-Signature=hunter2&x=1",
        "https://host/a.jpg?AWSAccessKeyId=hunter2&Signature=hunter2",
        "https://host/a?sv=1&sig=hunter2",
        "https://host/a?access_token=hunter2#top",
        "https://host/a?apikey=hunter2",
        "AWS4-HMAC-SHA256 Credential=hunter2/20240101/s3, SignedHeaders=host, Signature=hunter2",
    ],
)
def test_a_secret_is_taken_out(text):
    hidden = redact(text)
    assert SECRET not in hidden
    assert "***" in hidden
    assert redact(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/folder/icon@2x.png",
        "/photos/icon@2x.png?size=3",
        "http://host:9000/bucket/a@b.jpg",
        "http://[::1]:9000/a@b",
        "write s3://bucket/prefix, not me@example.com",
        "threshold='1.5'; the key of 's3://b/key=value/x' and the token",
    ],
)
def test_what_is_none_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize("kind", [FastdupError, ConfigError, MissingFileError])
def test_no_error_tells_one_wherever_it_is_raised(kind):
    error = kind("http://user:hunter2@host is gone")
    for told in (error, pickle.loads(pickle.dumps(error))):
        assert str(told) == "http://***@host is gone"
        assert SECRET not in repr(told)


def test_no_bad_list_tells_one():
    assert SECRET not in BadImageError(ErrorCode.READ_FAILED, "no answer of http://u:hunter2@host").message


def test_config_json_has_none(tmp_path):
    config = RunConfig.of(input_dir=str(tmp_path), work_dir=tmp_path, faiss_mode="http://user:hunter2@host")
    write_config(open_store(tmp_path), config)
    assert json.loads((tmp_path / "config.json").read_text())["faiss_mode"] == "http://***@host"


def test_an_error_of_boto3_is_told_without_the_address(monkeypatch):
    from botocore.exceptions import EndpointConnectionError

    error = EndpointConnectionError(endpoint_url="http://user:hunter2@host:9000/b?list-type=2")
    assert s3.describe_error(error) == "Could not connect to the endpoint URL: http://***@host:9000/b"
