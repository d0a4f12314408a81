"""Images that leave the list and come back are not read again."""

from pathlib import Path

import pytest

import fastdup_ray as fastdup
from fastdup_ray.common import layout
from fastdup_ray.features import reuse
from tests.helpers.images import save_cloudy
from tests.helpers.runs import outputs, run_inline


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return save_cloudy(tmp_path / "in", 6)


def run(images: list[Path], **parameters: object) -> int:
    """Run, and return the number of files that were read."""
    work_dir = images[0].parent.parent / "out"
    return run_inline(images[0].parent, work_dir, report=False, verify="off", **parameters).summary["read"]


def kept(images: list[Path]) -> list[Path]:
    return list((images[0].parent.parent / "out" / layout.UNLISTED).glob("*.shard"))


def move_out(images: list[Path]) -> None:
    for image in images:
        image.rename(image.parent.parent / image.name)


def move_back(images: list[Path]) -> None:
    for image in images:
        (image.parent.parent / image.name).rename(image)


def test_images_that_come_back_are_reused(images, tmp_path):
    run(images)
    whole = outputs(tmp_path / "out")
    move_out(images[2:4])
    assert run(images) == 0
    assert len(kept(images)) == 1
    move_out(images[4:5])
    assert run(images) == 0
    assert len(kept(images)) == 1
    move_back(images[2:5])
    assert run(images) == 0
    assert outputs(tmp_path / "out") == whole
    assert not (tmp_path / "out" / layout.UNLISTED).exists()


def test_undo_leaves_nothing_to_read(images, tmp_path):
    (images[0].parent / "again.jpg").write_bytes(images[0].read_bytes())
    run(images)
    plan, quarantine = tmp_path / "out" / layout.PLAN_CSV, tmp_path / "quarantine"
    fastdup.make_plan(tmp_path / "out")
    assert fastdup.apply_plan(plan, quarantine=quarantine, execute=True).moved
    assert run(images) == 0
    fastdup.undo(quarantine)
    assert run(images) == 0


def test_an_image_that_comes_back_changed_is_read(images):
    run(images)
    move_out(images[:1])
    run(images)
    images[0].write_bytes(images[1].read_bytes())
    assert run(images) == 1
    assert not kept(images)


def test_no_more_are_kept_than_the_limit(images, monkeypatch):
    monkeypatch.setattr(reuse, "MOST_UNLISTED", 2)
    run(images)
    move_out(images[:4])
    run(images)
    move_back(images[:4])
    assert run(images) == 2


def test_without_reuse_nothing_is_kept(images):
    run(images)
    move_out(images[:4])
    run(images)
    run(images, reuse=False)
    assert not kept(images)


def test_a_damaged_file_is_read_again(images):
    run(images)
    move_out(images[:4])
    run(images)
    (path,) = kept(images)
    path.write_bytes(b"#" * path.stat().st_size)
    move_back(images[:4])
    assert run(images) == 4


def test_nothing_is_written_again_for_the_same_images(images):
    run(images)
    move_out(images[:1])
    run(images)
    (before,) = ((path, path.stat().st_mtime_ns) for path in kept(images))
    move_out(images[1:2])
    move_back(images[1:2])
    run(images, threshold=0.5)
    assert [(path, path.stat().st_mtime_ns) for path in kept(images)] == [before]


@pytest.mark.parametrize("moved", [[0], [0, 1]])
def test_a_merge_that_is_killed_loses_nothing(moved, images, monkeypatch):
    run(images)
    move_out([images[0]])
    run(images)
    move_back([images[0]])
    move_out([images[number] for number in moved if number])
    with monkeypatch.context() as patch:
        patch.setattr("fastdup_ray.runs.merge_stage.merge_sets", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(images)
    assert run(images) == 0
