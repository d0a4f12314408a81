"""What a row of features promises. Relations, never numbers: the model gets better, these stay."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastdup_ray import load_binary_feature
from fastdup_ray.errors import DamagedError
from fastdup_ray.extract import model as model_module
from fastdup_ray.extract.decode import careful_pillow, decode
from fastdup_ray.extract.model import BATCH, DIMENSIONS, SIDE, Model, fingerprint
from tests.conftest import PHOTOS, cloudy, encode


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """More than two batches of pictures that differ."""
    return np.stack([np.asarray(cloudy(seed, (SIDE, SIDE))) for seed in range(2 * BATCH + 5)])


@pytest.fixture(scope="module")
def rows(model: Model, pixels: np.ndarray) -> np.ndarray:
    return model.rows(pixels)


def test_a_row_is_576_numbers_of_length_one(rows, pixels):
    assert rows.shape == (len(pixels), DIMENSIONS) == (len(pixels), 576)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows.astype(np.float64), axis=1) == pytest.approx(1, abs=1e-6)


def test_no_pictures_have_no_rows(model):
    assert model.rows(np.empty((0, SIDE, SIDE, 3), np.uint8)).shape == (0, DIMENSIONS)


@pytest.mark.parametrize("size", [1, 2, BATCH - 1, BATCH, BATCH + 1])
def test_a_row_does_not_depend_on_how_many_come_with_it(model, pixels, rows, size):
    parts = [model.rows(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    assert np.concatenate(parts).tobytes() == rows.tobytes()


def test_a_row_does_not_depend_on_what_comes_with_it(model, pixels, rows):
    order = np.random.default_rng(0).permutation(len(pixels))
    assert model.rows(pixels[order]).tobytes() == rows[order].tobytes()


def test_two_models_agree(pixels, rows):
    assert Model().rows(pixels).tobytes() == rows.tobytes()


def test_flat_pictures_have_rows_too(model):
    flat = np.stack([np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in (0, 128, 255)])
    assert np.isfinite(model.rows(flat)).all()


def test_every_copy_is_closer_to_its_own_than_to_any_stranger(finished, truth):
    names, features = load_binary_feature(finished)
    groups = np.array([truth[name].group for name in names])
    cosine = features @ features.T
    same = groups[:, None] == groups
    closest_stranger = np.where(same, -1, cosine).max(axis=1)
    farthest_copy = np.where(same, cosine, 1).min(axis=1)
    assert not [name for name, near, far in zip(names, closest_stranger, farthest_copy, strict=True) if near >= far]


@pytest.mark.parametrize("name", ["coffee.jpg", "cat.jpg", "pagoda.jpg"])
def test_the_more_is_cut_away_the_farther_is_a_copy(model, name):
    with Image.open(PHOTOS / "originals" / name) as image:
        width, height = image.size
        copies = [image.crop((0, 0, width * part // 100, height * part // 100)) for part in (100, 95, 60)]
    with careful_pillow():
        decoded = [decode(encode(copy.convert("RGB"), "PNG"), (SIDE, SIDE), 10**8).pixels for copy in copies]
    rows = model.rows(np.stack(decoded))
    assert 1 > rows[0] @ rows[1] > rows[0] @ rows[2]


@pytest.fixture
def own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for the embedded model's files, which the code takes for the package's."""
    source = Path(model_module.__file__).parent / "embedded"
    for name in ("model.onnx", "model.onnx.sha256"):
        shutil.copyfile(source / name, tmp_path / name)
    monkeypatch.setattr(model_module, "_EMBEDDED", tmp_path)
    return tmp_path


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_model_is_refused(own_copy, damage):
    Model()
    path = own_copy / "model.onnx"
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[:-1], "flipped": data, "empty": b""}[damage])
    with pytest.raises(DamagedError, match="model is damaged"):
        Model()


def test_the_fingerprint_names_model_decoder_runtime_and_cpu():
    assert set(fingerprint()) == {"model", "decoder", "onnxruntime", "cpu"}
    assert all(fingerprint().values())
