"""Every file that a user names: pipes, sockets, devices and folders are refused in one line, and never waited for."""

import os
import re
import socket
from pathlib import Path

import pytest

from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.common.records import ImageRef
from fastdup_ray.common.regular_file import open_regular
from fastdup_ray.curation.plan_file import read_plan
from fastdup_ray.errors import BadImageError, ConfigError, InputError
from fastdup_ray.evaluation.truth import read_truth
from fastdup_ray.extract.model import Model
from fastdup_ray.features import load_binary_feature
from fastdup_ray.inputs import read_entry
from fastdup_ray.inputs.labels import check_labels
from fastdup_ray.inputs.list_file import open_list
from tests.helpers.runs import deadline

READERS = {
    "model": (lambda path: Model(path), ConfigError),
    "labels": (check_labels, InputError),
    "truth": (read_truth, InputError),
    "plan": (read_plan, InputError),
    "features": (load_binary_feature, FileNotFoundError),
    "image": (lambda path: read_entry(ImageRef(path, 0, "")), BadImageError),
    "video": (lambda path: read_entry(ImageRef(path + "#t=1.000", 0, "")), BadImageError),
    "list": (lambda path: open_list(path, DEFAULT_ACCESS).__enter__(), InputError),
}


@pytest.fixture(params=["pipe", "socket", "folder", "/dev/zero", "/dev/null"])
def special(request, tmp_path: Path) -> str:
    path = str(tmp_path / "special")
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "socket":
        socket.socket(socket.AF_UNIX).bind(path)
    elif request.param == "folder":
        os.mkdir(path)
    else:
        path = request.param
    return path


def test_only_regular_files_are_opened(special, tmp_path):
    with deadline(5), pytest.raises(OSError, match=re.escape(special)):
        open_regular(special)
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"bytes"
        assert os.get_blocking(file.fileno())


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_waits_for_what_is_no_regular_file(special, reader):
    read_named, error = READERS[reader]
    if reader == "list" and Path(special).is_fifo():
        pytest.skip("a list may come from a pipe")
    with deadline(5), pytest.raises(error) as caught:
        read_named(special)
    assert "\n" not in str(caught.value)
