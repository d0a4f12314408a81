"""What outputs depend on besides inputs and parameters."""

import os
from pathlib import Path

import pyarrow as pa
import pytest

from fastdup_ray.outputs.basis import digest_sidecars


def digest(*names: object) -> str | None:
    return digest_sidecars([pa.array(list(map(str, names)), pa.large_string())])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("a caption")
    return tmp_path / "a.jpg"


def test_the_sidecars_in_the_folder_of_an_image_decide(image: Path):
    before = digest(image)
    image.touch()
    image.with_suffix(".mp3").touch()
    assert digest(image) == before
    image.with_suffix(".XMP").touch()
    assert digest(image) != before


def test_the_time_of_a_sidecar_decides(image: Path):
    before = digest(image)
    os.utime(image.with_suffix(".txt"), (0, 0))
    assert digest(image) != before


def test_members_of_an_archive_have_the_folder_of_the_archive(image: Path):
    assert digest(image.parent / "b.zip!/c/d.jpg") == digest(image)


def test_a_folder_may_look_like_an_archive(image: Path):
    folder = image.parent / "x!"
    folder.mkdir()
    assert digest(folder / "a.jpg") == digest(folder / "b.jpg") != digest(image)


def test_a_link_to_nowhere_is_a_sidecar_too(image: Path):
    before = digest(image)
    image.with_suffix(".json").symlink_to(image.parent / "nowhere")
    assert digest(image) not in (before, None)


def test_of_a_bucket_nothing_is_known(image: Path):
    assert digest(image, "s3://bucket/a.jpg") is None


def test_without_images_nothing_lies_beside_them():
    assert digest() == digest()
