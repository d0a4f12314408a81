"""The script that makes the embedded model. Needs the extra `model`."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fastdup_ray.extract.model import DIMENSIONS, SIDE, Model
from tests.helpers.images import cloudy
from tests.helpers.runs import PHOTOS

pytest.importorskip("torch")
pytest.importorskip("imagehash")

SHORT = """
from fastdup_ray.training import build, training
build.CYCLES = tuple(cycle._replace(steps=2) for cycle in build.CYCLES)
build.SAMPLE = training.IMAGES = 8
build.main()
"""


def built(photos, out) -> subprocess.CompletedProcess:
    words = [sys.executable, "-c", SHORT, "--photos", photos, "--out", out]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.slow
def test_the_same_pictures_make_the_same_file(tmp_path):
    package = tmp_path / "photos" / "package"
    package.mkdir(parents=True)
    for path in (PHOTOS / "originals").iterdir():
        with Image.open(path) as photo:
            photo.thumbnail((400, 400))
            photo.save(package / path.name)
    files = [tmp_path / name / "model.onnx" for name in ("first", "second")]
    for file in files:
        file.parent.mkdir()
        run = built(package.parent, file)
        assert run.returncode == 0, run.stderr
    assert files[0].read_bytes() == files[1].read_bytes()
    pixels = np.stack([np.asarray(cloudy(seed, (SIDE, SIDE))) for seed in range(3)])
    assert Model(str(files[0])).embed(pixels).shape == (3, DIMENSIONS)


def test_too_few_pictures_are_refused(tmp_path):
    (tmp_path / "package").mkdir()
    cloudy(1, (400, 300)).save(tmp_path / "package" / "one.png")
    run = built(tmp_path, tmp_path / "model.onnx")
    assert run.returncode == 2
    assert "too few" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "model.onnx").exists()
