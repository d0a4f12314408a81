"""What a row of features promises. Relations, never numbers: the model gets better, these stay."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto
from PIL import Image

from fastdup_ray.common.records import Box, Limits
from fastdup_ray.errors import ConfigError, DamagedError
from fastdup_ray.extract import model as model_module
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.extractor import Extractor, ExtractSpec
from fastdup_ray.extract.model import (
    BATCH,
    DIMENSIONS,
    FAST,
    SIDE,
    Model,
    get_embedded_sha256,
    is_embedded,
    make_fingerprint,
    scale_to_unit,
    shows_whole_images,
)
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.extract.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from fastdup_ray.parameter_types import MODELS
from fastdup_ray.storage import open_store
from tests.helpers.images import cloudy, encode
from tests.helpers.models import WEIGHTS, save_model
from tests.helpers.runs import PHOTOS

FAST_ROWS = "5c4c243059855e21cc0d5880dc5e567566d1c2338361f30e21c563b8099989f8"
"""Digest of the rows of fast.onnx for the pixels below; it changes with the model only."""


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def model_path(request: pytest.FixtureRequest) -> str | None:
    return request.param


@pytest.fixture(scope="module")
def model(model_path: str | None) -> Model:
    return Model(model_path)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """More than two batches of pictures that differ."""
    return np.stack([np.asarray(cloudy(seed, (SIDE, SIDE))) for seed in range(2 * BATCH + 5)])


@pytest.fixture(scope="module")
def rows(model: Model, pixels: np.ndarray) -> np.ndarray:
    return model.embed(pixels)


def test_a_row_is_576_numbers_of_length_one(rows, pixels):
    assert rows.shape == (len(pixels), DIMENSIONS) == (len(pixels), 576)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows.astype(np.float64), axis=1) == pytest.approx(1, abs=1e-6)


def test_no_pictures_have_no_rows(model):
    assert model.embed(np.empty((0, SIDE, SIDE, 3), np.uint8)).shape == (0, DIMENSIONS)


@pytest.mark.parametrize("size", [1, 2, BATCH - 1, BATCH, BATCH + 1])
def test_a_row_does_not_depend_on_how_many_come_with_it(model, pixels, rows, size):
    parts = [model.embed(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    assert np.concatenate(parts).tobytes() == rows.tobytes()


def test_a_row_does_not_depend_on_what_comes_with_it(model, pixels, rows):
    order = np.random.default_rng(0).permutation(len(pixels))
    assert model.embed(pixels[order]).tobytes() == rows[order].tobytes()


def test_two_models_agree(model_path, pixels, rows):
    assert Model(model_path).embed(pixels).tobytes() == rows.tobytes()


def test_the_fast_model_gives_these_rows_on_every_cpu():
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[1:] = pixels[1:] // np.arange(2, BATCH + 1, dtype=np.uint8)[:, None, None, None]
    pixels[BATCH // 2 :, : SIDE // 2] = 200
    assert hashlib.sha256(Model(FAST).embed(pixels).tobytes()).hexdigest() == FAST_ROWS


def test_a_fast_row_does_not_depend_on_the_number_of_threads(pixels):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    data = Path(model_module.__file__).with_name("embedded").joinpath("fast.onnx").read_bytes()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (rows,) = session.run(None, {"image": pixels})
    assert scale_to_unit(rows).tobytes() == Model(FAST).embed(pixels).tobytes()


def test_flat_pictures_have_rows_too(model):
    flat = np.stack([np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in (0, 128, 255)])
    assert np.isfinite(model.embed(flat)).all()


@pytest.mark.parametrize("name", ["coffee.jpg", "cat.jpg", "pagoda.jpg"])
def test_the_more_is_cut_away_the_farther_is_a_copy(model, name):
    with Image.open(PHOTOS / "originals" / name) as image:
        width, height = image.size
        copies = [image.crop((0, 0, width * part // 100, height * part // 100)) for part in (100, 95, 60)]
    with strict_pillow():
        decoded = [
            decode_bytes(encode(copy.convert("RGB"), "PNG"), (SIDE, SIDE), Limits(10**8)).pixels for copy in copies
        ]
    rows = model.embed(np.stack(decoded))
    assert 1 > rows[0] @ rows[1] > rows[0] @ rows[2]


@pytest.mark.parametrize("name", ["coffee.jpg", "cat.jpg", "pagoda.jpg"])
def test_a_mirrored_picture_is_a_copy_and_an_upended_one_is_not(model, name):
    with Image.open(PHOTOS / "originals" / name) as image:
        whole = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    rows = model.embed(np.stack([whole, whole[:, ::-1], whole[::-1]]))
    assert rows[0] @ rows[1] > 0.85 > rows[0] @ rows[2]


@pytest.mark.parametrize("name", ["model.onnx", "fast.onnx"])
def test_the_file_is_at_most_8_megabytes(name):
    assert Path(model_module.__file__).with_name("embedded").joinpath(name).stat().st_size <= 8_000_000


def test_names_stand_for_embedded_models_and_paths_for_files():
    assert all(map(is_embedded, MODELS.values()))
    assert not is_embedded("/models/fast")
    assert len({get_embedded_sha256(path) for path in MODELS.values()}) == len(MODELS)


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


def test_the_fingerprint_tells_boxes_models_and_devices_apart():
    box = Box(0, 0, 9, 9)
    told = [
        make_fingerprint(),
        make_fingerprint(box=box),
        make_fingerprint(box=Box(0, 0, 9, 8)),
        make_fingerprint("x"),
        make_fingerprint(gpu=True),
    ]
    assert all(one != other for place, one in enumerate(told) for other in told[:place])


def test_the_fingerprint_names_model_decoder_runtime_and_cpu():
    assert set(make_fingerprint()) == {"model", "decoder", "onnxruntime", "cpu"}
    assert all(make_fingerprint().values())


def test_only_the_fast_model_is_the_same_on_all_cpus(monkeypatch):
    fast = get_embedded_sha256(FAST)
    make_fingerprint.cache_clear()
    before = [make_fingerprint(), make_fingerprint(fast), make_fingerprint(fast, gpu=True)]
    monkeypatch.setattr(model_module, "_describe_cpu", lambda: "another kind")
    make_fingerprint.cache_clear()
    after = [make_fingerprint(), make_fingerprint(fast), make_fingerprint(fast, gpu=True)]
    make_fingerprint.cache_clear()
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, False]


def test_embedded_models_show_whole_images():
    assert all(shows_whole_images(make_fingerprint(get_embedded_sha256(path))) for path in MODELS.values())
    assert not shows_whole_images(make_fingerprint("x"))
    assert not shows_whole_images(make_fingerprint(get_embedded_sha256(FAST), Box(0, 0, 9, 9)))


# --- models of one's own ----------------------------------------------------------------------------------------------


def expected_rows(pixels: np.ndarray, mean=IMAGENET_MEAN, std=IMAGENET_STD) -> np.ndarray:
    rows = ((pixels / 255).mean(axis=(1, 2)) - mean) / std @ WEIGHTS
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pictures_of(model: Model, n: int = 2 * BATCH + 5) -> np.ndarray:
    return np.stack([np.asarray(cloudy(seed, model.size)) for seed in range(n)])


@pytest.mark.parametrize("shape", [("n", 3, 32, 48), ("n", 32, 48, 3), (1, 3, 32, 48), (7, 32, 48, 3), (32, 3, 32, 48)])
def test_layout_and_batch_are_read_from_the_graph(shape, tmp_path):
    model = Model(save_model(tmp_path / "m.onnx", shape=shape))
    assert (model.size, model.dimensions) == ((48, 32), 40)
    pixels = pictures_of(model)
    rows = model.embed(pixels)
    assert rows.dtype == np.float32
    assert np.allclose(rows, expected_rows(pixels), atol=1e-5)
    assert np.concatenate([model.embed(pixels[:3]), model.embed(pixels[3:])]).tobytes() == rows.tobytes()


def test_uint8_is_given_as_it_is(tmp_path):
    model = Model(save_model(tmp_path / "m.onnx", kind=TensorProto.UINT8))
    pixels = pictures_of(model)
    assert np.allclose(model.embed(pixels), expected_rows(pixels, 0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("metadata", "mean", "std"),
    [
        ({"mean": "0.5", "std": "0.5"}, 0.5, 0.5),
        ({"mean": "0,0,0", "std": "1,1,1"}, 0, 1),
        ({"mean": "[0.1, 0.2, 0.3]"}, (0.1, 0.2, 0.3), IMAGENET_STD),
        ({"mean": "(0)", "std": "(0.00392156862745098)", "author": "somebody"}, 0, 1 / 255),
    ],
)
def test_the_models_metadata_says_how_colours_are_scaled(metadata, mean, std, tmp_path):
    model = Model(save_model(tmp_path / "m.onnx", metadata=metadata))
    pixels = pictures_of(model)
    assert np.allclose(model.embed(pixels), expected_rows(pixels, mean, std), atol=1e-5)


def test_a_side_that_the_graph_leaves_open_is_224(tmp_path):
    assert Model(save_model(tmp_path / "m.onnx", shape=("n", 3, "h", "w"))).size == (224, 224)
    assert Model(save_model(tmp_path / "m.onnx", shape=("n", "h", 64, 3))).size == (64, 224)


def test_trailing_ones_of_the_output_are_dropped(tmp_path):
    assert Model(save_model(tmp_path / "m.onnx", tail=(1, 1))).dimensions == 40


@pytest.mark.parametrize("content", [b"", b"no model at all" * 9, b"\x08\x09"])
def test_a_file_that_is_no_model_is_refused(content, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ConfigError, match="onnxruntime cannot open it"):
        Model(str(tmp_path / "m.onnx"))


@pytest.mark.parametrize("missing", ["gone.onnx", "."])
def test_a_model_that_cannot_be_read_is_refused(missing, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read on"):
        Model(str(tmp_path / missing))


@pytest.mark.parametrize("damage", ["other", "gone"])
def test_a_worker_that_finds_another_model_or_none_says_so(damage, tmp_path):
    path = save_model(tmp_path / "m.onnx")
    facts = {"fingerprint": make_fingerprint(Model(path).sha256), "d": 40}
    if damage == "other":
        save_model(tmp_path / "m.onnx", weights=WEIGHTS + 1)
    else:
        (tmp_path / "m.onnx").unlink()
    with pytest.raises(ConfigError, match=r"is another file than|cannot be read on"):
        Extractor(ExtractSpec(open_store(str(tmp_path)), 1, Limits(10**8), 60.0, 4096, facts, model_path=path))


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_same_rows(pixels, rows):
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA")
    cosine = (Model(gpu=True).embed(pixels) * rows).sum(axis=1)
    assert cosine.min() > 0.999
