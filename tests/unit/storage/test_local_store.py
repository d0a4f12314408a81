"""A work_dir in a local folder: links in it stay, and nothing but a regular file is replaced."""

import os
import stat
from pathlib import Path

import pytest

from fastdup_ray.errors import WorkDirError
from fastdup_ray.storage import open_store


def put(folder: Path, name: str) -> None:
    with open_store(folder).create(name) as path:
        path.write_text("new")


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path, exists):
    (tmp_path / "big disk").mkdir()
    if exists:
        (tmp_path / "big disk/features").write_text("old")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/features.dat").symlink_to("../big disk/features")
    put(tmp_path / "out", "features.dat")
    assert os.readlink(tmp_path / "out/features.dat") == "../big disk/features"
    assert {path.name: path.read_text() for path in (tmp_path / "big disk").iterdir()} == {"features": "new"}


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path.name)])
@pytest.mark.parametrize("meanwhile", [True, False])
def test_what_is_no_file_is_not_replaced(tmp_path, make, meanwhile):
    path = tmp_path / "similarity.csv"
    if not meanwhile:
        make(path)
    with pytest.raises(WorkDirError, match="Cannot write"), open_store(tmp_path).create(path.name) as temporary:
        temporary.write_text("new")
        make(path)
    assert stat.S_IFMT(path.lstat().st_mode) != stat.S_IFREG
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("folder", ["/proc", "/sys", "/missing"])
def test_a_folder_that_is_only_read_has_scratch_files_elsewhere(folder):
    with open_store(folder).scratch() as file:
        file.write(b"x")
        assert file.tell() == 1
