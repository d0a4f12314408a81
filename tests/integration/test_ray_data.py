"""Steps for pipelines of Ray Data: the same embeddings, bad images and duplicates as those of a run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray.data
from PIL import Image

import fastdup_ray
from fastdup_ray import RunResult
from fastdup_ray.common.records import Limits
from fastdup_ray.data import deduplicate, embed
from fastdup_ray.data.columns import RowColumns
from fastdup_ray.data.embed_batches import CODE, EMBEDDING, EmbedBatches
from fastdup_ray.errors import ConfigError, InputError, WorkDirError
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.extract.model import make_fingerprint
from fastdup_ray.features import load_binary_feature
from tests.helpers.images import cloudy, encode

KILLER = """
import os, signal
from PIL import Image

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

Image.register_open("KILLER", die, lambda prefix: prefix.startswith(b"KILLER!!"))
"""
"""A plugin of Pillow that takes the process down."""

SPEC = ExtractSpec(None, 1, Limits(10**8), 60.0, 4096, {"fingerprint": make_fingerprint(None, None), "d": 576})


@pytest.fixture(autouse=True)
def quiet(ray_driver: None) -> None:
    ray.data.DataContext.get_current().enable_progress_bars = False


@pytest.fixture(scope="module")
def planned(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What `plan` keeps of a run over the photos."""
    path = tmp_path_factory.mktemp("plan") / "plan.csv"
    plan = fastdup_ray.make_plan(finished, path, any_sidecars=True)
    return set(entries_of(finished)) - {row.filename for row in plan.rows if row.is_dropped}


def entries_of(work_dir: Path) -> dict[str, str | None]:
    """Code of each entry of a run."""
    result = RunResult.open(work_dir)
    bad = dict(zip(*(result.bad[name].to_pylist() for name in ("filename", "error_code")), strict=True))
    return dict.fromkeys(result.images["filename"].to_pylist()) | bad


def photos_with_bytes(finished: Path) -> ray.data.Dataset:
    return ray.data.read_binary_files(sorted(entries_of(finished)), include_paths=True)


def test_embeddings_and_bad_images_are_those_of_a_run(finished):
    rows = embed(photos_with_bytes(finished), batch_size=16).take_all()
    assert {row["path"]: row[CODE] for row in rows} == entries_of(finished)
    assert all(bool(row["error_message"]) == bool(row[CODE]) for row in rows)
    names, features = load_binary_feature(finished)
    found = {row["path"]: row[EMBEDDING] for row in rows}
    assert all(row.shape == (576,) and row.dtype == np.float32 for row in found.values())
    assert np.array_equal(np.stack([found[name] for name in names]), features)
    assert all(np.isnan(found[name]).all() for name in found.keys() - set(names))


def test_what_is_left_is_what_a_plan_keeps(finished, planned, tmp_path):
    photos = photos_with_bytes(finished)
    unique = deduplicate(photos, work_dir=tmp_path / "out")
    rows = unique.take_all()
    assert {row["path"] for row in rows} == planned
    assert all(row["bytes"] == Path(row["path"]).read_bytes() for row in rows)
    assert unique.schema().names == photos.schema().names
    result = RunResult.open(tmp_path / "out")
    assert set(result.duplicates["filename"].to_pylist()) >= set(entries_of(finished)) - planned
    assert result.summary["verified"] == RunResult.open(finished).summary["verified"]
    assert not list((tmp_path / "out").glob("features-*"))
    with pytest.raises(WorkDirError):
        deduplicate(photos, work_dir=tmp_path / "out")


def test_rows_without_a_name_are_told_apart(finished, planned):
    bad = [code for code in entries_of(finished).values() if code]
    only_bytes = photos_with_bytes(finished).select_columns(["bytes"])
    unique = deduplicate(only_bytes, drop_bad=True)
    assert unique.schema().names == ["bytes"]
    assert unique.count() == len(planned) - len(bad)


def test_paths_in_a_bucket_or_a_folder_are_read_where_they_are(finished, planned):
    names = sorted(entries_of(finished))
    table = ray.data.from_arrow(pa.table({"photo": names, "label": range(len(names))}))
    unique = deduplicate(table, image="photo")
    assert {row["photo"] for row in unique.take_all()} == planned


def make_rows() -> Iterator[dict[str, Any]]:
    """Pixels: two that are equal, one that is another, and one that is none."""
    for seed in (1, 1, 2):
        yield {"image": np.asarray(cloudy(seed, (160, 120)))}
    yield {"image": np.zeros((3, 4, 5, 6), np.float64)}


def test_pixels_are_images(tmp_path):
    batch = pa.table({"image": pa.array([None] * 4)})
    rows = list(make_rows())
    actor = EmbedBatches(RowColumns("image", None, ()), SPEC, facts_only=False)
    read = actor._read([row["image"] for row in rows])
    assert [entry.error_code for entry in read.entries] == [None, None, None, "UNSUPPORTED"]
    assert len(batch) == len(read.entries)
    assert np.array_equal(read.embeddings[0], read.embeddings[1])
    assert not np.allclose(read.embeddings[0], read.embeddings[2])
    for number, row in enumerate(rows[:3]):
        Image.fromarray(row["image"]).save(tmp_path / f"{number}.png")
    assert deduplicate(ray.data.read_images(str(tmp_path)), num_cpus=1).count() == 2


def test_an_image_that_kills_the_decoder_is_the_only_one_that_is_bad(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(KILLER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    images = [encode(cloudy(seed), "JPEG") for seed in range(5)]
    actor = EmbedBatches(RowColumns("image", None, ()), SPEC, facts_only=False)
    for files in (images, [*images[:2], b"KILLER!!", *images[2:]], [], images, [None]):
        answer = actor(pa.table({"image": pa.array(files, pa.binary())}))
        bad = {b"KILLER!!": "CRASHED", None: "ZERO_SIZE"}
        assert answer[CODE].to_pylist() == [bad.get(file) for file in files]


@pytest.mark.parametrize(
    ("change", "parameters", "error", "named"),
    [
        ({}, {"image": "photo"}, ConfigError, "photo"),
        ({}, {"image": "size"}, ConfigError, "size"),
        ({}, {"name": "nobody"}, ConfigError, "nobody"),
        ({"share": 0.5}, {"name": "share"}, ConfigError, "share"),
        ({}, {"threshold": 2}, ConfigError, "threshold"),
        ({}, {"run_mode": 1}, ConfigError, "run_mode"),
        ({}, {"treshold": 1}, ConfigError, "treshold"),
        ({}, {"batch_size": 0}, ConfigError, "batch_size"),
        ({}, {"actors": (3, 2)}, ConfigError, "actors"),
        ({"path": "same"}, {}, InputError, "same"),
        ({"bytes": b""}, {}, InputError, "0.jpg"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(change, parameters, error, named):
    rows = [{"bytes": encode(cloudy(seed), "JPEG"), "path": f"{seed}.jpg", "size": seed} | change for seed in range(2)]
    with pytest.raises(error) as caught:
        deduplicate(ray.data.from_items(rows), **parameters)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_package_does_without_ray_data():
    program = (
        "import sys, fastdup_ray; fastdup_ray.deduplicate; sys.exit(any(m.startswith('ray') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
