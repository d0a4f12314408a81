"""What is said of inputs without images."""

import pytest

from fastdup_ray import RunConfig
from fastdup_ray.errors import InputError
from fastdup_ray.runs.preflight import list_manifest


def test_an_empty_folder_is_called_empty(tmp_path):
    with pytest.raises(InputError, match=r"the folder is empty\.$"):
        list_manifest(RunConfig.of(input_dir=tmp_path))
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    with pytest.raises(InputError, match=r"the folders are empty\.$"):
        list_manifest(RunConfig.of(input_dir=folders))


def test_a_folder_without_images_is_not_called_empty(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="name a folder, image"):
        list_manifest(RunConfig.of(input_dir=tmp_path))
