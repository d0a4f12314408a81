"""A list in parts: the same outputs as from one in memory, and nothing left of the parts."""

from pathlib import Path

import pytest

from fastdup_ray.common import layout
from fastdup_ray.errors import WorkDirError
from fastdup_ray.features import match_keys
from fastdup_ray.inputs import manifest
from tests.helpers.images import save_cloudy
from tests.helpers.runs import outputs, run_inline

IMAGES = 23
PART = 5
FAST = {"report": False, "verify": "off"}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A folder of images, with a bad one."""
    folder = tmp_path_factory.mktemp("images")
    save_cloudy(folder, IMAGES)
    (folder / "bad.jpg").write_bytes(b"bad")
    return folder


@pytest.fixture(scope="module")
def expected(images, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    run_inline(images, out, **FAST)
    return outputs(out)


@pytest.fixture(autouse=True)
def written(monkeypatch) -> list[str]:
    """The parts that are written; keys are compared few at a time, too."""
    names: list[str] = []

    def write(store, name, table, write=manifest.write_parquet):
        names.append(name)
        write(store, name, table)

    monkeypatch.setattr(manifest, "write_parquet", write)
    monkeypatch.setattr(manifest, "ENTRIES_PER_PART", PART)
    monkeypatch.setattr(match_keys, "KEYS_PER_PART", PART)
    return names


@pytest.mark.parametrize("executor", ["inline", "local", "ray"])
def test_parts_give_the_same_outputs(executor, images, expected, written, tmp_path, request):
    if executor == "ray":
        request.getfixturevalue("ray_driver")
    run_inline(images, tmp_path, **FAST, executor=executor)
    assert len(written) == (IMAGES + 1) // PART
    assert outputs(tmp_path) == expected
    assert not (tmp_path / layout.SHARDS).exists()


def test_parts_in_a_bucket(images, expected, written, bucket):
    run_inline(images, bucket.work_dir, **FAST)
    assert written
    assert {name: bucket.output(name) for name in expected} == expected
    assert not [name for name in bucket.output_names() if layout.SHARDS in name]


def test_images_join_and_leave(images, expected, written, tmp_path):
    fewer = tmp_path / "fewer.txt"
    fewer.write_text("\n".join(str(path) for path in sorted(images.iterdir())[::-2]))
    run_inline(fewer, tmp_path / "out", **FAST)
    again = run_inline(images, tmp_path / "out", **FAST)
    assert again.summary["read"] == (IMAGES + 1) // 2
    assert outputs(tmp_path / "out") == expected


def test_nothing_is_left_of_runs_that_write_nothing(images, written, tmp_path):
    run_inline(images, tmp_path, **FAST)
    killed = tmp_path / layout.LIST / "killed" / "part-000000.parquet"
    killed.parent.mkdir(parents=True)
    killed.touch()
    before = len(written)
    again = run_inline(images, tmp_path, **FAST)
    assert "unchanged" in again.summary["seconds"]
    assert len(written) > before
    assert not (tmp_path / layout.SHARDS).exists()


def test_ranges_leave_no_parts(images, expected, written, tmp_path):
    for start, stop in ((0, 11), (11, IMAGES + 1)):
        run_inline(images, tmp_path, run_mode=1, min_offset=start, max_offset=stop)
    assert written
    assert not (tmp_path / layout.SHARDS).exists()
    run_inline(images, tmp_path, run_mode=2, **FAST)
    names = ("features.dat", "features.dat.csv", "manifest.parquet", "features.bad.csv", "similarity.csv")
    assert {name: outputs(tmp_path)[name] for name in names} == {name: expected[name] for name in names}


def test_other_images_are_refused(images, written, tmp_path):
    save_cloudy(tmp_path / "others", 7)
    run_inline(images, tmp_path / "out", **FAST)
    with pytest.raises(WorkDirError):
        run_inline(tmp_path / "others", tmp_path / "out", **FAST)
